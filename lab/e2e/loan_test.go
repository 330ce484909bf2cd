package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// asked is a task about a loan that the sheriff asks for over the API.
func (s *site) asked(t *testing.T, task string, m *lab.Machine, query string) starter.Job {
	t.Helper()
	a := s.ask(t, tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}, http.MethodPost,
		"/api/v1/workers/"+m.Spec().WorkerID+"/group/mdc1/jobs?task_name="+task+query)
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Raw)
	return starter.Job{Task: task, TaskID: a.Body["task_id"].(string), WorkflowID: workflows.MachineID(name(m))}
}

// loanBug is the one bug of a machine's loan.
func (s *site) loanBug(t *testing.T, m *lab.Machine) lab.BugzillaBug {
	t.Helper()
	var found []lab.BugzillaBug
	for _, b := range s.bugs.Bugs() {
		if b.Summary == m.FQDN()+" is on loan" {
			found = append(found, b)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

// loanOf is a machine's loan as the API lists it, less its times; nil for none.
func (s *site) loanOf(t *testing.T, m *lab.Machine) map[string]any {
	t.Helper()
	a := s.ask(t, tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}, http.MethodGet, "/api/v1/workers?on_loan=true")
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Raw)
	for _, w := range a.Body["workers"].([]any) {
		worker := w.(map[string]any)
		if worker["worker_id"] == m.Spec().WorkerID {
			loan := worker["on_loan"].(map[string]any)
			require.NotEmpty(t, loan["since"])
			require.NotEmpty(t, loan["until"])
			delete(loan, "since")
			delete(loan, "until")
			return loan
		}
	}
	return nil
}

// A machine is lent and returned, over the API and by the command line: its worker is
// quarantined from the one to the other, whatever else is done to the machine, and a
// machine that could not be reimaged stays so.
func TestLoan(t *testing.T) {
	t.Parallel()
	spec := func(id string, f lab.Faults) lab.Spec {
		return lab.Spec{WorkerID: id, WorkerGroup: "mdc1", Queue: fleetQueue, Faults: f}
	}
	s, _ := newTaskclusterSite(t, reimages("TASK_NAMES", "loan,return_loan,reboot,ping", "REBOOT_METHODS", "ssh_reboot,file_bugzilla_bug",
		"DRAIN_SETTLE", "2s", "DRAIN_POLL", "0.5s", "UP_TIMEOUT", "60s"), nil,
		spec("lent", lab.Faults{}), spec("spoilt", lab.Faults{RefuseNetboot: true}), spec("stranger", lab.Faults{}), spec("undone", lab.Faults{}))
	for _, id := range []string{"lent", "spoilt", "undone"} {
		s.tc.AddWorker(fleetQueue, "mdc1", id, time.Time{})
	}
	until := func(id string) time.Time { at, _ := s.tc.Quarantine(fleetQueue, "mdc1", id); return at }
	onLoan := func(id string) bool { return until(id).After(time.Now().AddDate(9, 0, 0)) }
	task := s.tc.AddTask(map[string]any{"taskQueueId": fleetQueue})
	require.True(t, s.tc.ClaimAs(fleetQueue, "mdc1", "lent"))
	waits := func(r workflows.Result) bool { return strings.HasPrefix(r.Now, "quarantined; waiting for the task") }

	t.Run("lent and returned", func(t *testing.T) {
		t.Parallel()
		m := s.lab.Machine("lent")
		job := s.asked(t, "loan", m, "&why=a+bug")
		s.until(t, job, "it waits for the task, quarantined", waits)
		require.True(t, onLoan("lent"))
		s.tc.Complete(task)
		r, _ := s.end(t, job)
		require.Equal(t, workflows.Done, r.Outcome, "%s", pretty(r))
		require.Contains(t, r.Why, "is over")
		bug := s.loanBug(t, m)
		require.Equal(t, "lent", s.bugs.Bugs()[bug.Blocks[0]-1].Alias, "it blocks the machine's tracker bug")
		require.Contains(t, bug.Comments[0], "is on loan to "+sheriff+" (a bug)")
		s.sees(t, "the quarantine names the bug", func() bool {
			notes := s.tc.Notes(fleetQueue, "mdc1", "lent")
			return strings.Contains(notes[len(notes)-1], "on loan to "+sheriff+" (a bug), "+r.Bug.URL)
		})

		out, status := s.roller(t, "loan", "LENT", "mdc1", "--why", "me, too")
		require.Zero(t, status, out)
		require.Contains(t, out, "on loan already")
		require.Eventually(t, func() bool { return len(s.loanBug(t, m).Comments) == 2 }, enough, 100*time.Millisecond)
		require.Contains(t, s.loanBug(t, m).Comments[1], "(me, too) asked for lent.")

		to := "to " + sheriff + " since "
		s.sees(t, "everybody can see who has it", func() bool {
			out, _ := s.roller(t, "status", "lent", "mdc1")
			return strings.Contains(out, "loan") && strings.Contains(out, to) && strings.Contains(out, "(a bug), "+r.Bug.URL)
		})
		out, status = s.roller(t, "list", "--on-loan")
		require.Zero(t, status, out)
		require.Regexp(t, `mdc1/lent +`+regexp.QuoteMeta(sheriff)+` +`+regexp.QuoteMeta(r.Bug.URL)+` +a bug`, out)
		require.Equal(t, map[string]any{"client_id": sheriff, "why": "a bug", "bug": r.Bug.URL}, s.loanOf(t, m))

		before := until("lent")
		reboot := s.drained(t, m)
		r, _ = s.end(t, reboot)
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
		require.Contains(t, r.Markdown(), "**On loan** "+to, "who reboots it is told")
		out, status = s.roller(t, "show", reboot.WorkflowID, "--run", reboot.TaskID)
		require.Zero(t, status, out)
		require.Contains(t, out, "**On loan** "+to)
		require.Equal(t, before, until("lent"), "a drained reboot leaves the loan's quarantine")

		r, _ = s.end(t, s.asked(t, "return_loan", m, ""))
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
		require.Equal(t, 1, m.State().Installed)
		require.True(t, until("lent").Before(time.Now()), "its worker takes work again")
		require.Eventually(t, func() bool { return s.loanBug(t, m).Resolution == "FIXED" }, enough, 100*time.Millisecond)
		require.Contains(t, s.loanBug(t, m).Comments[2], "it is back, reimaged")

		require.Eventually(t, func() bool { return s.loanOf(t, m) == nil }, enough, 100*time.Millisecond, "it is on loan no more")
		r, _ = s.end(t, s.job(t, "reboot", m))
		require.Nil(t, r.Loan)

		told := len(s.executed(m))
		out, status = s.roller(t, "return_loan", "lent", "mdc1")
		require.Equal(t, 9, status, out)
		require.Contains(t, out, "is not on loan: nothing was done")
		require.Len(t, s.executed(m), told)
		s.noSecrets(t, "lent")
	})
	t.Run("not reimaged", func(t *testing.T) {
		t.Parallel()
		m := s.lab.Machine("spoilt")
		out, status := s.roller(t, "start", "loan", "spoilt", "mdc1", "--follow")
		require.Zero(t, status, out)
		r, _ := s.end(t, s.asked(t, "return_loan", m, ""))
		require.Equal(t, workflows.Refused, r.Outcome, "%s", pretty(r))
		require.Contains(t, r.Why, "it stays quarantined, and on loan")
		require.True(t, onLoan("spoilt"))
		require.Eventually(t, func() bool { return len(s.loanBug(t, m).Comments) == 2 }, enough, 100*time.Millisecond)
		require.Contains(t, s.loanBug(t, m).Comments[1], "its reimage ended with: refused")
		r, _ = s.end(t, s.asked(t, "return_loan", m, "&reimage=false&why=by+hand"))
		require.Equal(t, workflows.Done, r.Outcome, "%s", pretty(r))
		require.False(t, onLoan("spoilt"))
		require.Zero(t, m.State().Installed)
		require.Eventually(t, func() bool { return s.loanBug(t, m).Status == "RESOLVED" }, enough, 100*time.Millisecond)
	})
	t.Run("a worker that nobody knows", func(t *testing.T) {
		t.Parallel()
		r, _ := s.end(t, s.asked(t, "loan", s.lab.Machine("stranger"), ""))
		require.Equal(t, workflows.Refused, r.Outcome, "%s", pretty(r))
		require.Contains(t, r.Why, "the queue does not know the worker")
	})
	t.Run("cancelled while its task runs", func(t *testing.T) {
		t.Parallel()
		m := s.lab.Machine("undone")
		s.tc.AddTask(map[string]any{"taskQueueId": fleetQueue})
		require.True(t, s.tc.ClaimAs(fleetQueue, "mdc1", "undone"))
		job := s.asked(t, "loan", m, "")
		s.until(t, job, "it waits", waits)
		require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
		r, _ := s.end(t, job)
		require.Equal(t, workflows.Cancelled, r.Outcome, "%s", pretty(r))
		s.sees(t, "it was never lent", func() bool { return until("undone").Before(time.Now()) })
	})
}
