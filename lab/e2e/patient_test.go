package e2e

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// patient is the environment of jobs that stay at each step for minutes, so that
// one which ends soon was not waited out. The heartbeat is production's.
var patient = map[string]string{
	"TASK_NAMES":     "reboot,ssh_reboot,ipmi_reset,ipmi_reboot,ipmi_status,snmp_reboot,snmp_rebootdelay,file_bugzilla_bug,reimage,xenapi_reboot,moonshot_reset,ilo_reboot,ipmi_cycle,ipmi_off,ping",
	"REBOOT_METHODS": "ipmi_reset,file_bugzilla_bug",
	"DOWN_TIMEOUT":   "5m", "UP_TIMEOUT": "20m", "RUNG_RETRY": "10m", "SNMP_REBOOT_DELAY": "10m", "OFF_DELAY": "2s",
	"BUG_WAIT": "10m", "BLIND_LIMIT": "20m", "REIMAGE_TIMEOUT": "20m", "HEARTBEAT_TIMEOUT": "60s", "LAST_LOOK": "10m",
	"TURN_WAIT": "60s", "TURN_LIMIT": "1h", "SNMP_TIMEOUT": "6m", "COMMAND_TIMEOUT": "4m",
	"IPMI_POWER_STATUS_WAIT": "4s", "IPMI_POWER_STATUS_INTERVAL": "0.5s", "ON_ALARM": "10m",
}

// longest is how long a cancelled job may take on a busy machine. It is less than
// any time that it is at a step by itself.
const longest = 3 * time.Minute

// place tells whether a job is at one.
type place func(*site, *testing.T, *lab.Machine, starter.Job) bool

// now tells by what the job says that it does.
func now(prefix string) place {
	return func(s *site, t *testing.T, _ *lab.Machine, job starter.Job) bool {
		t.Helper()
		v, err := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
		return err == nil && v.Result != nil && strings.HasPrefix(v.Result.Now, prefix)
	}
}

// phaseIs tells by the command's heartbeat.
func phaseIs(phase string) place {
	return func(s *site, t *testing.T, _ *lab.Machine, job starter.Job) bool {
		t.Helper()
		d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
		if err != nil || len(d.GetPendingActivities()) != 1 {
			return false
		}
		var p workflows.Progress
		err = converter.GetDefaultDataConverter().FromPayloads(d.GetPendingActivities()[0].GetHeartbeatDetails(), &p)
		return err == nil && string(p.Phase) == phase
	}
}

// there waits until each of the jobs has been where it should be. It has to be seen
// there once: a job whose step is over when the slowest of them comes was there too.
func (s *site) there(t *testing.T, jobs map[*lab.Machine]starter.Job, at func(*lab.Machine) place) {
	t.Helper()
	missing := maps.Clone(jobs)
	limit, again := time.Now().Add(enough), time.NewTicker(100*time.Millisecond)
	defer again.Stop()
	for {
		maps.DeleteFunc(missing, func(m *lab.Machine, job starter.Job) bool { return at(m)(s, t, m, job) })
		if len(missing) == 0 {
			return
		}
		var where []string
		for m := range missing {
			where = append(where, m.Spec().WorkerID)
		}
		require.True(t, time.Now().Before(limit), "not where they should be: %v", where)
		<-again.C
	}
}

// endedCancelled waits for the end of a job that was cancelled, and looks at what
// it leaves.
func (s *site) endedCancelled(t *testing.T, m *lab.Machine, job starter.Job) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	err := s.door.Await(ctx, job)
	v, verr := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
	require.NoError(t, verr)
	require.NoError(t, err, "%s is not at its end: %s", m.FQDN(), pretty(v.Result))
	require.Equal(t, "Canceled", v.Status, m.FQDN())
	require.Equal(t, workflows.Cancelled, v.Result.Outcome, "%s: %s", m.FQDN(), pretty(v.Result))
	require.False(t, v.Result.Off, "%s: %s", m.FQDN(), pretty(v.Result))
	require.Empty(t, v.Off, m.FQDN())
	t.Logf("%s: ended %s after the cancel", m.Spec().WorkerID, s.afterCancel(t, job).Round(10*time.Millisecond))
}

// afterCancel is the time from the first request for a cancel to the end, by the
// server's clock.
func (s *site) afterCancel(t *testing.T, job starter.Job) time.Duration {
	t.Helper()
	events := s.history(t, job)
	for _, e := range events {
		if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED {
			return events[len(events)-1].GetEventTime().AsTime().Sub(e.GetEventTime().AsTime())
		}
	}
	require.Fail(t, "no cancel was asked for", "%v", job)
	return 0
}
