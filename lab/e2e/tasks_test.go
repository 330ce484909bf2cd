package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// TestEveryTask runs each task once as a job of its own, on a machine of its
// own that has everything.
func TestEveryTask(t *testing.T) {
	t.Parallel()
	want := map[string]workflows.Outcome{
		"reboot":            workflows.Back,
		"reimage":           workflows.Back,
		"ssh_reboot":        workflows.Back,
		"ipmi_reset":        workflows.Back,
		"ipmi_cycle":        workflows.Back,
		"ipmi_on":           workflows.Done,
		"ipmi_off":          workflows.Done,
		"ipmi_reboot":       workflows.Back,
		"snmp_reboot":       workflows.Back,
		"snmp_rebootdelay":  workflows.Back,
		"ilo_reboot":        workflows.Back,
		"moonshot_reset":    workflows.Back,
		"xenapi_reboot":     workflows.Back,
		"xen_reboot":        workflows.Back,
		"file_bugzilla_bug": workflows.BugFiled,
		"ping":              workflows.Done,
		"status":            workflows.Done,
		"ipmi_status":       workflows.Done,
		"ipmi_list":         workflows.Done,
	}
	var fleet []lab.Spec
	for task := range want {
		spec := lab.Spec{WorkerID: onIts(task), WorkerGroup: "mdc1"}
		switch task {
		case "ilo_reboot":
			spec.ILO = true
		case "moonshot_reset":
			spec.Moonshot = true
		case "xenapi_reboot", "xen_reboot":
			spec.VM, spec.NoBMC, spec.NoOutlet = true, true, true
		}
		fleet = append(fleet, spec)
	}
	s := newSite(t, map[string]string{"REBOOT_METHODS": ladder, "OFF_DELAY": "1s", "REIMAGE_SETTLE": "2s"}, fleet...)
	for task, outcome := range want {
		t.Run(task, func(t *testing.T) {
			t.Parallel()
			r, v := s.end(t, s.byHand(t, task, onIts(task), "mdc1"))
			require.Equal(t, outcome, r.Outcome, "%s", pretty(r))
			require.Equal(t, "Completed", v.Status)
			require.Empty(t, v.Off)
		})
	}
}

// onIts names the machine that a task is run on.
func onIts(task string) string { return "runs-" + strings.ReplaceAll(task, "_", "-") }

// TestBadEnds: the ways to end that a fleet should never see: the power cannot
// be brought back within the limit, and there is no Bugzilla to say so.
func TestBadEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{
		"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "BUGZILLA_URL": "", "BUGZILLA_API_KEY": "",
		"ON_ALARM": "1s", "ON_RETRY": "1s", "ON_LIMIT": "2s", "COMMAND_TIMEOUT": "6s", "SNMP_REBOOT_DELAY": "5s", "UP_TIMEOUT": "3s",
	}, lab.Spec{WorkerID: "dark", WorkerGroup: "mdc1"}, lab.Spec{WorkerID: "gone", WorkerGroup: "mdc1", Faults: lab.Faults{NeverReturns: true}})
	dark := s.lab.Machine("dark")
	off, gone := s.job(t, "reboot", dark), s.job(t, "reboot", s.lab.Machine("gone"))
	s.saw(t, "the outlet is off", func() bool { return !dark.State().Power })
	dark.SetFaults(lab.Faults{PDUDead: true})
	r, v := s.end(t, off)
	require.Equal(t, workflows.StillOff, r.Outcome, "%s", pretty(r))
	require.True(t, r.Off)
	require.Equal(t, "snmp_rebootdelay", v.Off, "the sweep finds it by this")
	r, _ = s.end(t, gone)
	require.Equal(t, workflows.NotBack, r.Outcome, "%s", pretty(r))
	require.False(t, r.Off)

	// The PDU answers again: the sweep powers the machine on.
	dark.SetFaults(lab.Faults{})
	s.sweep(t)
	s.saw(t, "the outlet is on again", func() bool { return dark.State().Power })
	require.Eventually(t, func() bool {
		v, err := s.door.Show(t.Context(), workflows.MachineID(name(dark)), "")
		return err == nil && v.Task == workflows.PowerOnType && v.Status == "Completed"
	}, enough, 100*time.Millisecond)
}
