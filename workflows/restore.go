package workflows

import (
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
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
		if err == nil || cancelled(ctx, err) {
			return err
		}
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
// reads as on is left alone.
func PowerOn(ctx workflow.Context, left LeftOff) error {
	var plan activities.Plan
	err := workflow.ExecuteActivity(forLookup(ctx, "find the machine"), a.ResolveJob, activities.ResolveInput{
		Task: left.Rung, WorkerID: left.Machine.WorkerID, WorkerGroup: left.Machine.WorkerGroup,
	}).Get(ctx, &plan)
	if err != nil {
		return err
	}
	var out activities.CommandResult
	err = workflow.ExecuteActivity(forOn(ctx, plan.Timing, plan.Timing.OnAlarm.D(), "power on"), asRung(left.Rung).activity,
		activities.Command{Machine: plan.Machine, Action: activities.On, Pending: settles(left.Rung), RungRetry: plan.Timing.OnAlarm}).Get(ctx, &out)
	if err == nil {
		workflow.SetCurrentDetails(ctx, left.Machine.String()+" reads "+out.Power+".")
	}
	return err
}

// alreadyStarted reports whether a child's ID was taken: that is its lock.
func alreadyStarted(err error) bool {
	_, ok := errors.AsType[*temporal.ChildWorkflowExecutionAlreadyStartedError](err)
	return ok
}
