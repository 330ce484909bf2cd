package activities

import (
	"context"
	"testing"
	"testing/synctest"
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

// quietly is a prober that is asked without waiting.
type quietly struct {
	Prober
	asked int
	ask   func(number int, tell func(bool, error)) bool
}

func (q *quietly) Ask(_ config.Machine, tell func(bool, error)) bool {
	q.asked++
	return q.ask(q.asked, tell)
}

// A wait needs no goroutine for a probe that is not answered yet, takes what it is told
// whenever that comes, and asks no more than can be under way.
func TestAwaitUpAsks(t *testing.T) {
	t.Parallel()
	wait := func(t *testing.T, ask func(number int, tell func(bool, error)) bool) (*quietly, Sight) {
		t.Helper()
		a, n := blindBench(t)
		n.up["machine"] = []time.Duration{0}
		q := &quietly{Prober: a.Prober, ask: ask}
		a.Prober = q
		sight, err := a.AwaitUp(t.Context(), Watch{Machine: machineOne.Name, Timeout: config.Duration(20*time.Second + time.Nanosecond)})
		require.NoError(t, err)
		return q, sight
	}
	inBubble(t, "it is told later", func(t *testing.T) {
		q, sight := wait(t, func(number int, tell func(bool, error)) bool {
			time.AfterFunc(500*time.Millisecond, func() { tell(number > 5, nil) })
			return true
		})
		require.True(t, sight.Up)
		require.Equal(t, 8, q.asked, "three answers, as it takes to call a machine down")
	})
	inBubble(t, "it is told at once", func(t *testing.T) {
		q, sight := wait(t, func(_ int, tell func(bool, error)) bool {
			tell(true, nil)
			return true
		})
		require.True(t, sight.Up)
		require.Equal(t, 3, q.asked)
	})
	inBubble(t, "that cannot be done now", func(t *testing.T) {
		q, sight := wait(t, func(int, func(bool, error)) bool { return false })
		require.False(t, sight.Up)
		require.Equal(t, 21, q.asked)
		require.Contains(t, sight.Evidence, "21 of 21 probes unanswered", "each was made by the other way")
	})
	inBubble(t, "this process is late", func(t *testing.T) {
		late, asked := time.Now().Add(9500*time.Millisecond), 0
		_, sight := wait(t, func(_ int, tell func(bool, error)) bool {
			if time.Now().Before(late) {
				asked++
			}
			time.AfterFunc(time.Until(late), func() { tell(true, nil) })
			return true
		})
		require.True(t, sight.Up)
		require.Equal(t, 2+2, asked, "PROBE_TIMEOUT / PROBE_INTERVAL and two")
	})
}

// A wait sends two heartbeats in the time after which it is given up, one at a time, and
// another one soon where one was lost.
func TestWaitBeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Minute
		var sent []time.Duration
		began, lost, slow := time.Now(), 2, 3 // their numbers
		w := &waiter{limit: limit, heard: make(chan bool, 1), record: func(ctx context.Context, _ any) error {
			sent = append(sent, time.Since(began))
			switch len(sent) {
			case lost:
				<-ctx.Done() // it hangs
				return ctx.Err()
			case slow:
				pause(ctx, limit/9)
			}
			return nil
		}}
		for range 12 {
			w.tell(t.Context(), limit*3/8)
			end := time.After(limit / 4)
			for waiting := true; waiting; {
				select {
				case heard := <-w.heard:
					w.told(heard)
				case <-end:
					waiting = false
				}
			}
		}
		w.running.Wait()
		q := limit / 4
		require.Equal(t, []time.Duration{0, 2 * q, 3 * q, 5 * q, 7 * q, 9 * q, 11 * q}, sent)
	})
}
