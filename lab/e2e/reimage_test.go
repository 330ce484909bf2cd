package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// reimages is the environment of machines that install in a second.
func reimages(extra ...string) map[string]string {
	env := map[string]string{
		"TASK_NAMES": "reimage,reboot,status", "REIMAGE_TIMEOUT": "60s", "REIMAGE_SETTLE": "3s",
		"ILO_TIMEOUT": "5s", "ILO_VERIFY_TIMEOUT": "2s",
	}
	for i := 0; i+1 < len(extra); i += 2 {
		env[extra[i]] = extra[i+1]
	}
	return env
}

// TestReimage: over the API, by IPMI and by an iLO, a machine is booted from the
// network once, comes up as an installer without SSH, restarts and is back; one
// whose firmware does not heed it is told apart, and one without such a device is
// refused.
func TestReimage(t *testing.T) {
	t.Parallel()
	s := newSite(t, reimages(),
		lab.Spec{WorkerID: "by-ipmi", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "by-ilo", WorkerGroup: "mdc1", ILO: true},
		lab.Spec{WorkerID: "heeds-nothing", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreNetboot: true}},
		lab.Spec{WorkerID: "refuses-the-cycle", WorkerGroup: "mdc1", Faults: lab.Faults{RefuseControl: true}},
		lab.Spec{WorkerID: "has-a-pdu-only", WorkerGroup: "mdc1", NoBMC: true})
	for id, w := range map[string]struct {
		outcome   workflows.Outcome
		installed int
		executed  []string
		says      string
	}{
		"by-ipmi":           {workflows.Back, 1, []string{"bmc chassis power cycle"}, "with another ssh host key"},
		"by-ilo":            {workflows.Back, 1, []string{"ilo reset ForceRestart"}, "with another ssh host key"},
		"heeds-nothing":     {workflows.Back, 0, []string{"bmc chassis power cycle"}, "network boot was still set, and is cleared: it may have booted its old system"},
		"refuses-the-cycle": {workflows.Refused, 0, nil, "network boot is not set"},
		"has-a-pdu-only":    {workflows.Failed, 0, nil, "no ipmi entry, and no ilo entry"},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			m := s.lab.Machine(id)
			r, _ := s.end(t, s.job(t, "reimage", m))
			require.Equal(t, w.outcome, r.Outcome, pretty(r))
			require.Contains(t, r.Why+pretty(r.Attempts), w.says, pretty(r))
			require.Equal(t, w.executed, s.executed(m))
			require.Equal(t, w.installed, m.State().Installed)
			require.False(t, m.State().Netboot, "the next boot is from the disk")
			require.True(t, m.State().Power)
		})
	}
}

// TestReimageCancelled: a person cancels in the terminal's job while the machine
// is being installed; the job ends soon, with the machine on and its next boot
// from the disk.
func TestReimageCancelled(t *testing.T) {
	t.Parallel()
	s := newSite(t, reimages("REIMAGE_TIMEOUT", "20m"), lab.Spec{
		WorkerID: "ms1-10", WorkerGroup: "mdc1", Faults: lab.Faults{CycleSticks: true, IgnoreNetboot: true},
	})
	m := s.lab.Machine("ms1-10")
	job := s.job(t, "reimage", m)
	s.saw(t, "the power-cycle left it off", func() bool { return !m.State().Power })
	require.True(t, m.State().Netboot)
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Cancelled, r.Outcome, pretty(r))
	require.Contains(t, r.Attempts[0].Why, "network boot was still set, and is cleared; the power-cycle left it off: it was powered on")
	require.Equal(t, []string{"bmc chassis power cycle", "bmc chassis power on"}, s.executed(m))
	require.True(t, m.State().Power)
	require.False(t, m.State().Netboot)
}

// Promise 4: a reimage that is terminated, or reset, while its power-cycle has left
// the machine off. The sweep, or the run that begins again, powers it on.
func TestReimageLeftOff(t *testing.T) {
	t.Parallel()
	stuck := lab.Faults{CycleSticks: true, IgnoreNetboot: true}
	s := newSite(t, reimages(),
		lab.Spec{WorkerID: "terminated", WorkerGroup: "mdc1", Faults: stuck},
		lab.Spec{WorkerID: "reset", WorkerGroup: "mdc1", Faults: stuck})
	terminated, reset := s.lab.Machine("terminated"), s.lab.Machine("reset")
	first, second := s.job(t, "reimage", terminated), s.job(t, "reimage", reset)
	s.saw(t, "the power-cycle left both off", func() bool { return !terminated.State().Power && !reset.State().Power })
	require.True(t, terminated.State().Netboot)
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), first.WorkflowID, first.TaskID, "by hand"))
	s.sweep(t)
	s.saw(t, "it has its power back", func() bool { return terminated.State().Power })
	require.False(t, terminated.State().Netboot, "the next boot is from the disk")

	s.reset(t, second, false)
	require.NoError(t, s.door.Cancel(t.Context(), second.WorkflowID, "")) // what begins again would only be cycled again
	s.sweep(t)
	s.saw(t, "it has its power back, too", func() bool { return reset.State().Power })
}
