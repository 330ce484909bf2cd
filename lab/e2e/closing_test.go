package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Cancelled while the PDU is silent, between two attempts of an off that
// never went out: the job ends now, nothing is powered on, no bug says OFF.
func TestCancelWhileTheOffCannotBeSent(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "RUNG_RETRY": "10m", "ON_ALARM": "5s"},
		lab.Spec{WorkerID: "silent", WorkerGroup: "mdc1", Faults: lab.Faults{PDUDead: true}})
	m := s.lab.Machine("silent")
	job := s.job(t, "reboot", m)
	require.Eventually(t, func() bool {
		d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
		return err == nil && len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetLastFailure() != nil
	}, enough, 50*time.Millisecond)
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	err := s.door.Await(ctx, job)
	v, verr := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
	require.NoError(t, verr)
	require.NoError(t, err, "still %s, off %q: %s", v.Status, v.Off, pretty(v.Result))
	require.Equal(t, workflows.Cancelled, v.Result.Outcome)
	require.False(t, v.Result.Off)
	require.Empty(t, v.Off)
	require.Empty(t, s.bugs.Bugs())
	require.Empty(t, s.executed(m))
}

// A cancel waits for the command, whose answer says what was sent.
func TestCancelKeepsWhatWasSent(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ipmi_reset,ipmi_cycle,file_bugzilla_bug", "DOWN_TIMEOUT": "30s", "UP_TIMEOUT": "20m"},
		lab.Spec{WorkerID: "cut", WorkerGroup: "mdc1", Faults: lab.Faults{LoseCommandReply: true, NeverReturns: true}})
	m := s.lab.Machine("cut")
	job := s.job(t, "reboot", m)
	s.saw(t, "the reset was carried out", func() bool { return len(s.executed(m)) == 1 })
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Cancelled, r.Outcome, "%s", pretty(r))
	require.Equal(t, "chassis power reset", r.Attempts[0].Sent, "%s", pretty(r))
	require.Equal(t, []string{"bmc chassis power reset"}, s.executed(m))
}

// A job started by hand and terminated takes its child with it, and
// the child powers the machine on first.
func TestTerminatedParent(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "20m"},
		lab.Spec{WorkerID: "hand", WorkerGroup: "mdc1"})
	m := s.lab.Machine("hand")
	job := s.byHand(t, "reboot", "HAND", "none")
	s.saw(t, "the outlet is off", func() bool { return !m.State().Power })
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), job.WorkflowID, job.TaskID, "by hand"))
	r, v := s.end(t, starter.Job{WorkflowID: workflows.MachineID(name(m))})
	require.Equal(t, workflows.Cancelled, r.Outcome)
	require.Empty(t, v.Off)
	require.True(t, m.State().Power)
}

// Cancelled, it ends after its child has powered the machine on, and
// with the child's record.
func TestCancelledParent(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "20m"},
		lab.Spec{WorkerID: "hand", WorkerGroup: "mdc1"})
	m := s.lab.Machine("hand")
	job := s.byHand(t, "reboot", "HAND", "none")
	s.saw(t, "the outlet is off", func() bool { return !m.State().Power })
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	r, _ := s.end(t, job)
	require.True(t, m.State().Power)
	require.Equal(t, workflows.Cancelled, r.Outcome)
	require.Len(t, r.Attempts, 1)
}

// Cancelled while its bug is filed, the job says "pending in bug/...": so
// that run must go on.
func TestCancelWhileTheBugIsFiled(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "BUG_WAIT": "60s"},
		lab.Spec{WorkerID: "gone", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}})
	m := s.lab.Machine("gone")
	s.bugs.SetFaults(lab.BugzillaFaults{Down: true})
	job := s.job(t, "reboot", m)
	s.until(t, job, "the bug's run has begun", func(r workflows.Result) bool { return r.Bug != nil && r.Bug.RunID != "" })
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Cancelled, r.Outcome)
	s.bugs.SetFaults(lab.BugzillaFaults{})
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	require.NoError(t, s.client.GetWorkflow(ctx, r.Bug.WorkflowID, r.Bug.RunID).Get(ctx, nil), "the bug it names as pending")
	require.Len(t, s.bugs.Bugs(), 2)
}
