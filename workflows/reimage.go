package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// reimage installs the run's machine anew, as a step of whatever job it belongs
// to: the run's plan is ResolveJob's for the task reimage. It ends with the
// machine up and the record's outcome Back, or with an error that says why not.
func (r *run) reimage(ctx workflow.Context) error { return r.climb(ctx, false) }

// installation is one machine being installed from the network.
type installation struct {
	*run
	step    step
	command activities.Command
	out     activities.CommandResult
	sendErr error // of the activity that set network boot and power-cycled
	left    bool  // it set network boot, sent no power-cycle after that and could not clear it again
	known   bool  // that it has power, or that nothing was sent: the run carries RollerOff no more
}

// install boots the machine from the network for once and waits until it is
// installed. However that ends, a network boot that was not used is cleared: a
// reboot of next week must not erase the machine. A power-cycle may leave it off:
// until the power was read as on, the sweep finds the run by RollerOff.
func (r *run) install(ctx workflow.Context, s step, target activities.Target) error {
	i := &installation{run: r, step: s, command: activities.Command{
		Machine: r.plan.Machine, Action: s.action, Target: target,
		DownTimeout: r.plan.Timing.Down, RungRetry: r.plan.Timing.RungRetry,
	}}
	if err := r.tell(ctx, AttrOff.ValueSet(r.attempt().Rung)); err != nil {
		return err
	}
	err := r.seeing(ctx, func() (string, error) {
		r.show(ctx, "setting network boot for once, power-cycling, then watching for the machine to go down")
		i.sendErr = carryOut(forCommand(ctx, r.plan, r.attempt().Rung), s.activity, i.command, &i.out)
		i.left = i.left || i.netbootLeft()
		return unsighted(i.sendErr)
	})
	if endedBlind(err) {
		return i.close(ctx, err)
	}
	settled, err := r.settle(ctx, &i.out, err)
	if !settled && err == nil {
		err = i.await(ctx)
	}
	return i.close(ctx, err)
}

// await watches what followed the power-cycle.
func (i *installation) await(ctx workflow.Context) error {
	if err := i.awaitDown(ctx, &i.out); err != nil {
		return i.unseen(ctx, err)
	}
	t := i.plan.Timing
	if i.out.Baseline.Up && !i.out.Watch.Down && !i.out.Watch.Rebooted {
		i.conclude(ctx, NoEffect, join(i.attempt().Why, "the machine did not go down within "+t.Down.String(), i.out.Watch.Evidence))
		return nil
	}
	deadline := workflow.Now(ctx).Add(t.Reimage.D())
	if err := i.letComeOn(ctx); err != nil {
		return err
	}
	i.show(ctx, "being installed; it must be up by "+deadline.UTC().Format(clock))
	limit := deadline.Sub(workflow.Now(ctx))
	base := i.out.Baseline
	base.Down = true
	var up activities.Sight
	err := workflow.ExecuteActivity(forWatch(ctx, i.plan, limit, i.attempt().Rung+": await the installed machine"), a.AwaitInstalled,
		activities.Watch{Machine: i.plan.Machine, Baseline: base, Timeout: config.Duration(limit), Settle: t.ReimageSettle}).Get(ctx, &up)
	if err != nil {
		return i.unseen(ctx, err)
	}
	i.judge(ctx, up)
	return nil
}

func (i *installation) judge(ctx workflow.Context, up activities.Sight) {
	why := join(i.attempt().Why, i.out.Watch.Evidence)
	switch {
	case up.Up && up.SameBoot && !i.out.Watch.Rebooted:
		i.conclude(ctx, NoEffect, join(why, "it fell silent but did not restart", up.Evidence))
	case up.Up:
		i.back(ctx, join(why, up.Evidence))
	default:
		i.conclude(ctx, NotBack, join(why, "not installed and up within "+i.plan.Timing.Reimage.String(), up.Evidence,
			"look at its console: the installation may be under way still"))
	}
}

// letComeOn gives the power-cycle its time, and powers on a machine that the
// device has left off.
func (i *installation) letComeOn(ctx workflow.Context) error {
	err := workflow.NewTimerWithOptions(ctx, offActs, workflow.TimerOptions{Summary: "until the power-cycle is over"}).Get(ctx, nil)
	if err != nil {
		return err
	}
	var on activities.CommandResult
	err = i.powerOnce(ctx, &on)
	if cancelled(ctx, err) {
		return err
	}
	if on.Sent != "" {
		i.attempt().Why = join(i.attempt().Why, "the power-cycle left it off: it was powered on")
	}
	if err == nil { // what cannot be told now is asked again at the end
		return i.hasPower(ctx)
	}
	return nil
}

