package activities

import (
	"context"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// AwaitSight waits until the machine's site can be seen: one of its canaries
// answers, or the machine itself, for as long as Settle asks without a break.
// That it cannot at the timeout is a result, which is Blind. Errors: Handover
// when the worker stops.
func (a *Activities) AwaitSight(ctx context.Context, in Pause) (Sight, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return Sight{}, fail(err)
	}
	look := a.lookOut(ctx, m)
	defer a.leave(look)
	if look == nil { // the canaries were taken out of the configuration
		return Sight{Done: true, Evidence: "no canaries"}, nil
	}
	sight, err := a.awaitSight(ctx, m, look, until(ctx, in.Timeout.D()), in.Settle.D())
	if err == nil && !sight.Done {
		err = meaning(Handover, "this worker stops: another one must go on waiting for sight of %s", m.WorkerGroup)
		if ctx.Err() != nil {
			err = ended(ctx)
		}
	}
	return sight, fail(err)
}

func (a *Activities) awaitSight(ctx context.Context, m config.Machine, look *lookout, p waitProgress, settle time.Duration) (Sight, error) {
	l := a.Config.Ladder
	settle = max(settle, time.Duration(l.DownProbes-1)*l.ProbeInterval.D())
	over, beats, ticks := time.NewTimer(time.Until(p.Until)), time.NewTicker(heartbeatEvery(ctx)), time.NewTicker(l.ProbeInterval.D())
	defer func() { over.Stop(); beats.Stop(); ticks.Stop() }()
	var since time.Time // when the first of the answers came that have not been followed by silence
	for {
		at := time.Now()
		answered, err := a.Prober.Probe(ctx, m)
		seen, evidence := look.saw(ctx, at), "one of "+m.WorkerGroup+"'s canaries answers"
		if !seen {
			seen, evidence = err == nil && answered, "the machine itself answers"
		}
		switch {
		case ctx.Err() != nil:
			return Sight{}, nil
		case !seen:
			since = time.Time{}
		case since.IsZero():
			since = at
		case at.Sub(since) >= settle:
			return Sight{Done: true, Evidence: evidence}, nil
		}
	idle:
		for {
			select {
			case <-ctx.Done():
				return Sight{}, nil
			case <-stopping(ctx):
				return Sight{}, nil
			case <-over.C:
				return Sight{Done: true, Blind: true, Evidence: look.text()}, nil
			case <-beats.C:
				beat(ctx, p)
			case <-ticks.C:
				break idle
			}
		}
	}
}
