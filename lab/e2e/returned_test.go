package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// quarantineCloses waits until nobody changes a machine's quarantine any more.
func (s *site) quarantineCloses(t *testing.T, m *lab.Machine) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, _ := s.status(t, workflows.QuarantineID(name(m)))
		return status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	}, enough, 100*time.Millisecond, "nobody changes the quarantine any more")
}

// A return that is cancelled when the machine is reimaged, and its quarantine cannot be
// lifted just then, leaves it on loan: it is not lifted later, either, and the machine
// can be returned again.
func TestReturnIsCancelled(t *testing.T) {
	t.Parallel()
	s, _ := newTaskclusterSite(t, reimages("TASK_NAMES", "loan,return_loan,reboot,ping", "DRAIN_SETTLE", "2s", "DRAIN_POLL", "0.5s", "UP_TIMEOUT", "60s"), nil,
		lab.Spec{WorkerID: "lent", WorkerGroup: "mdc1", Queue: fleetQueue})
	m := s.lab.Machine("lent")
	s.tc.AddWorker(fleetQueue, "mdc1", "lent", time.Time{})
	r, _ := s.end(t, s.asked(t, "loan", m, ""))
	require.Equal(t, workflows.Done, r.Outcome, "%s", pretty(r))
	until, _ := s.tc.Quarantine(fleetQueue, "mdc1", "lent")

	s.quarantineCloses(t, m) // its note is written
	_, noted := s.tc.Quarantine(fleetQueue, "mdc1", "lent")
	s.tc.SetDown(true)
	job := s.asked(t, "return_loan", m, "")
	s.until(t, job, "it is reimaged", func(r workflows.Result) bool { return r.Now == "lifting the quarantine" })
	require.Eventually(t, func() bool {
		status, _ := s.status(t, workflows.QuarantineID(name(m)))
		return status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	}, enough, 100*time.Millisecond, "the loan lifts its quarantine")
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	s.quarantineCloses(t, m)
	s.tc.SetDown(false)
	r, _ = s.end(t, job)
	require.Equal(t, workflows.Cancelled, r.Outcome, "%s", pretty(r))
	require.Equal(t, "it is reimaged and back, and stays quarantined, and on loan", r.Why)
	require.Equal(t, 1, m.State().Installed)
	status, _ := s.status(t, workflows.LoanID(name(m)))
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, status, "it is on loan")
	now, set := s.tc.Quarantine(fleetQueue, "mdc1", "lent")
	require.Equal(t, until, now, "and quarantined")
	require.Equal(t, noted, set, "and was so all the time")
	require.Eventually(t, func() bool {
		comments := s.loanBug(t, m).Comments
		return strings.Contains(comments[len(comments)-1], "that was called off after its reimage. Its worker stays quarantined.")
	}, enough, 100*time.Millisecond)

	r, _ = s.end(t, s.asked(t, "return_loan", m, "&reimage=false"))
	require.Equal(t, workflows.Done, r.Outcome, "%s", pretty(r))
	now, _ = s.tc.Quarantine(fleetQueue, "mdc1", "lent")
	require.True(t, now.Before(time.Now()), "its worker takes work again")
}