// hasPower ends what the sweep would have to make good.
func (i *installation) hasPower(ctx workflow.Context) error {
	if i.known {
		return nil
	}
	i.known = true
	return i.tell(ctx, AttrOff.ValueUnset())
}

// powerOnce reads the power, and powers the machine on if it is off.
func (i *installation) powerOnce(ctx workflow.Context, out *activities.CommandResult) error {
	t := i.plan.Timing
	return workflow.ExecuteActivity(forOn(ctx, i.plan, t.RungRetry.D(), false, i.attempt().Rung+": power"), i.step.activity,
		i.command.Undo(false, t.RungRetry)).Get(ctx, out)
}

// close sees to what must not be left behind: a network boot that was not used,
// and a machine without power. No cancel reaches it.
func (i *installation) close(ctx workflow.Context, err error) error {
	dctx, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	at := i.attempt()
	acted := true
	switch at.Outcome { //nolint:exhaustive // all others come after the command
	case NotSent, Refused, Skipped, Blind:
		acted = false
	case Running: // cancelled
		blind, _ := unsighted(i.sendErr)
		acted = blind == "" && !neverSent(i.sendErr, i.out)
	}
	if acted || i.left {
		at.Why = join(at.Why, i.unset(dctx))
	}
	var off error
	if acted && at.Outcome != Back {
		off = i.seePower(dctx)
	} else {
		off = i.hasPower(dctx)
	}
	if at.Outcome == Running {
		i.conclude(dctx, Cancelled, at.Why)
	}
	i.show(dctx, "")
	return join2(err, off)
}

// netbootLeft reports whether the activity's last try says that it left network
// boot set.
func (i *installation) netbootLeft() bool {
	left := i.out
	if e, ok := errors.AsType[*temporal.ApplicationError](i.sendErr); ok && e.HasDetails() {
		_ = e.Details(&left)
	}
	return left.NetbootLeft
}

// unset clears the network boot where it is still set, and says so.
func (i *installation) unset(ctx workflow.Context) string {
	i.show(ctx, "clearing the network boot if it was not used")
	var found activities.NetbootCleared
	err := workflow.ExecuteActivity(forRead(ctx, i.plan, i.attempt().Rung+": clear network boot"), a.ClearNetboot, i.command).Get(ctx, &found)
	switch {
	case err != nil:
		return "a network boot may still be set, and the next restart would erase the machine: " + reason(err)
	case found.Was == activities.NetbootSet && i.attempt().Outcome == Back:
		return "network boot was still set, and is cleared: it may have booted its old system"
	case found.Was == activities.NetbootSet:
		return "network boot was still set, and is cleared"
	case found.Was == activities.NetbootUnknown:
		return "network boot was cleared, used or not"
	}
	return ""
}

// seePower powers the machine on if the power-cycle has left it off. One that
// reads off and does not come on is what roller left off: see powerOn.
func (i *installation) seePower(ctx workflow.Context) error {
	var on activities.CommandResult
	err := i.powerOnce(ctx, &on)
	last, _ := errors.AsType[*temporal.ApplicationError](err)
	at := i.attempt()
	switch {
	case err == nil && on.Sent != "":
		at.Why = join(at.Why, "the power-cycle left it off: it was powered on")
		return i.hasPower(ctx)
	case err == nil:
		return i.hasPower(ctx)
	case last == nil || last.Type() != string(activities.Unknown):
		at.Why = join(at.Why, "whether it has power cannot be read: "+reason(err)) // the sweep goes on asking
	default:
		i.result.Off = true
		if !i.powerOn(ctx, i.step, i.command.Undo(false, i.plan.Timing.OnLimit)) {
			i.result.Outcome = StillOff
			i.conclude(ctx, StillOff, join(at.Why, "the power-cycle left it off, and it could not be powered on again"))
			return temporal.NewNonRetryableApplicationError(at.Why, string(StillOff), nil)
		}
		at.Why = join(at.Why, "the power-cycle left it off: it was powered on")
	}
	return nil
}
