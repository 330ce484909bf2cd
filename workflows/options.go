package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// onTry is how long one try to power on lasts after the alarm: the server's own
// retries within it cost no history.
const onTry = time.Hour

// lostTries is how many workers in a row may be lost before they have sent a
// rung's command: a command that kills its worker must not be tried for ever.
const lostTries = 3

// commandsQueue and watchesQueue are where the activities that touch a machine go:
// to the workers of its site, where it has workers of its own.
func commandsQueue(p activities.Plan) string {
	if p.OwnWorkers {
		return SiteQueue(p.Site)
	}
	return TaskQueue
}

func watchesQueue(p activities.Plan) string {
	if p.OwnWorkers {
		return SiteWatchQueue(p.Site)
	}
	return WatchTaskQueue
}

// once is the policy of a power command: only an error that says that nothing
// was sent leads to another attempt. A worker that vanished may have sent it, and
// the workflow looks how far it had come.
func once(t activities.Timing) *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval: t.Retry.D(), BackoffCoefficient: 1,
		NonRetryableErrorTypes: []string{
			string(activities.Unknown), string(activities.Refused), "PanicError",
			"TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat",
		},
	}
}

// forCommand: the workflow waits for a command to end even when it is
// cancelled, because only the activity knows whether it was sent.
func forCommand(ctx workflow.Context, p activities.Plan, summary string) workflow.Context {
	t := p.Timing
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           commandsQueue(p),
		StartToCloseTimeout: t.Turn.D() + t.Down.D() + t.Command.D(),
		HeartbeatTimeout:    t.Heartbeat.D(),
		WaitForCancellation: true,
		RetryPolicy:         once(t),
		Summary:             summary,
	})
}

// forOff: one that asks the operating system first waits for it.
func forOff(ctx workflow.Context, p activities.Plan, rung string) workflow.Context {
	t := p.Timing
	ctx = forCommand(ctx, p, rung+": off")
	if settles(rung) {
		ctx = workflow.WithStartToCloseTimeout(ctx, t.Turn.D()+t.Down.D()+t.SoftOff.D()+t.Command.D())
	}
	return ctx
}

// forOn: powering on may be repeated without harm, so every error is retried,
// for as long as one try of the caller's loop lasts.
func forOn(ctx workflow.Context, p activities.Plan, limit time.Duration, pending bool, summary string) workflow.Context {
	t := p.Timing
	try := t.Turn.D() + t.Command.D()
	if pending { // an off under way is waited for
		try += t.SoftOff.D()
	}
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              commandsQueue(p),
		StartToCloseTimeout:    try,
		ScheduleToCloseTimeout: max(limit, try),
		HeartbeatTimeout:       t.Heartbeat.D(),
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: t.Retry.D(), BackoffCoefficient: 1.5, MaximumInterval: max(time.Minute, t.Retry.D())},
		Summary:                summary,
	})
}

// forWatch: a long heartbeating wait; a worker that stops or dies hands it to
// another. The workflow sees a cancel at once.
func forWatch(ctx workflow.Context, p activities.Plan, limit time.Duration, summary string) workflow.Context {
	t := p.Timing
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           watchesQueue(p),
		StartToCloseTimeout: limit + time.Minute,
		HeartbeatTimeout:    t.Heartbeat.D(),
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 1.5, MaximumInterval: 10 * time.Second},
		Summary:             summary,
	})
}

// forRead: a question to a device, or what does no harm twice (to clear a network
// boot). It may be asked again; the activity itself says for how long, because
// waits for its turn do not count. The limit is for workers that are lost one
// after the other.
func forRead(ctx workflow.Context, p activities.Plan, summary string) workflow.Context {
	t := p.Timing
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              commandsQueue(p),
		StartToCloseTimeout:    t.Turn.D() + t.Command.D(),
		ScheduleToCloseTimeout: t.TurnLimit.D() + t.RungRetry.D() + t.Command.D(),
		HeartbeatTimeout:       t.Heartbeat.D(),
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: t.Retry.D(), BackoffCoefficient: 1},
		Summary:                summary,
	})
}

// forLookup: an activity that touches no machine and is safe to repeat for ever.
func forLookup(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           TaskQueue,
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second},
		Summary:             summary,
	})
}

// forBug: looked for before it is created, so every try may follow another.
func forBug(ctx workflow.Context, limit time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              TaskQueue,
		StartToCloseTimeout:    5 * time.Minute,
		ScheduleToCloseTimeout: limit,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 5 * time.Second, MaximumInterval: 5 * time.Minute},
		Summary:                "file the bug",
	})
}
