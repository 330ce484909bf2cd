package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// offWaitOn powers the machine off, waits by a durable timer that holds no
// device, and powers it on. From the workflow task that schedules the off until
// the device was read as on, the run carries RollerOff: if it is closed in
// between by a way that runs no code, the sweep finds it by that.
func (r *run) offWaitOn(ctx workflow.Context, s step, target activities.Target) error {
	rung := r.attempt().Rung
	if err := r.tell(ctx, AttrRung.ValueSet(rung), AttrOff.ValueSet(rung)); err != nil {
		return err
	}
	command := activities.Command{
		Machine: r.plan.Machine, Action: activities.Off, Target: target, Since: r.since,
		DownTimeout: r.plan.Timing.Down, RungRetry: r.plan.Timing.RungRetry,
	}
	var off activities.CommandResult
	err := r.seeing(ctx, func() (string, error) {
		r.result.Off = true
		r.show(ctx, "powering off")
		blind, err := unsighted(carryOut(forOff(ctx, r.plan, rung), s.activity, command, &off))
		r.result.Off = blind == ""
		return blind, err
	})
	if endedBlind(err) {
		return join2(r.tell(ctx, AttrOff.ValueUnset()), err)
	}
	settled, settleErr := r.settle(ctx, &off, err)
	if settled && settleErr == nil || neverSent(err, off) { // known that nothing was switched off
		r.result.Off = false
		return join2(settleErr, r.tell(ctx, AttrOff.ValueUnset()))
	}
	var unseen error
	if settleErr == nil {
		if settleErr = r.awaitDown(ctx, &off); settleErr != nil && !cancelled(ctx, settleErr) {
			unseen, settleErr = settleErr, nil
		}
	}
	if settleErr == nil {
		settleErr = r.dwell(ctx, rung)
	}
	if settleErr != nil && off.Power != string(activities.Off) {
		r.letItAct(ctx)
	}
	pending := settles(rung) && off.Power != string(activities.Off)
	if !r.powerOn(ctx, s, command.Undo(pending, r.plan.Timing.OnLimit)) {
		r.result.Outcome = StillOff
		r.conclude(ctx, StillOff, "powered off, and could not be powered on again")
		return join2(settleErr, temporal.NewNonRetryableApplicationError(r.attempt().Why, string(StillOff), nil))
	}
	if settleErr != nil {
		return settleErr
	}
	if unseen != nil {
		return r.unseen(ctx, unseen)
	}
	if off.Watch.Blind && off.Power == string(activities.Off) {
		off.Watch = activities.Sight{Done: true, Down: true, Evidence: "its power read off"}
	}
	return r.judge(ctx, off)
}

// offActs is how long a device may take to act on an off that it acknowledged.
const offActs = 15 * time.Second

// letItAct gives an off that was not read back the time to act: a device that
// reads on a moment after it is no proof that it will stay on.
func (r *run) letItAct(ctx workflow.Context) {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	_ = workflow.NewTimerWithOptions(dctx, offActs, workflow.TimerOptions{Summary: "until the off has acted"}).Get(dctx, nil)
}

// dwell is the wait between off and on.
func (r *run) dwell(ctx workflow.Context, rung string) error {
	delay := r.plan.Timing.OffDelay.D()
	if rung == "snmp_rebootdelay" {
		delay = r.plan.Timing.PDUDelay.D()
	}
	r.show(ctx, "off; power comes on at "+workflow.Now(ctx).Add(delay).UTC().Format(clock))
	return workflow.NewTimerWithOptions(ctx, delay, workflow.TimerOptions{Summary: rung + ": off, waiting"}).Get(ctx, nil)
}

// powerOn powers on what this run powered off, whatever became of the run: it
// works on a context that no cancel reaches, and keeps trying for OnLimit. After
// OnAlarm without success the bug says first that the machine is off.
func (r *run) powerOn(ctx workflow.Context, s step, on activities.Command) bool {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	t := r.plan.Timing
	r.show(dctx, "powering on")
	deadline := workflow.Now(dctx).Add(t.OnLimit.D())
	for limit := t.OnAlarm.D(); ; limit = onTry {
		err := workflow.ExecuteActivity(forOn(dctx, r.plan, limit, on.Pending, r.attempt().Rung+": on"), s.activity, on).Get(dctx, nil)
		if err == nil {
			r.result.Off, r.result.Why = false, ""
			if err := r.tell(dctx, AttrOff.ValueUnset()); err != nil {
				return false
			}
			r.tellOn(dctx)
			return true
		}
		r.result.Why = "roller powered it off and cannot power it on: " + reason(err)
		if !r.toldOff { // an earlier job's run does not say that it is off
			r.fileBug(dctx)
			r.toldOff = r.result.Bug.RunID != ""
		}
		if workflow.Now(dctx).After(deadline) {
			return false
		}
		r.show(dctx, "powering on again every "+t.OnRetry.String()+" until "+deadline.UTC().Format(clock))
		if err := workflow.NewTimerWithOptions(dctx, t.OnRetry.D(), workflow.TimerOptions{Summary: "before power on is tried again"}).Get(dctx, nil); err != nil {
			return false
		}
	}
}

// power is the single step that sets the power state and reads it back.
func (r *run) power(ctx workflow.Context, s step) error {
	r.result.Attempts = append(r.result.Attempts, Attempt{Rung: r.result.Task, StartedAt: workflow.Now(ctx), Outcome: Running})
	r.show(ctx, "setting the power state")
	var out activities.CommandResult
	err := carryOut(forCommand(ctx, r.plan, r.result.Task), s.activity, activities.Command{
		Machine: r.plan.Machine, Action: s.action, Target: r.plan.Rungs[0].Target, RungRetry: r.plan.Timing.RungRetry,
	}, &out)
	at := r.attempt()
	if c, ok := errors.AsType[*temporal.CanceledError](err); ok && c.HasDetails() {
		_ = c.Details(&out)
	}
	at.Sent, at.SentAt = out.Sent, out.SentAt
	switch outcome, nothing := nothingSent(err); {
	case err == nil && out.Power == string(s.action):
		r.conclude(ctx, Done, join(out.Unknown, "power reads "+out.Power))
	case err == nil:
		r.conclude(ctx, Failed, join(out.Unknown, "power does not read "+string(s.action)))
		err = temporal.NewNonRetryableApplicationError(at.Why, string(activities.Unknown), nil)
	case cancelled(ctx, err):
		r.conclude(ctx, Cancelled, "")
	case nothing:
		r.conclude(ctx, outcome, reason(err))
	default:
		r.conclude(ctx, Failed, reason(err)+"; it may have been sent")
	}
	r.result.Outcome, r.result.Why = at.Outcome, at.Why
	return err
}

// join2 returns the first error that is not nil.
func join2(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
