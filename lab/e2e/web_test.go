package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// The rungs that speak HTTPS, in a ladder: a hung machine comes back by its
// iLO, a cartridge by its chassis manager.
func TestWebRungs(t *testing.T) {
	t.Parallel()
	hung := lab.Faults{Hung: true, Web: lab.WebFaults{Offers: "PowerCycle"}}
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ilo_reboot,moonshot_reset,file_bugzilla_bug", "ILO_TIMEOUT": "2s"},
		lab.Spec{WorkerID: "has-an-ilo", WorkerGroup: "mdc1", NoBMC: true, ILO: true, Faults: hung},
		lab.Spec{WorkerID: "is-a-cartridge", WorkerGroup: "mdc1", NoBMC: true, Moonshot: true, Faults: lab.Faults{Hung: true}})
	for id, want := range map[string]struct {
		tried    map[string]workflows.Outcome
		executed []string
	}{
		"has-an-ilo": {map[string]workflows.Outcome{"ilo_reboot": workflows.Back}, []string{"ilo reset PowerCycle"}},
		"is-a-cartridge": {
			map[string]workflows.Outcome{"ilo_reboot": workflows.Skipped, "moonshot_reset": workflows.Back},
			[]string{"moonshot cold reset c1n1"},
		},
	} {
		m := s.lab.Machine(id)
		r, _ := s.end(t, s.job(t, "reboot", m))
		require.Equal(t, workflows.Back, r.Outcome, pretty(r))
		require.Equal(t, want.tried, tried(r))
		require.Equal(t, want.executed, s.executed(m))
	}
}
