package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// rewrite changes one of the inventory's files under the running worker.
func (s *site) rewrite(t *testing.T, variable string, change func(map[string]any)) {
	t.Helper()
	path := s.Env[variable]
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var entries map[string]any
	require.NoError(t, json.Unmarshal(text, &entries))
	change(entries)
	text, err = json.Marshal(entries)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".new", text, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// sweep has the schedule look now for what closed runs left off.
func (s *site) sweep(t *testing.T) {
	t.Helper()
	require.NoError(t, s.client.ScheduleClient().GetHandle(t.Context(), workflows.SweepID).
		Trigger(t.Context(), client.ScheduleTriggerOptions{Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL}))
}

// Promise 4: what roller powered off it powers on, whatever the inventory says
// meanwhile: the outlet now feeds another machine, or the machine has left. The
// job itself does it, and the sweep for a job that was terminated.
func TestInventoryChangesBetweenOffAndOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "20s"}, // with a PDU each, that all are off at a time
		lab.Spec{WorkerID: "moved", WorkerGroup: "mdc1"}, lab.Spec{WorkerID: "gone", WorkerGroup: "mdc2"},
		lab.Spec{WorkerID: "lost", WorkerGroup: "mdc3"}, lab.Spec{WorkerID: "lost-and-gone", WorkerGroup: "mdc4"},
		lab.Spec{WorkerID: "bystander", WorkerGroup: "mdc5"})
	jobs := map[*lab.Machine]starter.Job{}
	for _, id := range []string{"moved", "gone", "lost", "lost-and-gone"} {
		jobs[s.lab.Machine(id)] = s.job(t, "reboot", s.lab.Machine(id))
	}
	s.saw(t, "all outlets are off", func() bool {
		for m := range jobs {
			if m.State().Power {
				return false
			}
		}
		return true
	})
	bystander := s.lab.Machine("bystander")
	s.rewrite(t, "FQDN_TO_PDU_FILE", func(entries map[string]any) {
		freed := entries[bystander.FQDN()]
		delete(entries, bystander.FQDN())
		entries[s.lab.Machine("moved").FQDN()] = freed
		delete(entries, s.lab.Machine("lost").FQDN())
	})
	for _, file := range []string{"FQDN_TO_PDU_FILE", "FQDN_TO_SSH_FILE", "FQDN_TO_IPMI_FILE"} {
		s.rewrite(t, file, func(entries map[string]any) {
			maps.DeleteFunc(entries, func(fqdn string, _ any) bool {
				return fqdn == s.lab.Machine("gone").FQDN() || fqdn == s.lab.Machine("lost-and-gone").FQDN()
			})
		})
	}
	for m, job := range jobs {
		if id := m.Spec().WorkerID; id == "lost" || id == "lost-and-gone" {
			require.NoError(t, s.client.TerminateWorkflow(t.Context(), job.WorkflowID, job.TaskID, "by hand"))
		}
	}
	s.sweep(t)
	for m, job := range jobs {
		s.saw(t, m.FQDN()+" has its power back", func() bool { return m.State().Power })
		require.Equal(t, []string{"pdu set AA off", "pdu set AA on"}, outlets(s.executed(m)))
		if id := m.Spec().WorkerID; id == "moved" || id == "gone" {
			r, v := s.end(t, job)
			require.False(t, r.Off, "%s", pretty(r))
			require.Empty(t, v.Off)
		}
	}
	require.Empty(t, s.executed(bystander))
	require.True(t, bystander.State().Power)
}
