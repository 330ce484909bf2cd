package activities

import (
	"context"
	"errors"
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

// newFence starts at the attempt's start, and anew at each heartbeat that the
// server has. Half of the heartbeat timeout leaves room for the command itself.
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

// endedEarly is why ctx ended, as text alone: of an attempt that has sent something
// its cancel must not say that it has not.
func endedEarly(ctx context.Context) string {
	return "this attempt ended: " + context.Cause(ctx).Error()
}

// unheard is the error of a command that went out and whose reply nobody heard.
// Where ctx has ended, that is why: the dialogue was ended from here, and what the
// protocol makes of it (a timeout, a lost connection) is not what happened.
func unheard(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return unknown("%s: it may have been sent, and its reply was not waited for: %s", what, endedEarly(ctx))
	}
	return unknown("%s: %w", what, err)
}

// endedOr returns err, or why ctx ended if that is the reason for it.
func endedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	return err
}
