package e2e

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Promises 2 and 4: a worker killed while it begins its dialogue with a device that
// is dead for good has sent nothing. The job says so, and does not call off a
// machine that nobody switched, and whose on nobody could read back.
func TestWorkerKilledBeforeItSends(t *testing.T) {
	t.Parallel()
	tasks := map[string]lab.Spec{"ipmi_reboot": {}, "snmp_rebootdelay": {}, "xenapi_reboot": {VM: true, NoBMC: true, NoOutlet: true}}
	if _, err := exec.LookPath("ipmitool"); err == nil { // CI has it
		tasks["ipmi_off"] = lab.Spec{BMCKey: true}
	}
	var specs []lab.Spec
	for task, spec := range tasks {
		spec.WorkerID, spec.WorkerGroup = task, fmt.Sprintf("g%d", len(specs))
		spec.Faults = lab.Faults{DeadBMC: true, PDUDead: true}
		specs = append(specs, spec)
	}
	s := newSite(t, map[string]string{
		"TASK_NAMES": "ipmi_reboot,snmp_rebootdelay,xenapi_reboot,ipmi_off", "RUNG_RETRY": "40s", "HEARTBEAT_TIMEOUT": soon,
		"IPMI_SESSION_TIMEOUT": "20s", "SNMP_TIMEOUT": "6s", "XEN_TIMEOUT": "6s", "ILO_TIMEOUT": "5s", // these decide how long the killed worker's turns last
	}, specs...)
	s.lab.XAPI().SetFaults(lab.XAPIFaults{NeverAnswers: true})
	jobs := map[*lab.Machine]starter.Job{}
	for _, m := range s.lab.Machines() {
		jobs[m] = s.job(t, m.Spec().WorkerID, m)
	}
	require.Eventually(t, func() bool {
		for _, job := range jobs {
			if !s.underWay(t, job) {
				return false
			}
		}
		return true
	}, enough, 50*time.Millisecond, "all are at it at one time")
	s.Workers[0].Kill()
	_, err := s.StartWorker()
	require.NoError(t, err)
	for m, job := range jobs {
		r, v := s.end(t, job)
		require.Equal(t, workflows.NotSent, r.Outcome, "%s: %s", m.FQDN(), pretty(r))
		require.False(t, r.Off, "%s: %s", m.FQDN(), pretty(r))
		require.Empty(t, v.Off)
		require.Empty(t, s.received(m))
		require.True(t, m.State().Power)
	}
	require.Empty(t, s.bugs.Bugs(), "nobody says OFF")
}

// underWay reports whether a worker has a job's command in hand, and Temporal's
// server has heard of it.
func (s *site) underWay(t *testing.T, job starter.Job) bool {
	t.Helper()
	d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
	if err != nil {
		return false
	}
	for _, p := range d.GetPendingActivities() {
		if p.GetState() == enumspb.PENDING_ACTIVITY_STATE_STARTED && len(p.GetHeartbeatDetails().GetPayloads()) > 0 {
			return true
		}
	}
	return false
}
