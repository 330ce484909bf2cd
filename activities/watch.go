package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// Prober says whether a machine answers now.
type Prober interface {
	// Probe sends one probe and waits for its answer. An error says that the
	// probe could not be made (no socket, no DNS answer); it is not "down".
	Probe(ctx context.Context, m config.Machine) (bool, error)
}

// pattern judges a machine by its probes alone. It has no clock and does no
// I/O: it is fed with samples in the order in which the probes were sent.
//
// One lost packet is not "down": need probes in a row must go unanswered, and
// they must be spread over time, because one glitch can swallow a burst. A
// machine that was down at the baseline cannot go down before it has come up.
type pattern struct {
	need   int           // probes in a row that decide, DOWN_PROBES
	spread time.Duration // least time between the first and the last of them
	wasUp  bool          // it was up at the baseline, or has come up since
	cameUp bool          // it was down at the baseline, and has come up since

	last     time.Time // when the newest probe was sent
	first    time.Time // when the first probe of the current run was sent
	run      int       // probes in a row with the same answer
	answered bool      // that answer
	sent     int
	lost     int

	down   bool
	downAt time.Time
}

// newPattern spreads the deciding probes over at least half the time that they
// take at the interval: a ticker that was late once may be early the next time.
func newPattern(wasUp bool, need int, interval time.Duration) *pattern {
	need = max(need, 1)
	return &pattern{need: need, spread: time.Duration(need-1) * interval / 2, wasUp: wasUp}
}

// add takes one sample. A sample older than the newest one says nothing new.
func (p *pattern) add(at time.Time, answered bool) {
	if at.Before(p.last) {
		return
	}
	p.last = at
	p.sent++
	if !answered {
		p.lost++
	}
	if p.run == 0 || p.answered != answered {
		p.run, p.first, p.answered = 0, at, answered
	}
	p.run++
	if p.run < p.need || at.Sub(p.first) < p.spread {
		return
	}
	if answered && !p.wasUp {
		p.wasUp, p.cameUp = true, true
	}
	if !answered && p.wasUp && !p.down {
		p.down, p.downAt = true, p.first
	}
}

// answers reports whether the newest probe was answered.
func (p *pattern) answers() bool { return p.run > 0 && p.answered }

// evidence says in a few words what the verdict rests on.
func (p *pattern) evidence() string {
	switch {
	case p.down:
		return fmt.Sprintf("%d probes in a row unanswered", p.run)
	case p.cameUp:
		return "was down before, answers now"
	case p.sent == 0:
		return "no probe could be made"
	case !p.wasUp:
		return fmt.Sprintf("was down before, %d of %d probes unanswered", p.lost, p.sent)
	default:
		return fmt.Sprintf("%d of %d probes unanswered", p.lost, p.sent)
	}
}
