package starter

import (
	"context"
	"errors"
	"slices"
	"time"

	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// holderMemo is where a turn's run says who has it.
const holderMemo = "holder"

// outwait returns when another's turn has ended, or after a while. A turn whose
// holder is over, and did not give it back, is given back for it: its worker is
// gone, and a dark machine may wait for the device.
func (t *Turns) outwait(ctx context.Context, l *line, ask workflows.TurnAsk, run string) {
	if t.ended(ctx, ask.Device, run, l.untilLook()) || ctx.Err() != nil {
		return
	}
	l.looked()
	if !t.orphaned(ctx, ask.Device, run) {
		return
	}
	// The holder may have ended just now, and be resting itself: see release.
	if rest := ownRest(ask); rest > 0 && t.ended(ctx, ask.Device, run, rest) {
		return
	}
	_ = t.giveBack(ctx, ask.Device, run) // where it fails, the next look tries again
}

// ended reports whether a turn ends within a while.
func (t *Turns) ended(ctx context.Context, d config.Device, run string, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for ctx.Err() == nil {
		err := t.client.GetWorkflow(ctx, workflows.DeviceID(d), run).Get(ctx, nil)
		if _, closed := errors.AsType[*temporal.WorkflowExecutionError](err); err == nil || closed || gone(err) {
			return true
		}
		pause(ctx, turnRetry)
	}
	return false
}

// orphaned reports whether a turn is held by an attempt that Temporal knows to
// be over. What cannot be found out is not: the lease ends that one.
func (t *Turns) orphaned(ctx context.Context, d config.Device, run string) bool {
	ctx, cancel := context.WithTimeout(ctx, turnCall)
	defer cancel()
	turn, err := t.client.DescribeWorkflowExecution(ctx, workflows.DeviceID(d), run)
	if err != nil || turn.GetWorkflowExtendedInfo().GetCancelRequested() { // given back: it rests
		return false
	}
	memo := turn.GetWorkflowExecutionInfo().GetMemo().GetFields()[holderMemo]
	var holder workflows.Holder
	if err := converter.GetDefaultDataConverter().FromPayload(memo, &holder); err != nil {
		return false
	}
	return t.over(ctx, holder)
}

// over reports whether an attempt is over: it has reported, or the server has
// given it up, and after that it sends nothing (see the fence of package
// activities). It is not where its run was closed under it, by a terminate say:
// then it is pending for ever, and goes on until its next heartbeat.
func (t *Turns) over(ctx context.Context, h workflows.Holder) bool {
	job, err := t.client.DescribeWorkflowExecution(ctx, h.WorkflowID, h.RunID)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(job.GetPendingActivities(), func(a *workflowpb.PendingActivityInfo) bool {
		return a.GetActivityId() == h.ActivityID && a.GetAttempt() <= h.Attempt
	})
}
