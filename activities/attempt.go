package activities

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
)

// The functions below also work outside Temporal: the command line runs the
// activities' own code in a terminal.

// lookup returns the machine as the newest inventory knows it.
func (a *Activities) lookup(name config.Name) (config.Machine, error) {
	m, err := a.Inventory().Lookup(name)
	if err != nil {
		return config.Machine{}, meaning(UnknownMachine, "look up %s: %w", name, err)
	}
	return m, nil
}

func beat(ctx context.Context, details any) {
	if activity.IsActivity(ctx) {
		activity.RecordHeartbeat(ctx, details)
	}
}

// resumed reads what the last attempt's heartbeat said, if there was one.
func resumed(ctx context.Context, details any) bool {
	if !activity.IsActivity(ctx) || !activity.HasHeartbeatDetails(ctx) {
		return false
	}
	return activity.GetHeartbeatDetails(ctx, details) == nil
}

// stopping is closed when the worker wants to stop.
func stopping(ctx context.Context) <-chan struct{} {
	if !activity.IsActivity(ctx) {
		return nil
	}
	return activity.GetWorkerStopChannel(ctx)
}

func heartbeatTimeout(ctx context.Context) time.Duration {
	if !activity.IsActivity(ctx) {
		return 0
	}
	return activity.GetInfo(ctx).HeartbeatTimeout
}

// heartbeatEvery leaves room for three heartbeats that are lost.
func heartbeatEvery(ctx context.Context) time.Duration {
	if t := heartbeatTimeout(ctx); t > 0 {
		return max(t/4, 10*time.Millisecond)
	}
	return 5 * time.Second
}

// canceled reports whether ctx ended because somebody asked for a cancel, and
// not because the worker goes down or the server has given this attempt up:
// the SDK turns a CanceledError in those cases into an error that is retried.
func canceled(ctx context.Context) bool {
	cause := context.Cause(ctx)
	if activity.IsActivity(ctx) {
		return temporal.IsCanceledError(cause)
	}
	return errors.Is(cause, context.Canceled)
}

// ended says why nothing more was done when ctx ended before anything was sent.
func ended(ctx context.Context, details ...any) error {
	if canceled(ctx) {
		return temporal.NewCanceledError(details...)
	}
	return meaning(Handover, "this attempt ended: %w", context.Cause(ctx))
}

// fence guards the last moment before a command goes out.
type fence struct {
	start time.Time     // by the monotonic clock
	wall  time.Time     // the same moment by the wall clock
	limit time.Duration // 0: none
}

// newFence starts at the attempt's start, and anew at each heartbeat. Half of the
// heartbeat timeout leaves room for the SDK, which sends a heartbeat later than
// it was given one.
func newFence(ctx context.Context) fence {
	now := time.Now()
	return fence{start: now, wall: now.Round(0), limit: heartbeatTimeout(ctx) / 2}
}

// check fails when the server may have given this attempt up: then another may
// be acting on the machine already, and a late command would hit its work. A
// process that was stopped or a virtual machine that was paused shows either in
// the monotonic clock or only in the wall clock, so both are asked.
func (f fence) check(ctx context.Context) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return notSent("the time of this attempt was over before the command could be sent")
	}
	if elapsed := f.elapsed(); f.limit > 0 && elapsed > f.limit {
		return notSent("this worker was held up for %s before it could send the command", elapsed.Round(time.Second))
	}
	return nil
}

// elapsed is the time since the start by whichever clock saw more of it.
func (f fence) elapsed() time.Duration {
	return max(time.Since(f.start), time.Now().Round(0).Sub(f.wall))
}

// pulse heartbeats through an attempt whatever it is busy with, and notices when
// this process was stopped for so long that the server may have given it up.
type pulse struct {
	mu      sync.Mutex
	fence   fence
	stalled error // why this attempt must not send any more
	details Progress
	beaten  time.Time // when the last heartbeat was given to the SDK
}

const (
	// HeartbeatWindow is how long the SDK of a worker of commands keeps a
	// heartbeat that follows another; the worker sets it.
	HeartbeatWindow = 100 * time.Millisecond
	// cancelWithin is how soon a command learns of a cancel, which comes with the
	// answer to a heartbeat. A bulk job, for which there may be a thousand others,
	// learns of it with the heartbeats that it needs anyway.
	cancelWithin = 3 * time.Second
)

// startPulse begins with the first tick, not at once: the first heartbeat that
// most attempts send is the one that has the baseline.
func startPulse(ctx context.Context, details Progress, rank Rank) (p *pulse, stop func()) {
	p = &pulse{fence: newFence(ctx), details: details}
	ctx, cancel := context.WithCancel(ctx)
	var ticking sync.WaitGroup
	ticking.Go(func() {
		every := heartbeatEvery(ctx)
		if rank < BulkRank {
			every = min(every, cancelWithin)
		}
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				p.beat(ctx)
			}
		}
	})
	return p, func() { cancel(); ticking.Wait() }
}

// set changes what the heartbeats say, and sends one.
func (p *pulse) set(ctx context.Context, details Progress) {
	p.mu.Lock()
	p.details = details
	p.mu.Unlock()
	p.beat(ctx)
}

// reach is set for what the server must know before anything else is done: when
// it returns the server has it, if it can be reached at all, and has said whether
// this attempt is still its own.
func (p *pulse) reach(ctx context.Context, details Progress) {
	p.mu.Lock()
	early := HeartbeatWindow - time.Since(p.beaten)
	p.mu.Unlock()
	pause(ctx, early)
	p.set(ctx, details)
}

func (p *pulse) beat(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = p.fence.check(ctx)
	}
	p.fence = newFence(ctx)
	beat(ctx, p.details)
	p.beaten = time.Now()
}

// ready is asked at the last moment before a command goes out.
func (p *pulse) ready(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		return p.stalled
	}
	return p.fence.check(ctx)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// endedOr returns err, or why ctx ended if that is the reason for it.
func endedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	return err
}
