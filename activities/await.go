package activities

import (
	"context"
	"time"
)

// waitProgress is the heartbeat details of a wait: the next attempt, on another
// worker, goes on until the same time.
type waitProgress struct {
	Until time.Time `json:"until"`
	Downs int       `json:"downs,omitempty"` // for AwaitInstalled: how often the machine was up and went down again
}

// until returns when a wait ends, over all its attempts.
func until(ctx context.Context, timeout time.Duration) waitProgress {
	p := resumeWait(ctx, timeout)
	beat(ctx, p)
	return p
}

// resumeWait is until for whoever tells the server of it himself.
func resumeWait(ctx context.Context, timeout time.Duration) waitProgress {
	var p waitProgress
	if !resumed(ctx, &p) || p.Until.IsZero() {
		p.Until = time.Now().Add(timeout)
	}
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
	p := resumeWait(ctx, in.Timeout.D())
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
