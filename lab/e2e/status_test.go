package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// TestStatusDuringAJob: a status is answered while the machine's job is in the
// middle of its wait between off and on, over the API as data and in the terminal
// as text, and names that job.
func TestStatusDuringAJob(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"TASK_NAMES": "reboot,status", "REBOOT_METHODS": "snmp_rebootdelay", "SNMP_REBOOT_DELAY": "120s"},
		lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1", ILO: true})
	m := s.lab.Machine("ms1-10")
	out, status := s.roller(t, "status", "ms1-10", "mdc1")
	require.Zero(t, status, out)
	require.Regexp(t, `(?m)^job +none$`, out)

	job := s.job(t, "reboot", m)
	s.saw(t, "the outlet is off", func() bool { return !m.State().Power })
	var st *activities.MachineStatus
	require.Eventually(t, func() bool { // visibility is a moment behind
		a := s.post(t, "status", "MS1-10", "none")
		require.Equal(t, http.StatusCreated, a.Status, "%s", a.Raw)
		r, v := s.end(t, starter.Job{Task: "status", TaskID: a.Body["task_id"].(string), WorkflowID: s.readOf(t, a.Body["task_id"].(string))})
		require.Equal(t, workflows.Done, r.Outcome, pretty(r))
		require.Equal(t, string(workflows.Done), v.Outcome)
		st = r.Status
		return st.Job.Off == "snmp_rebootdelay"
	}, enough, 100*time.Millisecond, "the job is named")
	require.Equal(t, job.TaskID, st.Job.TaskID)
	require.Equal(t, "reboot", st.Job.Task)
	require.Equal(t, sheriff, st.Job.ClientID)
	power := map[string]string{}
	for _, p := range st.Power {
		power[p.Device] = p.State + string(p.Meaning)
	}
	require.Equal(t, map[string]string{"ipmi": "off", "ilo": "off", "pdu": "off"}, power)
	require.False(t, st.Ping.Answers)

	out, status = s.roller(t, "status", m.FQDN())
	require.Zero(t, status, out)
	require.Regexp(t, `(?m)^job +reboot for [0-9]+s, at snmp_rebootdelay, OFF by snmp_rebootdelay, asked for by `, out)
	require.Contains(t, out, job.TaskID)
	v, err := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
	require.NoError(t, err)
	require.Equal(t, "Running", v.Status, "nobody waited for it")
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Cancelled, r.Outcome)
	require.True(t, m.State().Power)
	s.noSecrets(t, "ms1-10")
}

// readOf is the workflow ID of a read, which only Temporal knows.
func (s *site) readOf(t *testing.T, taskID string) string {
	t.Helper()
	var id string
	require.Eventually(t, func() bool {
		views, err := s.door.List(t.Context(), "", 100)
		require.NoError(t, err)
		for _, v := range views {
			if v.TaskID == taskID {
				id = v.WorkflowID
			}
		}
		return id != ""
	}, enough, 100*time.Millisecond, "the read is listed")
	return id
}
