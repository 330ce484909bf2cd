package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

// gate stops devices in mid-command, so that a test can strike exactly there.
// A nil gate stops nothing.
type gate struct {
	mu    sync.Mutex
	stops []*stop
}

// stop is one moment of the commands that match.
type stop struct {
	at    lab.Moment
	match func(lab.Entry) bool
	held  chan lab.Entry // every command that stopped here
	over  chan struct{}
	once  sync.Once
}

// heldMost is more than any test holds at once.
const heldMost = 10_000

// stop makes every device stop at a moment of each command that matches. A PDU
// deals with one request after the other, so that a command that is held holds
// the whole PDU: give each machine a group, and with it a PDU, of its own.
func (g *gate) stop(at lab.Moment, match func(lab.Entry) bool) *stop {
	s := &stop{at: at, match: match, held: make(chan lab.Entry, heldMost), over: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stops = append(g.stops, s)
	return s
}

func (g *gate) during(at lab.Moment, e lab.Entry) {
	if g == nil {
		return
	}
	g.mu.Lock()
	var stops []*stop
	for _, s := range g.stops {
		if s.at == at && s.match(e) {
			stops = append(stops, s)
		}
	}
	g.mu.Unlock()
	for _, s := range stops {
		s.held <- e
		<-s.over
	}
}

// open lets everything go on, now and from now on.
func (g *gate) open() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.stops {
		s.open()
	}
}

// open lets what stopped here go on, now and from now on.
func (s *stop) open() { s.once.Do(func() { close(s.over) }) }

// await returns when each of the machines has a command that stopped here.
func (s *stop) await(t *testing.T, machines ...*lab.Machine) {
	t.Helper()
	missing := map[string]bool{}
	for _, m := range machines {
		missing[m.FQDN()] = true
	}
	limit := time.After(enough)
	for len(missing) > 0 {
		select {
		case e := <-s.held:
			delete(missing, e.Machine)
		case <-limit:
			require.Empty(t, missing, "have no command that is held at %q", s.at)
		}
	}
}
