package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// climb tries the plan's rungs in order. The first after which the machine is
// back ends it; a single step (withBug false) that does not help fails.
func (r *run) climb(ctx workflow.Context, withBug bool) error {
	for i, rung := range r.plan.Rungs {
		if rung.Name == "file_bugzilla_bug" {
			return r.giveUp(ctx, rung)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.result.Next = names(r.plan.Rungs[i+1:])
		err := r.try(ctx, rung)
		if err != nil || r.result.Outcome == Back {
			return err
		}
	}
	if !withBug {
		last := r.result.Attempts[len(r.result.Attempts)-1]
		r.result.Outcome, r.result.Why = last.Outcome, last.Why
		return temporal.NewNonRetryableApplicationError(last.Rung+": "+last.Why, string(last.Outcome), nil)
	}
	return r.giveUp(ctx, activities.Rung{Skip: "file_bugzilla_bug is not in REBOOT_METHODS"})
}

// try carries out one rung and keeps its record.
func (r *run) try(ctx workflow.Context, rung activities.Rung) error {
	r.result.Attempts = append(r.result.Attempts, Attempt{Rung: rung.Name, StartedAt: workflow.Now(ctx), Outcome: Running})
	if rung.Skip != "" {
		r.conclude(ctx, Skipped, rung.Skip)
		return nil
	}
	s := asRung(rung.Name)
	if rung.OffOn { // by the plan, so that the wait is this run's own and the power comes back whatever happens
		s.kind, s.action = offOn, activities.Off
	}
	switch s.kind {
	case offOn:
		return r.offWaitOn(ctx, s, rung.Target)
	case install:
		return r.install(ctx, s, rung.Target)
	default:
		return r.command(ctx, s, rung.Target)
	}
}

// command sends one command and looks what it did.
func (r *run) command(ctx workflow.Context, s step, target activities.Target) error {
	if r.attempt().Rung != r.firstRung() {
		if err := r.tell(ctx, AttrRung.ValueSet(r.attempt().Rung)); err != nil {
			return err
		}
	}
	var out activities.CommandResult
	err := r.seeing(ctx, func() (string, error) {
		r.show(ctx, "sending the command, then watching for the machine to go down")
		return unsighted(carryOut(forCommand(ctx, r.plan, r.attempt().Rung), s.activity, activities.Command{
			Machine: r.plan.Machine, Action: s.action, Target: target, Since: r.since,
			DownTimeout: r.plan.Timing.Down, RungRetry: r.plan.Timing.RungRetry,
		}, &out))
	})
	if endedBlind(err) {
		return err
	}
	if settled, err := r.settle(ctx, &out, err); settled || err != nil {
		return err
	}
	return r.judge(ctx, out)
}

// settle handles the ends of a command after which there is nothing to look
// at, and turns a lost worker into "unknown, look".
func (r *run) settle(ctx workflow.Context, out *activities.CommandResult, err error) (bool, error) {
	at := r.attempt()
	if c, ok := errors.AsType[*temporal.CanceledError](err); ok && c.HasDetails() {
		_ = c.Details(out)
	}
	at.Sent, at.SentAt = out.Sent, out.SentAt
	if err == nil && out.Skipped != "" {
		r.conclude(ctx, Skipped, out.Skipped)
		return true, nil
	}
	if err == nil && out.Back != "" {
		r.back(ctx, "nothing was sent: "+out.Back)
		return true, nil
	}
	if err == nil {
		at.Why = out.Unknown
		r.sent(out.Baseline)
		return false, nil
	}
	// Before the cancel: what was not sent needs no making good.
	if outcome, ok := nothingSent(err); ok {
		r.looked = false
		r.conclude(ctx, outcome, reason(err))
		return true, nil
	}
	if cancelled(ctx, err) {
		at.Why = out.Unknown
		if temporal.IsTimeoutError(err) { // the cancel found a lost worker
			at.Why = reason(err) + "; it may have been sent"
		}
		return true, err
	}
	at.Why = reason(err) + "; it may have been sent"
	out.Unknown, out.Baseline = at.Why, lastBaseline(err)
	r.sent(out.Baseline)
	return false, nil
}

// nothingSent reports whether an activity's error says that no command was
// carried out, and how the attempt then ended.
func nothingSent(err error) (Outcome, bool) {
	if lostUnsent(err) {
		return NotSent, true
	}
	e, ok := said(err)
	if !ok {
		return "", false
	}
	switch activities.Meaning(e.Type()) {
	case activities.NotSent:
		return NotSent, true
	case activities.Refused:
		return Refused, true
	case activities.UnknownMachine, activities.NoRung, activities.BadInput: // the inventory changed under the job
		return Skipped, true
	default:
		return "", false
	}
}

// said is what an activity's last attempt said itself. The server hangs the
// error of the attempt before on a timeout as its cause: that is not what became
// of the attempt that was lost.
func said(err error) (*temporal.ApplicationError, bool) {
	if _, lost := errors.AsType[*temporal.TimeoutError](err); lost {
		return nil, false
	}
	return errors.AsType[*temporal.ApplicationError](err)
}

// neverSent reports whether a command was cancelled before it was sent: its
// activity says so, or the server, that no attempt was under way; an attempt
// follows another one only if that had sent nothing.
func neverSent(err error, out activities.CommandResult) bool {
	c, ok := errors.AsType[*temporal.CanceledError](err)
	if !ok {
		return false
	}
	var server string
	if !c.HasDetails() || c.Details(&server) == nil {
		return true
	}
	return c.Details(&out) == nil && out.Sent == "" && out.Unknown == ""
}

// lostUnsent reports whether a command's worker was lost before it sent anything:
// the last that the server heard of the attempt is that it was preparing, or
// nothing at all, and nothing goes out before the server has stored that it will.
func lostUnsent(err error) bool {
	var p activities.Progress
	t, ok := errors.AsType[*temporal.TimeoutError](err)
	return ok && (!t.HasLastHeartbeatDetails() || t.LastHeartbeatDetails(&p) == nil && p.Phase == activities.Preparing)
}

// carryOut runs the activity of a command. A worker that is lost before it has
// sent anything spends no rung: another one begins anew.
func carryOut(ctx workflow.Context, activity any, in activities.Command, out *activities.CommandResult) error {
	for tries := 1; ; tries++ {
		err := workflow.ExecuteActivity(ctx, activity, in).Get(ctx, out)
		if !lostUnsent(err) || tries == lostTries || ctx.Err() != nil {
			return err
		}
	}
}

// lastBaseline is how a lost worker saw the machine before it sent. Without
// any word of it the machine counts as having been up: it must then be seen
// going down.
func lastBaseline(err error) activities.Baseline {
	var p activities.Progress
	if t, ok := errors.AsType[*temporal.TimeoutError](err); ok && t.HasLastHeartbeatDetails() && t.LastHeartbeatDetails(&p) == nil {
		return p.Baseline
	}
	return activities.Baseline{Up: true}
}

// sent remembers the baseline of the first command that may have been carried
// out: from here on a machine that is back is never sent another.
func (r *run) sent(b activities.Baseline) {
	r.looked = false
	if r.since == nil {
		r.since = &b
	}
}

// awaitDown goes on watching where the activity that sent the command could not
// watch to the end: its worker was stopped, or lost.
func (r *run) awaitDown(ctx workflow.Context, out *activities.CommandResult) error {
	if out.Watch.Done {
		return nil
	}
	r.show(ctx, "watching for the machine to go down")
	t := r.plan.Timing
	return workflow.ExecuteActivity(forWatch(ctx, r.plan, t.Down.D(), r.attempt().Rung+": await down"), a.AwaitDown,
		activities.Watch{Machine: r.plan.Machine, Baseline: out.Baseline, Timeout: t.Down}).Get(ctx, &out.Watch)
}

// seeDown is awaitDown with the pauses that it takes. What was sent is not sent
// again: a machine that restarted meanwhile has another identity, or is down.
func (r *run) seeDown(ctx workflow.Context, out *activities.CommandResult) error {
	return r.seeing(ctx, func() (string, error) {
		if err := r.awaitDown(ctx, out); err != nil || !out.Watch.Blind {
			return "", err
		}
		why := out.Watch.Evidence
		out.Watch = activities.Sight{}
		return why, nil
	})
}

// unseen ends an attempt after which nobody could look at the machine: no probe
// could be made. The next rung needs a probe too before it sends anything.
func (r *run) unseen(ctx workflow.Context, err error) error {
	if cancelled(ctx, err) || endedBlind(err) {
		return err
	}
	r.conclude(ctx, NotBack, join(r.attempt().Why, "the machine could not be looked at: "+reason(err)))
	return nil
}

// judge decides what a command did from what was seen after it.
func (r *run) judge(ctx workflow.Context, out activities.CommandResult) error {
	if err := r.seeDown(ctx, &out); err != nil {
		return r.unseen(ctx, err)
	}
	r.since.Down = r.since.Down || out.Watch.WentDown()
	if out.Watch.AfterCommand(out.Baseline) == activities.NoEffect {
		r.conclude(ctx, NoEffect, join(r.attempt().Why, "the machine did not go down within "+r.plan.Timing.Down.String(), out.Watch.Evidence))
		return nil
	}
	return r.awaitUp(ctx, out.Baseline, out.Watch, r.plan.Timing.Up)
}

// awaitUp waits for the machine and ends the attempt by what it sees.
func (r *run) awaitUp(ctx workflow.Context, b activities.Baseline, down activities.Sight, limit config.Duration) error {
	b.Down = b.Down || down.WentDown()
	up, err := r.seeUp(ctx, b, limit)
	if err != nil {
		return r.unseen(ctx, err)
	}
	why := r.attempt().Why
	switch up.AfterWait(down) {
	case activities.NoEffect:
		r.since.Down = false
		r.conclude(ctx, NoEffect, join(why, "it fell silent but did not restart", up.Evidence))
	case activities.CameBack:
		r.back(ctx, join(why, down.Evidence, up.Evidence))
	default:
		r.looked = true
		r.conclude(ctx, NotBack, join(why, down.Evidence, "not back within "+limit.String(), up.Evidence))
	}
	return nil
}

// seeUp waits for the machine, with the pauses that it takes. They do not count:
// after one it goes on with what was left, and looks for LAST_LOOK at least.
func (r *run) seeUp(ctx workflow.Context, b activities.Baseline, limit config.Duration) (activities.Sight, error) {
	var up activities.Sight
	left := limit
	err := r.seeing(ctx, func() (string, error) {
		began := workflow.Now(ctx)
		r.show(ctx, "waiting for the machine to come back, until "+began.Add(left.D()).UTC().Format(clock))
		up = activities.Sight{}
		err := workflow.ExecuteActivity(forWatch(ctx, r.plan, left.D(), r.attempt().Rung+": await up"), a.AwaitUp,
			activities.Watch{Machine: r.plan.Machine, Baseline: b, Timeout: left}).Get(ctx, &up)
		if err != nil || !up.Blind {
			return "", err
		}
		left = max(left-config.Duration(workflow.Now(ctx).Sub(began)), min(limit, r.plan.Timing.LastLook))
		return up.Evidence, nil
	})
	return up, err
}

// back ends the attempt and the job.
func (r *run) back(ctx workflow.Context, why string) {
	r.result.Outcome = Back
	r.conclude(ctx, Back, why)
}
