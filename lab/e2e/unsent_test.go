package e2e

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Promises 2 and 4: a worker killed while it begins its dialogue with a device,
// which is dead from then on, has sent nothing. The job says so, and does not call
// off a machine that nobody switched, whose on nobody could read back.
func TestWorkerKilledBeforeItSends(t *testing.T) {
	t.Parallel()
	tasks := map[string]lab.Spec{"ipmi_reboot": {}, "snmp_rebootdelay": {}, "xenapi_reboot": {VM: true, NoBMC: true, NoOutlet: true}}
	if _, err := exec.LookPath("ipmitool"); err == nil { // CI has it
		tasks["ipmi_off"] = lab.Spec{BMCKey: true}
	}
	var specs []lab.Spec
	for task, spec := range tasks {
		spec.WorkerID, spec.WorkerGroup = task, fmt.Sprintf("g%d", len(specs))
		specs = append(specs, spec)
	}
	g := &gate{}
	s := newGatedSite(t, map[string]string{"TASK_NAMES": "ipmi_reboot,snmp_rebootdelay,xenapi_reboot,ipmi_off"}, g, specs...)
	dead := func(is bool) {
		for _, m := range s.lab.Machines() {
			m.SetFaults(lab.Faults{DeadBMC: is, PDUDead: is})
		}
		s.lab.XAPI().SetFaults(lab.XAPIFaults{NeverAnswers: is})
	}
	questions := g.stop(lab.Arrived, func(e lab.Entry) bool { return !e.Control })
	s.lab.XAPI().SetFaults(lab.XAPIFaults{NeverAnswers: true}) // of it no question is logged
	jobs := map[*lab.Machine]starter.Job{}
	for _, m := range s.lab.Machines() {
		jobs[m] = s.job(t, m.Spec().WorkerID, m)
	}
	for m, job := range jobs {
		if !m.Spec().VM {
			questions.await(t, m)
		}
		s.preparing(t, job)
	}
	s.Workers[0].Kill()
	dead(true)
	g.open()
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

// preparing waits until Temporal's server has heard that a job's command is being
// prepared.
func (s *site) preparing(t *testing.T, job starter.Job) {
	t.Helper()
	require.Eventually(t, func() bool {
		d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
		if err != nil {
			return false
		}
		for _, p := range d.GetPendingActivities() {
			if len(p.GetHeartbeatDetails().GetPayloads()) > 0 {
				return true
			}
		}
		return false
	}, time.Minute, 50*time.Millisecond, "%s: no heartbeat", job.WorkflowID)
}
