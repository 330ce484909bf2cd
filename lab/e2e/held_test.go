package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// status is that of the newest run under a workflow's ID, and which run that is.
func (s *site) status(t *testing.T, workflowID string) (enumspb.WorkflowExecutionStatus, string) {
	t.Helper()
	answer, err := s.client.DescribeWorkflowExecution(t.Context(), workflowID, "")
	require.NoError(t, err)
	info := answer.GetWorkflowExecutionInfo()
	return info.GetStatus(), info.GetExecution().GetRunId()
}

// A drained job that is cancelled while the one before it still holds the quarantine
// changes nothing of it: the earlier one's run puts back what was there before it, or
// leaves what somebody has set since.
func TestDrainIsCancelledWhileQuarantineIsHeld(t *testing.T) {
	t.Parallel()
	s, _ := newTaskclusterSite(t, map[string]string{
		"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "DRAIN_SETTLE": "2s", "DRAIN_POLL": "0.5s", "UP_TIMEOUT": "2m",
	}, nil, lab.Spec{WorkerID: "held", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: 20 * time.Second}})
	m := s.lab.Machine("held")
	before := time.Now().Add(3 * time.Hour).UTC().Truncate(time.Millisecond)
	s.tc.AddWorker(fleetQueue, "mdc1", "held", before)
	quarantined := func() time.Time { until, _ := s.tc.Quarantine(fleetQueue, "mdc1", "held"); return until }
	id := workflows.QuarantineID(name(m))

	for what, theirs := range map[string]time.Time{"nobody has changed it": {}, "somebody has changed it": before.Add(time.Hour)} {
		s.tc.SetQuarantine(fleetQueue, "mdc1", "held", before)
		first := s.drained(t, m)
		s.until(t, first, "it is drained", func(r workflows.Result) bool { return len(r.Attempts) > 1 })
		s.tc.SetDown(true)
		r, _ := s.end(t, first)
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
		ours := quarantined()
		require.True(t, ours.After(before), "%s: its quarantine cannot be lifted yet", what)
		_, set := s.tc.Quarantine(fleetQueue, "mdc1", "held")
		_, holder := s.status(t, id)
		if !theirs.IsZero() {
			s.tc.SetQuarantine(fleetQueue, "mdc1", "held", theirs)
		}

		done := len(s.executed(m))
		second := s.drained(t, m)
		require.Eventually(t, func() bool { return s.metHolder(t, second) }, enough, 100*time.Millisecond, "it has met the quarantine's holder")
		require.NoError(t, s.door.Cancel(t.Context(), second.WorkflowID, second.TaskID))
		r, _ = s.end(t, second)
		require.Equal(t, workflows.Cancelled, r.Outcome, "%s", pretty(r))
		require.Len(t, s.executed(m), done, "nothing was sent")
		status, still := s.status(t, id)
		require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, status)
		require.Equal(t, holder, still, "it is the first job's")

		s.tc.SetDown(false)
		require.NoError(t, s.client.GetWorkflow(t.Context(), id, holder).Get(t.Context(), nil))
		now, sets := s.tc.Quarantine(fleetQueue, "mdc1", "held")
		if theirs.IsZero() {
			require.Equal(t, before, now, "exactly what was there before the first job")
			require.Equal(t, set+1, sets, "put back once, by the first job's run")
		} else {
			require.Equal(t, theirs, now, what)
			require.Equal(t, set, sets)
		}
		_, last := s.status(t, id)
		require.Equal(t, holder, last, "the second job has left nothing behind")
	}

	s.tc.SetQuarantine(fleetQueue, "mdc1", "held", before)
	r, _ := s.end(t, s.drained(t, m))
	require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	s.sees(t, "the next one drains, and puts back exactly what was there", func() bool { return quarantined().Equal(before) })
}

// metHolder reports whether a job has been refused the quarantine's ID.
func (s *site) metHolder(t *testing.T, job starter.Job) bool {
	t.Helper()
	for _, e := range s.history(t, job) {
		if e.GetEventType() == enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED {
			return true
		}
	}
	return false
}
