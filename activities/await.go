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
	h := a.hold(ctx, m)
	defer h.close()
	sight, err := a.watch(ctx, m, in.Baseline, h, p.Until, func() { beat(ctx, p) })
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

// bootIDReads is how often a machine that is up otherwise is asked for its boot
// ID before it is called up without one.
const bootIDReads = 3

// AwaitUp waits until a machine is up as its inventory entry asks: it answers
// probes and, where it has SSH, shows a banner. Not up at the timeout is a
// result. Where the baseline has a boot ID, that decides whether the machine
// that is up has restarted. Errors: Handover when the worker stops, NotSent
// when no probe could be made.
func (a *Activities) AwaitUp(ctx context.Context, in Watch) (Sight, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return Sight{}, fail(err)
	}
	p := until(ctx, in.Timeout.D())
	sight, err := a.awaitUp(ctx, m, in.Baseline, p)
	if err == nil && !sight.Done {
		if ctx.Err() != nil {
			err = ended(ctx)
		} else {
			err = meaning(Handover, "this worker stops: another one must go on waiting for %s", in.Machine)
		}
	}
	return sight, fail(err)
}

func (a *Activities) awaitUp(ctx context.Context, m config.Machine, base Baseline, p waitProgress) (Sight, error) {
	over := time.NewTimer(time.Until(p.Until))
	beats := time.NewTicker(heartbeatEvery(ctx))
	probes := time.NewTicker(a.Config.Ladder.ProbeInterval.D())
	defer func() { over.Stop(); beats.Stop(); probes.Stop() }()
	w := waiter{a: a, m: m, base: base}
	for {
		if w.look(ctx) {
			return w.sight, nil
		}
	idle:
		for {
			select {
			case <-ctx.Done():
				return w.sight, nil
			case <-stopping(ctx):
				return w.sight, nil
			case <-over.C:
				return w.giveUp()
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
	sight  Sight
	reads  int
	sent   int
	lost   int
	closed bool // it answers probes, but shows no SSH banner
	err    error
}

// look probes once and reports whether the machine is up.
func (w *waiter) look(ctx context.Context) bool {
	answered, err := w.a.Prober.Probe(ctx, w.m)
	if w.err = err; err != nil {
		return false
	}
	w.sent++
	if !answered {
		w.lost++
		return false
	}
	if w.closed = w.m.SSH != nil && !w.a.sshBanner(ctx, w.m); w.closed {
		return false
	}
	w.sight.Evidence = "answers probes"
	if w.m.SSH != nil {
		w.sight.Evidence = "answers probes and ssh"
	}
	if !w.identified(ctx) {
		return false
	}
	w.sight.Done, w.sight.Up, w.sight.UpAt = true, true, time.Now()
	return true
}

// identified compares boot IDs where there are any, and reports whether nothing
// is left to ask.
func (w *waiter) identified(ctx context.Context) bool {
	if w.base.BootID == "" {
		return true
	}
	id := w.a.bootID(ctx, w.m)
	w.reads++
	switch {
	case id == "" && w.reads < bootIDReads:
		return false
	case id == "":
		w.sight.Evidence += ", boot id cannot be read"
	case id == w.base.BootID:
		w.sight.SameBoot = true
		w.sight.Evidence += ", boot id unchanged: it has not restarted"
	default:
		w.sight.Rebooted = true
		w.sight.Evidence += ", boot id changed"
	}
	return true
}

// giveUp says what was seen until the time was over.
func (w *waiter) giveUp() (Sight, error) {
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
