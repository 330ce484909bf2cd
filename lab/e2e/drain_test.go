package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const fleetQueue = "releng-hardware/gecko-t"

// drained asks for a reboot of a machine whose worker is drained first.
func (s *site) drained(t *testing.T, m *lab.Machine) starter.Job {
	t.Helper()
	a := s.ask(t, tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}, http.MethodPost,
		"/api/v1/workers/"+m.Spec().WorkerID+"/group/mdc1/jobs?task_name=reboot&drain=true&provisioner_id=releng-hardware&worker_type=gecko-t")
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Raw)
	return starter.Job{Task: "reboot", TaskID: a.Body["task_id"].(string), WorkflowID: workflows.MachineID(name(m))}
}

// The task that a worker runs is waited for, behind a quarantine; what was there
// before is put back exactly, however the job ends and whoever is killed.
func TestDrain(t *testing.T) {
	t.Parallel()
	s, _ := newTaskclusterSite(t, map[string]string{
		"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "DRAIN_SETTLE": "2s", "DRAIN_POLL": "0.5s", "UP_TIMEOUT": "60s", "HEARTBEAT_TIMEOUT": soon,
	}, nil,
		lab.Spec{WorkerID: "busy", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "ended", WorkerGroup: "mdc1", Queue: fleetQueue, Drain: true},
		lab.Spec{WorkerID: "stranger", WorkerGroup: "mdc1"}, lab.Spec{WorkerID: "early", WorkerGroup: "mdc1"})
	before := time.Now().Add(3 * time.Hour).UTC().Truncate(time.Millisecond)
	for _, id := range []string{"busy", "ended"} {
		s.tc.AddWorker(fleetQueue, "mdc1", id, time.Time{})
	}
	tasks := map[string]string{}
	for _, id := range []string{"busy", "ended"} {
		tasks[id] = s.tc.AddTask(map[string]any{"taskQueueId": fleetQueue})
		require.True(t, s.tc.ClaimAs(fleetQueue, "mdc1", id))
		s.tc.SetQuarantine(fleetQueue, "mdc1", id, before)
	}
	busy, ended := s.lab.Machine("busy"), s.lab.Machine("ended")
	quarantined := func(id string) time.Time { until, _ := s.tc.Quarantine(fleetQueue, "mdc1", id); return until }

	first, lost := s.drained(t, busy), s.job(t, "reboot", ended) // as the inventory says
	s.sees(t, "both are quarantined for longer than a person had", func() bool {
		return quarantined("busy").After(before) && quarantined("ended").After(before)
	})
	s.Workers[0].Kill()
	_, err := s.StartWorker()
	require.NoError(t, err)
	s.until(t, first, "it waits for the task", func(r workflows.Result) bool { return r.Now == "waiting for the task that the worker runs" })
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), lost.WorkflowID, lost.TaskID, "by hand"))
	again := s.job(t, "reboot", ended) // while the quarantine of the one before is still being lifted
	require.Empty(t, s.executed(busy))
	s.tc.Complete(tasks["busy"])
	r, _ := s.end(t, first)
	require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	require.Equal(t, "drain", r.Attempts[0].Rung)
	require.Contains(t, r.Attempts[0].Why, "is over")
	s.sees(t, "what was there before is there again", func() bool { return quarantined("busy").Equal(before) })

	s.until(t, again, "it waits, too", func(r workflows.Result) bool { return r.Now == "waiting for the task that the worker runs" })
	require.NoError(t, s.door.Cancel(t.Context(), again.WorkflowID, again.TaskID))
	r, _ = s.end(t, again)
	require.Equal(t, workflows.Cancelled, r.Outcome)
	require.Empty(t, s.executed(ended), "nothing was sent while its task ran")
	s.sees(t, "after a terminate and a cancel, too", func() bool { return quarantined("ended").Equal(before) })

	out, status := s.roller(t, "start", "reboot", "ended", "mdc1", "--drain=false", "--follow")
	require.Zero(t, status, out)
	require.NotContains(t, out, "drain")
	out, status = s.roller(t, "start", "reboot", "stranger", "mdc1", "--drain", "--queue", fleetQueue, "--follow")
	require.Zero(t, status, out)
	require.Regexp(t, `drain +skipped`, out)
	s.drainCancelledEarly(t, s.lab.Machine("early"))
	s.noSecrets(t, "busy")
}

// drainCancelledEarly cancels a job before its worker could be quarantined: what was
// there stays, or is put back, exactly.
func (s *site) drainCancelledEarly(t *testing.T, m *lab.Machine) {
	t.Helper()
	before := time.Now().Add(5 * time.Hour).UTC().Truncate(time.Millisecond)
	s.tc.AddWorker(fleetQueue, "mdc1", "early", before)
	s.tc.SetDown(true)
	job := s.drained(t, m)
	s.until(t, job, "it waits for its quarantine", func(r workflows.Result) bool { return r.Now == "quarantining the worker" })
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Cancelled, r.Outcome, "%s", pretty(r))
	require.Empty(t, s.executed(m))
	s.tc.SetDown(false)
	require.NoError(t, s.client.GetWorkflow(t.Context(), workflows.QuarantineID(name(m)), "").Get(t.Context(), nil))
	until, _ := s.tc.Quarantine(fleetQueue, "mdc1", "early")
	require.Equal(t, before, until)
}
