//go:build lab && linux

package netns

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// What OpenIPMI's simulator makes of a power-cycle: off, a second, on.
var (
	setsNetboot     = "chassis bootdev pxe"
	clearsNetboot   = "chassis bootdev none"
	cycleOfTheSim   = []string{"chassis power off", "chassis power on"}
	reimagedMachine = map[string]struct {
		faults    Faults
		off       bool // before
		lostBMC   bool
		outcome   workflows.Outcome
		says      string
		bmc       []string // that changes anything, in order
		installed int
	}{
		"installs": {
			outcome: workflows.Back, says: "with another ssh host key",
			bmc: append([]string{setsNetboot}, cycleOfTheSim...), installed: 1,
		},
		"was-off": {
			off: true, outcome: workflows.Back, says: "with another ssh host key",
			bmc: []string{setsNetboot, "chassis power on"}, installed: 1,
		},
		"heeds-nothing": {
			faults: Faults{IgnoreBoot: true}, outcome: workflows.Back,
			bmc: append([]string{setsNetboot}, append(cycleOfTheSim, clearsNetboot)...),
		},
		"set-refused": {faults: Faults{RefuseBoot: true}, outcome: workflows.Refused},
		// "Unspecified error" is an answer of BMCs that have acted, so that roller looks first.
		"cycle-fails": {
			faults: Faults{RefusePower: true}, outcome: workflows.NoEffect, says: "Unspecified error",
			bmc: []string{setsNetboot, clearsNetboot},
		},
		"lost-bmc": {lostBMC: true, outcome: workflows.NotSent},
	}
)

// TestReimageOnRealPeers: OpenIPMI's BMC is told of the network boot once, before
// the power-cycle; the firmware uses it up, or roller clears it; and a machine that
// is not cycled is left without one.
func TestReimageOnRealPeers(t *testing.T) {
	t.Parallel()
	var ids []string
	for id := range reimagedMachine {
		ids = append(ids, id)
	}
	l := Start(t, with(quick, ids...))
	keys := map[string]string{}
	before := map[string]int{}
	for _, m := range l.Machines() {
		if reimagedMachine[m.ID].off {
			mustIPMI(t, l, m, "power", "off")
		}
		keys[m.ID] = hostKeyOf(t, m)
		require.NoError(t, m.SetFaults(reimagedMachine[m.ID].faults))
		if reimagedMachine[m.ID].lostBMC {
			require.NoError(t, m.BMC().LoseReplies(everyPacket))
		}
		before[m.ID] = len(l.Commands(m.ID))
	}
	s := newInside(t, l, map[string]string{"REIMAGE_TIMEOUT": "60s", "REIMAGE_SETTLE": "3s", "RUNG_RETRY": "5s"})
	s.start("reimage", ids...)
	for _, m := range l.Machines() {
		t.Run(m.ID, func(t *testing.T) {
			want := reimagedMachine[m.ID]
			r := s.ended(m.ID).Result
			require.Equal(t, want.outcome, r.Outcome, "%s", r.Markdown())
			require.Contains(t, r.Markdown(), want.says)
			require.NoError(t, m.BMC().LoseReplies(0))
			var changes []string
			for _, c := range l.Commands(m.ID)[before[m.ID]:] {
				if c.Executed && (c.Control || c.Command == setsNetboot || c.Command == clearsNetboot) {
					changes = append(changes, c.Command)
				}
			}
			require.Equal(t, want.bmc, changes)
			now := state(t, m)
			require.Empty(t, now.BootDevice, "the next boot is from the disk")
			require.Equal(t, want.installed, now.Installed)
			require.Equal(t, want.installed == 1, hostKeyOf(t, m) != keys[m.ID])
			require.True(t, now.SSH)
			require.Equal(t, "Chassis Power is on", mustIPMI(t, l, m, "power", "status"))
		})
	}
	require.Empty(t, s.close(), "whoever reimages a machine is looking at it")
}

func hostKeyOf(t *testing.T, m *Machine) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.rig.Dir, "host_key"))
	require.NoError(t, err)
	return string(text)
}
