package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// revocable is the change since which a return can be revoked.
const revocable = "2026-11-29 a return of a loan can be revoked"

// giveBack lifts the quarantine of a machine that is returned, until it is lifted or
// whoever ordered that revokes it. It returns nil when the loan is over, and an error
// when it goes on.
func (l *lending) giveBack(ctx workflow.Context, order LoanOrder) error {
	if workflow.GetVersion(ctx, revocable, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return l.lift(ctx)
	}
	ctx, end := workflow.NewDisconnectedContext(ctx)
	defer end()
	lifting, revoke := workflow.WithCancel(ctx)
	defer revoke()
	lifted, settled := workflow.NewFuture(ctx)
	workflow.Go(lifting, func(ctx workflow.Context) { settled.Set(nil, l.liftOnce(ctx)) })
	orders, revoked := workflow.GetSignalChannel(ctx, LoanSignal), false
	for !lifted.IsReady() {
		workflow.NewSelector(ctx).
			AddFuture(lifted, func(workflow.Future) {}).
			AddReceive(orders, func(c workflow.ReceiveChannel, _ bool) {
				var next LoanOrder
				c.Receive(ctx, &next)
				if next.Step != LoanRevoke || next.Job != order.Job {
					l.later = append(l.later, next)
					return
				}
				revoked = true
				revoke()
			}).
			Select(ctx)
	}
	if err := lifted.Get(ctx, nil); err == nil || !revoked {
		return err
	}
	return l.revoked(ctx, order)
}

// revoked says whether a return that was revoked has ended the loan all the same: an
// answer of Taskcluster's may have been lost.
func (l *lending) revoked(ctx workflow.Context, order LoanOrder) error {
	var now activities.Quarantine
	err := workflow.ExecuteActivity(forQuarantine(ctx, time.Minute, "read"), a.QuarantineRead, l.loan.Worker).Get(ctx, &now)
	if err == nil && !now.Until.Equal(l.loan.Until) {
		return nil
	}
	l.event(activities.LoanStays, order)
	if err != nil {
		return refusal("whether its quarantine was lifted is not known: " + reason(err))
	}
	return refusal("its quarantine was not lifted by then")
}

// lift puts back what was there before the loan, whatever becomes of this run.
func (l *lending) lift(ctx workflow.Context) error {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	return l.liftOnce(ctx)
}

// liftWithin is how long a Taskcluster that is down is asked to lift a quarantine.
const liftWithin = 24 * time.Hour

func (l *lending) liftOnce(ctx workflow.Context) error {
	change := activities.QuarantineChange{Worker: l.loan.Worker, Until: l.loan.Before, Ours: l.loan.Until}
	_, err := l.changed(ctx, LoanQuarantineInput{Change: change, Lift: true}, liftWithin)
	return err
}
