package workflows

import (
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

const (
	// restoreEvery is how often a restore looks whether the machine's job has
	// ended, so that it can have the machine.
	restoreEvery = time.Minute
	// restoreLimit is how long one restore tries; the next sweep begins anew.
	restoreLimit = 24 * time.Hour
)

// Sweep looks for closed runs that left a machine off, and sees to it that each
// has a restore. A schedule runs it: terminate and reset execute no code of the
// run they end, so only another run can make good what they left.
func Sweep(ctx workflow.Context) error {
	var found []LeftOff
	if err := workflow.ExecuteActivity(forLookup(ctx, "find machines left off"), a.FindLeftOff).Get(ctx, &found); err != nil {
		return err
	}
	for _, left := range found {
		cctx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID: RestoreID(left.RunID),
			TaskQueue:  TaskQueue,
			// One success is enough for ever; a failed restore is tried again.
			WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
			ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
			StaticSummary:         "power on " + left.Machine.String() + ", left off by " + left.RunID,
		})
		err := workflow.ExecuteChildWorkflow(cctx, RestoreType, left).GetChildWorkflowExecution().Get(ctx, nil)
		if err != nil && !alreadyStarted(err) {
			return err
		}
	}
	return nil
}

// Restore powers on one machine that a closed run left off, under the machine's
// own ID as soon as no other job has it.
func Restore(ctx workflow.Context, left LeftOff) error {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:        MachineID(left.Machine),
		TaskQueue:         TaskQueue,
		ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary:     "power on " + left.Machine.String() + ", left off by " + left.RunID,
	})
	deadline := workflow.Now(ctx).Add(restoreLimit)
	for {
		err := workflow.ExecuteChildWorkflow(ctx, PowerOnType, left).Get(ctx, nil)
		if cancelled(ctx, err) {
			return err
		}
		if err == nil {
			// The lost run's off may still be under way: read on now, and off
			// a little later.
			rest := left.ClosedAt.Add(config.LongestOff.D()).Sub(workflow.Now(ctx))
			if rest <= 0 {
				return nil
			}
			if err := workflow.NewTimerWithOptions(ctx, rest, workflow.TimerOptions{Summary: "until the lost run's off can no longer be sent"}).Get(ctx, nil); err != nil {
				return err
			}
			continue
		}
		left.Told = left.Told || told(err)
		workflow.SetCurrentDetails(ctx, left.Machine.String()+" is not on yet: "+reason(err))
		if workflow.Now(ctx).After(deadline) {
			return temporal.NewNonRetryableApplicationError("not powered on: "+reason(err), string(StillOff), nil)
		}
		if err := workflow.NewTimerWithOptions(ctx, restoreEvery, workflow.TimerOptions{Summary: "until the machine's job has ended"}).Get(ctx, nil); err != nil {
			return err
		}
	}
}

// PowerOn holds the machine's ID while it powers the machine on. A machine that
// reads as on is left alone. No cancel reaches it: a person who cancels all jobs of
// a site means those that would switch something off.
func PowerOn(ctx workflow.Context, left LeftOff) (Result, error) {
	r := &run{result: Result{
		Task: PowerOnType, WorkerID: left.Machine.WorkerID, WorkerGroup: left.Machine.WorkerGroup,
		Outcome: Running, Off: true, StartedAt: workflow.Now(ctx),
	}}
	if err := workflow.SetQueryHandler(ctx, ProgressQuery, func() (Result, error) { return r.result, nil }); err != nil {
		return r.result, err
	}
	ctx, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	if err := r.tell(ctx, AttrWorkerID.ValueSet(left.Machine.WorkerID), AttrWorkerGroup.ValueSet(left.Machine.WorkerGroup),
		AttrTask.ValueSet(PowerOnType), AttrRung.ValueSet(left.Rung)); err != nil {
		return r.result, err
	}
	return r.end(ctx, r.restore(ctx, left))
}

// restore powers on what a closed run left off, on the device on which that run
// powered it off.
func (r *run) restore(ctx workflow.Context, left LeftOff) error {
	r.show(ctx, "powering on what run "+left.RunID+" left off")
	if !takesPower(left.Rung) {
		return temporal.NewNonRetryableApplicationError(left.Rung+" powers nothing off", string(activities.BadInput), nil)
	}
	var recalled activities.RecalledOff
	if err := workflow.ExecuteActivity(forLookup(ctx, "find what was powered off"), a.RecallOff, left).Get(ctx, &recalled); err != nil {
		return err
	}
	r.result.WorkerID, r.result.WorkerGroup = recalled.Off.Machine.WorkerID, recalled.Off.Machine.WorkerGroup
	if id := MachineID(recalled.Off.Machine); workflow.GetInfo(ctx).WorkflowExecution.ID != id {
		return temporal.NewNonRetryableApplicationError("power_on runs under "+id+" only", ConflictError, nil)
	}
	t, on := recalled.Timing, recalled.Off.Undo(settles(left.Rung), recalled.Timing.OnAlarm)
	r.show(ctx, "powering on "+on.Target.String()+", which run "+left.RunID+" left off")
	r.plan = activities.Plan{
		Machine: recalled.Off.Machine, FQDN: recalled.FQDN, Timing: t, Site: recalled.Site, OwnWorkers: recalled.OwnWorkers,
	}
	r.nameSite()
	netboot := ""
	if asRung(left.Rung).kind == install {
		netboot = clearNetboot(ctx, r.plan, recalled.Off)
	}
	var out activities.CommandResult
	err := workflow.ExecuteActivity(forOn(ctx, r.plan, t.OnAlarm.D(), on.Pending, "power on"), asRung(left.Rung).activity, on).Get(ctx, &out)
	if err == nil {
		r.result.Outcome, r.result.Off = Done, false
		r.result.Why = "power of " + on.Target.String() + " reads " + out.Power + "; run " + left.RunID + " had left it off"
		r.result.Why = join(r.result.Why, netboot)
		if recalled.Bugs {
			r.startOn(ctx)
		}
		return nil
	}
	if recalled.Bugs && !left.Told && !cancelled(ctx, err) {
		r.result.Why = "run " + left.RunID + " left it off, and " + on.Target.String() + " cannot be powered on: " + reason(err)
		r.fileBug(ctx)
	}
	return err
}

// told reports whether a try to power on that failed has told a bug.
func told(err error) bool {
	var r Result
	e, ok := errors.AsType[*temporal.ApplicationError](err)
	return ok && e.HasDetails() && e.Details(&r) == nil && r.Bug != nil
}

// clearNetboot sees to it that a machine which an installation left off does not
// boot from the network: nobody waits for it any more.
func clearNetboot(ctx workflow.Context, p activities.Plan, c activities.Command) string {
	var found activities.NetbootCleared
	err := workflow.ExecuteActivity(forRead(ctx, p, "clear network boot"), a.ClearNetboot, c).Get(ctx, &found)
	switch {
	case err != nil:
		return "a network boot may still be set: " + reason(err)
	case found.Cleared:
		return "network boot is cleared"
	}
	return ""
}

// alreadyStarted reports whether a child's ID was taken: that is its lock.
func alreadyStarted(err error) bool {
	_, ok := errors.AsType[*temporal.ChildWorkflowExecutionAlreadyStartedError](err)
	return ok
}
