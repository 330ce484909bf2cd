package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// the first attempt finds the BMC silent (NotSent), the
// second one's worker is killed in mid-command. The reset was carried out, so
// ipmi_cycle must not follow it at once.
func TestWorkerKilledInASecondAttempt(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ipmi_reset,ipmi_cycle,file_bugzilla_bug", "RUNG_RETRY": "120s", "IPMI_TIMEOUT": "60s", "UP_TIMEOUT": "3m", "HEARTBEAT_TIMEOUT": soon},
		lab.Spec{WorkerID: "mid2", WorkerGroup: "mdc1", Faults: lab.Faults{DeadBMC: true}})
	m := s.lab.Machine("mid2")
	job := s.job(t, "reboot", m)
	s.until(t, job, "the rung has begun", func(r workflows.Result) bool { return len(r.Attempts) > 0 })
	require.Eventually(t, func() bool { // the first attempt has failed as NotSent
		d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
		return err == nil && len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetLastFailure() != nil
	}, enough, 50*time.Millisecond)
	m.SetFaults(lab.Faults{LoseCommandReply: true, SlowBoot: time.Minute})
	s.saw(t, "the reset was carried out, its reply lost", func() bool { return len(s.executed(m)) == 1 })
	m.SetFaults(lab.Faults{})
	s.Workers[0].Kill()
	_, err := s.StartWorker()
	require.NoError(t, err)
	r, _ := s.end(t, job)
	t.Logf("%s", pretty(r))
	require.Contains(t, r.Attempts[0].Why, "may have been sent", "%s", pretty(r))
	require.Equal(t, workflows.Back, r.Outcome)
	require.Equal(t, []string{"bmc chassis power reset"}, s.executed(m), "%s", pretty(r))
}

// what may have been switched off is switched on.
func TestOffKilledInASecondAttempt(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "RUNG_RETRY": "120s", "SNMP_TIMEOUT": "20s", "HEARTBEAT_TIMEOUT": soon},
		lab.Spec{WorkerID: "dark2", WorkerGroup: "mdc1", Faults: lab.Faults{PDUDead: true}})
	m := s.lab.Machine("dark2")
	job := s.job(t, "reboot", m)
	require.Eventually(t, func() bool {
		d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
		return err == nil && len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetLastFailure() != nil
	}, enough, 50*time.Millisecond)
	m.SetFaults(lab.Faults{LoseCommandReply: true})
	s.saw(t, "the outlet is off", func() bool { return !m.State().Power })
	m.SetFaults(lab.Faults{})
	s.Workers[0].Kill()
	_, err := s.StartWorker()
	require.NoError(t, err)
	r, v := s.end(t, job)
	t.Logf("%s", pretty(r))
	require.True(t, m.State().Power, "left off; RollerOff %q, result %s", v.Off, pretty(r))
}

// A cancel right after the off, on a PDU that acts some seconds after it
// acknowledged: it reads "on" still, which is no proof that it will stay so.
func TestCancelBeforeTheOutletActs(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "8s"},
		lab.Spec{WorkerID: "lag", WorkerGroup: "mdc1", Timing: lab.Timing{PDULag: 4 * time.Second}})
	m := s.lab.Machine("lag")
	job := s.job(t, "reboot", m)
	s.saw(t, "the off was acknowledged", func() bool { return len(s.lab.Controls(m.FQDN())) == 1 })
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	r, v := s.end(t, job)
	t.Logf("%s", pretty(r))
	require.Never(t, func() bool { return false }, 6*time.Second, time.Second)
	require.True(t, m.State().Power, "left off; RollerOff %q, result %s", v.Off, pretty(r))
}
