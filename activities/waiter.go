package activities

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// waiter is one wait for up, while it runs.
type waiter struct {
	a      *Activities
	m      config.Machine
	base   Baseline
	seen   *lookout
	sight  Sight
	reads  int
	sent   int
	lost   int
	closed bool // it answers probes, but shows no SSH banner
	err    error

	running  sync.WaitGroup
	probed   chan waitProbe // has room for all that are pending
	begun    int            // probes
	pending  int            // probes whose end has not been taken
	newest   int            // number of the newest probe that was answered
	answered bool           // the newest probe was
	answers  int            // since it was silent last
	lookedAt time.Time      // when it was last asked for more than an answer: one sent before says nothing new
	overtime bool           // the time is over, but the last probes are not

	record  func(ctx context.Context, details any) error // sends one heartbeat
	limit   time.Duration                                // the heartbeat timeout
	beat    waitProgress
	heard   chan bool // whether the server has the heartbeat that is under way
	beating bool
	beatAt  time.Time // when the newest was sent that the server has, or the one under way
}

// waitProbe is what became of one probe of a wait.
type waitProbe struct {
	number   int // from 1, in the order of sending
	at       time.Time
	answered bool
	err      error
}

// wait sends a probe each interval, without waiting for the end of the one before,
// so that a machine is seen within an interval of its coming; until it is up, the
// site cannot be seen, or the time is over. The first heartbeat comes with the second
// probe: of a machine that is up nobody needs to know for how long it would have been
// waited for.
func (w *waiter) wait(ctx context.Context, p waitProgress) (Sight, error) {
	l := w.a.Config.Ladder
	over := time.NewTimer(time.Until(p.Until))
	beats := time.NewTicker(heartbeatEvery(ctx))
	probes := time.NewTicker(l.ProbeInterval.D())
	defer func() { over.Stop(); beats.Stop(); probes.Stop() }()
	ctx, cancel := context.WithCancel(ctx)
	defer w.running.Wait()
	defer cancel()
	w.record, w.limit, w.beat, w.heard = recordProgress, heartbeatTimeout(ctx), p, make(chan bool, 1)
	w.probed = make(chan waitProbe, 2+l.ProbeTimeout.D()/l.ProbeInterval.D())
	w.probe(ctx)
	for !w.overtime || w.pending > 0 {
		select {
		case <-ctx.Done():
			return w.sight, nil
		case <-stopping(ctx):
			return w.sight, nil
		case <-over.C:
			w.overtime = true
			probes.Stop()
		case <-beats.C:
			w.tell(ctx, w.limit*3/8) // it is asked each quarter
		case heard := <-w.heard:
			w.told(heard)
		case <-probes.C:
			if w.begun == 1 {
				w.tell(ctx, 0)
			}
			w.probe(ctx)
		case probed := <-w.probed:
			w.pending--
			if w.take(ctx, probed) {
				return w.sight, nil
			}
			if !w.answered && w.seen.blind() {
				return w.sightless(), nil
			}
		}
	}
	return w.giveUp(ctx)
}

// probe sends one probe, but not where this process is so late that it has yet to take
// more than can be under way.
func (w *waiter) probe(ctx context.Context) {
	if w.pending == cap(w.probed) {
		return
	}
	w.begun++
	w.pending++
	number, at := w.begun, time.Now()
	tell := func(answered bool, err error) { w.probed <- waitProbe{number, at, answered, err} }
	if p, ok := w.a.Prober.(asker); ok && p.Ask(w.m, tell) {
		return
	}
	w.running.Go(func() { tell(w.a.Prober.Probe(ctx, w.m)) })
}

// tell sends a heartbeat aside, if the newest is older than that: two in the time after
// which the server gives this attempt up, and another one soon where it may not have one
// of them. The SDK's own would need a goroutine with a timer for each machine that is
// waited for.
func (w *waiter) tell(ctx context.Context, older time.Duration) {
	if w.beating || time.Since(w.beatAt) < older {
		return
	}
	w.beating, w.beatAt = true, time.Now()
	w.running.Go(func() {
		if w.limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, w.limit/8) // one that hangs leaves the time for another
			defer cancel()
		}
		w.heard <- w.record(ctx, w.beat) == nil
	})
}

// told takes the answer to a heartbeat; where there was none, another is due.
func (w *waiter) told(heard bool) {
	w.beating = false
	if !heard {
		w.beatAt = time.Time{}
	}
}

// take takes the end of one probe, and reports whether the machine is up.
func (w *waiter) take(ctx context.Context, p waitProbe) bool {
	later := p.number > w.newest // than the newest answer
	w.err = p.err
	if later {
		w.answered = p.answered
	}
	if p.err != nil {
		return false
	}
	w.sent++
	if !p.answered {
		w.lost++
		return false
	}
	if later {
		w.answer(p.number)
	}
	if p.at.Before(w.lookedAt) {
		return false
	}
	if w.begun > 1 {
		w.tell(ctx, w.limit/8) // the look may take its time
	}
	up := w.serves(ctx) && w.identified(ctx)
	if w.lookedAt = time.Now(); !up {
		return false
	}
	w.sight.Done, w.sight.Up, w.sight.UpAt = true, true, time.Now()
	return true
}

// answer counts an answered probe. A silence before it that is as long as one by which
// a machine is called down takes back what was answered before that.
func (w *waiter) answer(number int) {
	if silence := number - w.newest - 1; silence >= w.a.Config.Ladder.DownProbes {
		w.answers = 0
	}
	w.newest = number
	w.answers++
}

// serves reports whether a machine that answers a probe is up: it shows its SSH banner
// or, where it has no SSH, has answered as many probes as it takes to call one down.
// One stray reply is not "up".
func (w *waiter) serves(ctx context.Context) bool {
	if w.m.SSH == nil {
		w.sight.Evidence = "answers probes"
		return w.answers >= w.a.Config.Ladder.DownProbes
	}
	w.sight.Evidence = "answers probes and ssh"
	if w.base.ByTCP > 0 {
		w.sight.Evidence = "answers ssh, and no pings"
	}
	w.closed = !w.a.witness.sshBanner(ctx, w.m)
	return !w.closed
}

// identified compares identities where there are any, and reports whether nothing
// is left to ask.
func (w *waiter) identified(ctx context.Context) bool {
	if !w.base.known() {
		return true
	}
	restarted, known, evidence := w.base.compare(w.a.boot(ctx, w.m, w.base))
	w.reads++
	switch {
	case !known && w.reads < identityReads:
		return false
	case !known:
		w.sight.Evidence += ", its identity cannot be read"
	case restarted:
		w.sight.Rebooted = true
		w.sight.Evidence += ", " + evidence
	default:
		w.sight.SameBoot = true
		w.sight.Evidence += ", " + evidence + ": it has not restarted"
	}
	return true
}

// sightless ends a wait that can see nothing.
func (w *waiter) sightless() Sight {
	w.sight.Done, w.sight.Blind, w.sight.Evidence = true, true, w.seen.text()
	return w.sight
}

// giveUp says what was seen until the time was over.
func (w *waiter) giveUp(ctx context.Context) (Sight, error) {
	if !w.answered && w.seen.decide(ctx) {
		return w.sightless(), nil
	}
	if w.sent == 0 && w.err != nil {
		return w.sight, final(notSent("wait for up: %w", w.err))
	}
	w.sight.Done = true
	w.sight.Evidence = fmt.Sprintf("%d of %d probes unanswered", w.lost, w.sent)
	if w.closed {
		w.sight.Evidence = "answers probes, but shows no ssh banner"
	}
	return w.sight, nil
}
