package activities

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// Prober says whether a machine answers now.
type Prober interface {
	// Probe sends one probe and waits for its answer. An error says that the
	// probe could not be made (no socket, no DNS answer); it is not "down".
	Probe(ctx context.Context, m config.Machine) (bool, error)
}

// asker is a Prober that needs no goroutine for each probe that is not answered yet.
type asker interface {
	// Ask is Probe, and calls tell once with what that returns. It does not wait,
	// nor may tell. False where that cannot be done now; then nothing was sent.
	Ask(m config.Machine, tell func(answered bool, err error)) bool
}

// pattern judges a machine by its probes alone. It has no clock and does no
// I/O: it is fed with samples in the order in which the probes were sent.
//
// One lost packet is not "down": so many probes in a row must go unanswered that
// chance does not do it on a network that loses as many as this one did before,
// and they must be spread over time, because one glitch can swallow a burst. A
// machine that was down at the baseline cannot go down before it has come up.
type pattern struct {
	need   int           // probes in a row that decide where none was lost before, DOWN_PROBES
	spread time.Duration // least time between the first and the last of them
	wasUp  bool          // it was up at the baseline, or has come up since
	cameUp bool          // it was down at the baseline, and has come up since

	last     time.Time // when the newest probe was sent
	first    time.Time // when the first probe of the current run was sent
	run      int       // probes in a row with the same answer
	answered bool      // that answer
	sent     int
	lost     int

	upSent int // of the probes before the current run, those that were sent while it was up
	upLost int // and went unanswered

	down   bool
	downAt time.Time
}

// newPattern spreads the deciding probes over at least half the time that they
// take at the interval: a ticker that was late once may be early the next time.
func newPattern(wasUp bool, need int, interval time.Duration) *pattern {
	need = max(need, 1)
	return &pattern{need: need, spread: time.Duration(need-1) * interval / 2, wasUp: wasUp}
}

const (
	// byChance is how likely a silence may be on a network that only loses packets
	// before it counts as one of the machine.
	byChance = 1e-4
	// mostNeed bounds, in DOWN_PROBES, how long a silence a lossy network asks for:
	// that of one which loses half.
	mostNeed = 5
)

// needed is how many probes in a row must go unanswered now.
func (p *pattern) needed() int {
	if p.upLost == 0 {
		return p.need
	}
	if p.upLost >= p.upSent {
		return mostNeed * p.need
	}
	lossRate := float64(p.upLost) / float64(p.upSent)
	n := math.Ceil(math.Log(byChance) / math.Log(lossRate))
	return min(max(p.need, int(n)), mostNeed*p.need)
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
		p.endRun()
		p.first, p.answered = at, answered
	}
	p.run++
	if at.Sub(p.first) < p.spread {
		return
	}
	if answered && !p.wasUp && p.run >= p.need {
		p.wasUp, p.cameUp = true, true
	}
	if !answered && p.wasUp && !p.down && p.run >= p.needed() {
		p.down, p.downAt = true, p.first
	}
}

// endRun makes the current run the past by which later ones are judged.
func (p *pattern) endRun() {
	if p.wasUp {
		p.upSent += p.run
		if !p.answered {
			p.upLost += p.run
		}
	}
	p.run = 0
}

// interrupt ends a run of which the next probe is no part: what lies before a
// time of which nothing is known and what lies behind it are not one silence.
// Nothing is known of that run's probes either.
func (p *pattern) interrupt() { p.run = 0 }

// acquit takes "down" back: the silence was the network's.
func (p *pattern) acquit() {
	p.endRun()
	p.down = false
}

// answers reports whether the newest probe was answered.
func (p *pattern) answers() bool { return p.run > 0 && p.answered }

// silent reports whether a machine that was up has begun to go unanswered.
func (p *pattern) silent() bool { return p.run > 0 && !p.answered && p.wasUp }

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
