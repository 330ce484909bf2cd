package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
)

// Promises 2 to 4: a worker that has lost Temporal for three times the longest
// heartbeat timeout, with a job in every phase, comes back by itself and ends them
// all. What it sent meanwhile, and could not tell, is not sent again.
func TestWorkerLosesTemporal(t *testing.T) {
	t.Parallel()
	g, bird, front := &gate{}, newCanary(t), &stack.Frontend{}
	s, jobs := inEveryPhase(t, stack.Options{Production: production, Frontend: front, Env: map[string]string{
		"HEARTBEAT_TIMEOUT": soon, "SNMP_REBOOT_DELAY": "60s",
	}}, rollerBinary, g, bird)
	heartbeat, err := time.ParseDuration(soon)
	require.NoError(t, err)
	front.Cut()
	away := time.After(3 * heartbeat)
	g.open() // the commands under way are carried out, and nobody can be told
	<-away
	require.NoError(t, front.Mend())
	s.bugs.SetFaults(lab.BugzillaFaults{})
	bird.open()
	for id, p := range phases() {
		m := s.lab.Machine(id)
		r, v := s.end(t, jobs[id])
		require.Equal(t, p.outcome, r.Outcome, "%s: %s", id, pretty(r))
		require.Equal(t, p.sent, slices.Compact(outlets(s.executed(m))), "%s: %s", id, pretty(r)) // to power on twice does no harm
		require.True(t, m.State().Power, id)
		require.Empty(t, v.Off, id)
	}
	require.Equal(t, 1, s.lab.Count("watch", func(e lab.Entry) bool { return e.Command == "reboot" }))
	require.Len(t, s.bugs.Bugs(), 2, "one tracker, one bug")
	select {
	case <-s.Workers[0].Ended():
		require.Fail(t, "the worker has ended", s.Workers[0].Tail())
	default:
	}
}
