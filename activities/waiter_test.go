package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// A machine is seen within an interval of its coming, though the probe before it is
// still waiting for an answer that never comes.
func TestAwaitUpSeesAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		up, seen time.Duration // with the third answer, an interval apart
	}{
		"just before a probe": {up: 2999 * time.Millisecond, seen: 5001 * time.Millisecond},
		"just after one":      {up: 2001 * time.Millisecond, seen: 5001 * time.Millisecond},
		"at once":             {up: 0, seen: 2001 * time.Millisecond},
	} {
		inBubble(t, name, func(t *testing.T) {
			a, n := blindBench(t)
			n.up["machine"] = []time.Duration{0, c.up}
			sight, err := a.AwaitUp(t.Context(), Watch{Machine: machineOne.Name, Timeout: config.Duration(5 * time.Minute)})
			require.NoError(t, err)
			require.True(t, sight.Up)
			require.Equal(t, c.seen, time.Since(n.began))
		})
	}
	inBubble(t, "silent between the answers", func(t *testing.T) {
		a, n := blindBench(t)
		n.up["machine"] = []time.Duration{0, 1900 * time.Millisecond, 3100 * time.Millisecond, 9900 * time.Millisecond}
		sight, err := a.AwaitUp(t.Context(), Watch{Machine: machineOne.Name, Timeout: config.Duration(5 * time.Minute)})
		require.NoError(t, err)
		require.True(t, sight.Up)
		require.Equal(t, 12001*time.Millisecond, time.Since(n.began), "the two before the silence do not count")
	})
	inBubble(t, "in the last probe", func(t *testing.T) {
		a, n := blindBench(t)
		n.up["machine"] = []time.Duration{0, 7500 * time.Millisecond}
		sight, err := a.AwaitUp(t.Context(), Watch{Machine: machineOne.Name, Timeout: config.Duration(10*time.Second + time.Nanosecond)})
		require.NoError(t, err)
		require.True(t, sight.Up)
		require.Equal(t, 10001*time.Millisecond, time.Since(n.began))
	})
}
