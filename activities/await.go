package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// waitProgress is the heartbeat details of a wait: the next attempt, on another
// worker, goes on until the same time.
type waitProgress struct {
	Until time.Time `json:"until"`
	Downs int       `json:"downs,omitempty"` // for AwaitInstalled: how often the machine was up and went down again
}

// until returns when a wait ends, over all its attempts.
func until(ctx context.Context, timeout time.Duration) waitProgress {
	var p waitProgress
	if !resumed(ctx, &p) || p.Until.IsZero() {
		p.Until = time.Now().Add(timeout)
	}
	beat(ctx, p)
	return p
}

// AwaitDown watches a machine until it is seen down or proven restarted. Not
// seen down at the timeout is a result. Errors: Handover when the worker stops,
// NotSent when no probe could be made.
func (a *Activities) AwaitDown(ctx context.Context, in Watch) (Sight, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return Sight{}, fail(err)
	}
	p := until(ctx, in.Timeout.D())
	h := a.witness.hold(ctx, m)
	defer h.close()
	look := a.lookOutFor(ctx, m, in.Baseline)
	defer a.leave(look)
	sight, err := a.watch(ctx, m, in.Baseline, h, look, p.Until, func() { beat(ctx, p) })
	switch {
	case err != nil:
		err = final(err) // the time is over
	case ctx.Err() != nil:
		err = ended(ctx, sight)
	case !sight.Done:
		err = meaning(Handover, "this worker stops: another one must go on watching %s", in.Machine)
	}
	return sight, fail(err)
}

// identityReads is how often a machine that is up otherwise is asked for its
// identity before it is called up without one.
const identityReads = 3

// AwaitUp waits until a machine is up as its inventory entry asks: it answers
// probes and, where it has SSH, shows a banner. Not up at the timeout is a
// result, and so is that nothing can be seen. Where the baseline has an identity,
// that decides whether the machine that is up has restarted. Errors: Handover when the worker stops, NotSent
// when no probe could be made.
func (a *Activities) AwaitUp(ctx context.Context, in Watch) (Sight, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return Sight{}, fail(err)
	}
	p := until(ctx, in.Timeout.D())
	w := &waiter{a: a, m: in.Baseline.seen(m), base: in.Baseline, seen: a.lookOutFor(ctx, m, in.Baseline)}
	defer a.leave(w.seen)
	sight, err := w.wait(ctx, p)
	if err == nil && !sight.Done {
		if ctx.Err() != nil {
			err = ended(ctx)
		} else {
			err = meaning(Handover, "this worker stops: another one must go on waiting for %s", in.Machine)
		}
	}
	return sight, fail(err)
}

// wait looks once an interval, until the machine is up, the site cannot be seen,
// or the time is over.
func (w *waiter) wait(ctx context.Context, p waitProgress) (Sight, error) {
	over := time.NewTimer(time.Until(p.Until))
	beats := time.NewTicker(heartbeatEvery(ctx))
	probes := time.NewTicker(w.a.Config.Ladder.ProbeInterval.D())
	defer func() { over.Stop(); beats.Stop(); probes.Stop() }()
	for {
		if w.look(ctx) {
			return w.sight, nil
		}
		if !w.answered && w.seen.blind() {
			return w.sightless(), nil
		}
	idle:
		for {
			select {
			case <-ctx.Done():
				return w.sight, nil
			case <-stopping(ctx):
				return w.sight, nil
			case <-over.C:
				return w.giveUp(ctx)
			case <-beats.C:
				beat(ctx, p)
			case <-probes.C:
				break idle
			}
		}
	}
}

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

	answered bool // the newest probe was
	answers  int  // since it was silent last
	silence  int  // probes in a row unanswered
}

// look probes once and reports whether the machine is up.
func (w *waiter) look(ctx context.Context) bool {
	w.answered, w.err = w.a.Prober.Probe(ctx, w.m)
	if w.err != nil {
		return false
	}
	w.sent++
	if !w.answered {
		w.lost++
		w.silence++
		return false
	}
	if !w.serves(ctx) {
		return false
	}
	if !w.identified(ctx) {
		return false
	}
	w.sight.Done, w.sight.Up, w.sight.UpAt = true, true, time.Now()
	return true
}

// serves reports whether a machine that answers a probe is up: it shows its SSH
// banner or, where it has no SSH, has answered as many probes as it takes to call
// one down, with no silence as long between them. One stray reply is not "up".
func (w *waiter) serves(ctx context.Context) bool {
	need := w.a.Config.Ladder.DownProbes
	if w.silence >= need {
		w.answers = 0
	}
	w.silence = 0
	w.answers++
	if w.m.SSH == nil {
		w.sight.Evidence = "answers probes"
		return w.answers >= need
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
