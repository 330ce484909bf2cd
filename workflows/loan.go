package workflows

import (
	"errors"
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// Workflow types of loans: a run that is the loan, open until the machine is returned,
// and one that changes its quarantine.
const (
	LoanType           = "on_loan"
	LoanQuarantineType = "loan_quarantine"
)

// LoanID is the workflow ID of the run that is a machine's loan: there is one at most.
func LoanID(n config.Name) string { return activities.LoanID(n) }

// LoanOf is the machine, as "group/id", whose loan a run of that workflow ID is.
func LoanOf(workflowID string) string { return strings.TrimPrefix(workflowID, activities.LoanPrefix) }

// The signals between a loan and the jobs about it.
const (
	LoanSignal     = "loan"      // to the loan: a LoanOrder
	LoanNewsSignal = "loan_news" // to the job that ordered: a LoanNews
)

// LoanStep is what is ordered of a loan.
type LoanStep string

// The steps. Each is answered by news of the same name, a revoked return by its own; the
// quarantine's has none.
const (
	LoanKeep   LoanStep = "keep"   // the machine is handed over: from here on it is on loan
	LoanAgain  LoanStep = "again"  // somebody else asks for it
	LoanLook   LoanStep = "look"   // is it on loan?
	LoanStay   LoanStep = "stay"   // its reimage failed
	LoanReturn LoanStep = "return" // it is back: lift the quarantine, close the bug
	LoanRevoke LoanStep = "revoke" // not so: what the job's LoanReturn has not done by now is not done
)

// LoanOrder is what LoanSignal carries.
type LoanOrder struct {
	Step    LoanStep          `json:"step"`
	Job     activities.RunRef `json:"job"`
	By      string            `json:"by,omitempty"`
	Why     string            `json:"why,omitempty"`
	Reimage string            `json:"reimage,omitempty"` // how it ended, in one word
}

// LoanNews is what LoanNewsSignal carries.
type LoanNews struct {
	Step   LoanStep `json:"step,omitempty"`
	Failed string   `json:"failed,omitempty"`
	Loan   Loan     `json:"loan"`
}

// Loan is a machine's loan, as its run returns it.
type Loan struct {
	Machine config.Name           `json:"machine"`
	By      string                `json:"by,omitempty"`
	Why     string                `json:"why,omitempty"`
	Since   time.Time             `json:"since"`
	Worker  activities.TaskWorker `json:"worker"`
	Before  time.Time             `json:"before,omitzero"` // the quarantine that was there; zero: none
	Until   time.Time             `json:"until,omitzero"`  // the loan's own
	Bug     *Bug                  `json:"bug,omitempty"`
}

// LoanInput is the input of OnLoan.
type LoanInput struct {
	Loan  Loan              `json:"loan"` // what is known of it
	FQDN  string            `json:"fqdn"`
	Job   activities.RunRef `json:"job"`
	For   config.Duration   `json:"for"` // of the quarantine
	NoBug string            `json:"no_bug,omitempty"`

	BugLimit  config.Duration `json:"bug_limit"`
	BugRetry  config.Duration `json:"bug_retry"`
	Heartbeat config.Duration `json:"heartbeat"`
}

// lending is a loan under way.
type lending struct {
	in      LoanInput
	loan    Loan
	later   []LoanOrder      // what was ordered while the machine was being returned
	tell    workflow.Channel // what its bug has to be told: activities.LoanBug
	told    workflow.Future  // ready when all of it is
	settled workflow.Settable
}

// OnLoan is a machine's loan: it quarantines the worker, waits until the machine is
// handed over and files the bug; then it waits, for months if it must, until the machine
// is returned, lifts the quarantine and closes the bug. Nothing but an order lifts it: a
// loan that is cancelled or terminated leaves its machine quarantined.
func OnLoan(ctx workflow.Context, in LoanInput) (Loan, error) {
	l := &lending{in: in, loan: in.Loan}
	l.loan.Since = workflow.Now(ctx)
	failed, err := l.quarantine(ctx)
	if err != nil || failed != "" {
		return l.loan, join2(l.news(ctx, in.Job, LoanNews{Failed: join(failed, failure(err))}), err)
	}
	if err := l.news(ctx, in.Job, LoanNews{}); err != nil {
		return l.loan, err
	}
	kept, err := l.handOver(ctx)
	if err != nil || !kept {
		return l.loan, join2(l.lift(ctx), err)
	}
	l.show(ctx)
	if err := l.remember(ctx); err != nil {
		return l.loan, err
	}
	l.tell = workflow.NewBufferedChannel(ctx, mostTold)
	l.told, l.settled = workflow.NewFuture(ctx)
	workflow.Go(ctx, l.tellBug)
	l.event(activities.LoanBegan, LoanOrder{Step: LoanKeep, Job: in.Job, By: l.loan.By, Why: l.loan.Why})
	if err := l.serve(ctx); err != nil {
		return l.loan, err
	}
	l.tell.Close()
	return l.loan, l.told.Get(ctx, nil)
}

// mostTold is how much may be to be told while Bugzilla is down.
const mostTold = 100

// quarantine sets the quarantine. failed says why it could not.
func (l *lending) quarantine(ctx workflow.Context) (failed string, err error) {
	w := l.loan.Worker
	change := activities.QuarantineChange{
		Worker: w, Until: workflow.Now(ctx).Add(l.in.For.D()).UTC().Truncate(time.Millisecond), Note: l.note(),
	}
	found, err := l.changed(ctx, LoanQuarantineInput{Change: change}, quarantineWithin)
	if alreadyStarted(err) {
		return "the quarantine of an earlier job is being lifted still: " + QuarantineID(l.loan.Machine), nil
	}
	if err == nil && !found.Known {
		return "the queue does not know the worker " + w.String() + ", so that nothing would keep it from taking work", nil
	}
	l.loan.Before, l.loan.Until = found.Before, found.Until
	return "", err
}

// note is what is noted with the quarantine.
func (l *lending) note() string {
	by := l.loan.By
	if by == "" {
		by = "nobody known"
	}
	note := "on loan to " + by
	if l.loan.Why != "" {
		note += " (" + l.loan.Why + ")"
	}
	if l.loan.Bug != nil && l.loan.Bug.URL != "" {
		note += ", " + l.loan.Bug.URL
	}
	return note + "; roller task " + l.in.Job.RunID
}

// handOver waits for the word of the job that began the loan. A job that closes
// without it, cancelled or terminated, has lent nothing.
func (l *lending) handOver(ctx workflow.Context) (kept bool, err error) {
	wait, stop := workflow.WithCancel(ctx)
	defer stop()
	closed := workflow.ExecuteActivity(forClosed(wait, l.in.Heartbeat.D()), a.AwaitClosed, l.in.Job)
	orders, over := workflow.GetSignalChannel(ctx, LoanSignal), false
	for !kept && !over && err == nil {
		workflow.NewSelector(ctx).
			AddReceive(orders, func(c workflow.ReceiveChannel, _ bool) {
				var order LoanOrder
				c.Receive(ctx, &order)
				if kept = order.Step == LoanKeep && order.Job == l.in.Job; !kept {
					err = l.news(ctx, order.Job, LoanNews{Step: order.Step, Failed: "a loan that came to nothing is being undone: ask again in a minute"})
				}
			}).
			AddFuture(closed, func(workflow.Future) { over = true }).
			AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) { err = ctx.Err() }).
			Select(ctx)
	}
	return kept, err
}

// serve carries out orders until the machine is returned.
func (l *lending) serve(ctx workflow.Context) error {
	orders := workflow.GetSignalChannel(ctx, LoanSignal)
	for {
		var order LoanOrder
		var err error
		if len(l.later) > 0 {
			order, l.later = l.later[0], l.later[1:]
		} else {
			workflow.NewSelector(ctx).
				AddReceive(orders, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, &order) }).
				AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) { err = ctx.Err() }).
				Select(ctx)
		}
		if err != nil {
			return err
		}
		if returned, err := l.obey(ctx, order); err != nil || returned {
			return err
		}
	}
}

// obey carries out one order. A quarantine that cannot be lifted leaves the machine on
// loan: it can be returned again.
func (l *lending) obey(ctx workflow.Context, order LoanOrder) (returned bool, err error) {
	news := LoanNews{Step: order.Step, Loan: l.loan}
	switch order.Step {
	case LoanAgain:
		l.event(activities.LoanAsked, order)
	case LoanStay:
		l.event(activities.LoanStays, order)
	case LoanReturn:
		news.Failed = failure(l.giveBack(ctx, order))
		if returned = news.Failed == ""; returned {
			l.event(activities.LoanEnded, order)
		}
	default: // it is answered
	}
	return returned, l.news(ctx, order.Job, news)
}

// event has the bug told, where there is one.
func (l *lending) event(e activities.LoanEvent, order LoanOrder) {
	if l.in.NoBug != "" {
		return
	}
	l.tell.SendAsync(activities.LoanBug{
		Machine: l.loan.Machine, FQDN: l.in.FQDN, Event: e, By: order.By, Why: order.Why, Reimage: order.Reimage, TaskID: order.Job.RunID,
	})
}

// tellBug tells the bug one thing after the other, so that a Bugzilla that is down
// holds up nobody but itself.
func (l *lending) tellBug(ctx workflow.Context) {
	var first error
	defer func() { l.settled.Set(nil, first) }()
	for {
		var b activities.LoanBug
		if !l.tell.Receive(ctx, &b) {
			return
		}
		filed, err := l.fileBug(ctx, b)
		first = join2(first, err)
		if err != nil || b.Event != activities.LoanBegan {
			continue
		}
		info := workflow.GetInfo(ctx).WorkflowExecution
		l.loan.Bug = &Bug{ID: filed.ID, URL: filed.URL, WorkflowID: info.ID, RunID: info.RunID}
		l.show(ctx)
		first = join2(first, l.remember(ctx))
		_ = l.news(ctx, l.in.Job, LoanNews{Step: LoanKeep, Loan: l.loan}) // its error: this run is cancelled
		l.noteBug(ctx)
	}
}

// fileBug asks Bugzilla until it is told, or the time is over.
func (l *lending) fileBug(ctx workflow.Context, b activities.LoanBug) (activities.BugResult, error) {
	var out activities.BugResult
	if l.loan.Bug != nil {
		b.ID = l.loan.Bug.ID
	}
	deadline := workflow.Now(ctx).Add(l.in.BugLimit.D())
	for {
		err := workflow.ExecuteActivity(forBug(ctx, deadline.Sub(workflow.Now(ctx))), a.BugzillaLoan, b).Get(ctx, &out)
		if err == nil || cancelled(ctx, err) || !workflow.Now(ctx).Add(l.in.BugRetry.D()).Before(deadline) {
			return out, err
		}
		if err := workflow.NewTimerWithOptions(ctx, l.in.BugRetry.D(), workflow.TimerOptions{Summary: "before Bugzilla is asked again"}).Get(ctx, nil); err != nil {
			return out, err
		}
	}
}

// noteBug puts the bug into the quarantine's note, unless somebody has changed the
// quarantine since.
func (l *lending) noteBug(ctx workflow.Context) {
	change := activities.QuarantineChange{Worker: l.loan.Worker, Until: l.loan.Until, Ours: l.loan.Until, Note: l.note()}
	_, err := l.changed(ctx, LoanQuarantineInput{Change: change}, quarantineWithin)
	if err != nil {
		workflow.GetLogger(ctx).Warn("the loan's bug is not in its quarantine's note", "worker_id", l.loan.Machine.WorkerID, "err", reason(err))
	}
}

// changed has the quarantine changed by a run of its own, under the ID of all
// quarantines of this machine's worker: a drained job that is just giving its own back
// must not give back the loan's.
func (l *lending) changed(ctx workflow.Context, in LoanQuarantineInput, limit time.Duration) (LoanQuarantined, error) {
	var out LoanQuarantined
	in.Limit = config.Duration(limit)
	timer, stop := workflow.WithCancel(ctx)
	defer stop()
	over := workflow.NewTimerWithOptions(timer, limit, workflow.TimerOptions{Summary: "a quarantine that is not changed by then has failed"})
	cctx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: QuarantineID(l.loan.Machine), TaskQueue: TaskQueue, WaitForCancellation: true,
		ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary:     "quarantine of the loan of " + l.loan.Worker.String(),
	})
	err := whenFree(ctx, over, func() error {
		return workflow.ExecuteChildWorkflow(cctx, LoanQuarantineType, in).Get(ctx, &out)
	})
	return out, err
}

// LoanQuarantineInput is the input of LoanQuarantine.
type LoanQuarantineInput struct {
	Change activities.QuarantineChange `json:"change"`
	Lift   bool                        `json:"lift,omitempty"`
	Limit  config.Duration             `json:"limit"`
}

// LoanQuarantined is what became of a quarantine.
type LoanQuarantined struct {
	Known  bool      `json:"known"` // else the queue has never seen the worker
	Before time.Time `json:"before,omitzero"`
	Until  time.Time `json:"until,omitzero"`
}

// LoanQuarantine sets a loan's quarantine, or lifts it. One that somebody set for longer
// is not made shorter. What could not be set may be set all the same, and is undone.
func LoanQuarantine(ctx workflow.Context, in LoanQuarantineInput) (LoanQuarantined, error) {
	limit, c := in.Limit.D(), in.Change
	if in.Lift { // who revokes it hears what became of it
		ctx := workflow.WithWaitForCancellation(forQuarantine(ctx, limit, "lift"), true)
		return LoanQuarantined{}, workflow.ExecuteActivity(ctx, a.QuarantineLift, c).Get(ctx, nil)
	}
	var before activities.Quarantine
	err := workflow.ExecuteActivity(forQuarantine(ctx, limit, "read"), a.QuarantineRead, c.Worker).Get(ctx, &before)
	if err != nil || !before.Known || !c.Ours.IsZero() && !before.Until.Equal(c.Ours) {
		return LoanQuarantined{Known: before.Known, Before: before.Until}, err
	}
	if before.Until.After(c.Until) {
		c.Until = before.Until
	}
	out := LoanQuarantined{Known: true, Before: before.Until, Until: c.Until}
	err = workflow.ExecuteActivity(forQuarantine(ctx, limit, "set"), a.QuarantineSet, c).Get(ctx, nil)
	if err == nil || !c.Ours.IsZero() {
		return out, err
	}
	dctx, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	undo := activities.QuarantineChange{Worker: c.Worker, Until: before.Until, Ours: c.Until}
	_ = workflow.ExecuteActivity(forQuarantine(dctx, limit, "undo"), a.QuarantineLift, undo).Get(dctx, nil) // the first error says more
	return out, err
}

// news tells a job. One that has closed need not know.
func (l *lending) news(ctx workflow.Context, job activities.RunRef, n LoanNews) error {
	n.Loan = l.loan
	_ = workflow.SignalExternalWorkflow(ctx, job.WorkflowID, job.RunID, LoanNewsSignal, n).Get(ctx, nil)
	return ctx.Err()
}

func (l *lending) show(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, l.loan.Markdown())
}

// remembered is the change since which a loan has a memo of what it is.
const remembered = "2026-11-29 a loan's memo"

// remember keeps what the loan is where lists show it.
func (l *lending) remember(ctx workflow.Context) error {
	if workflow.GetVersion(ctx, remembered, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil
	}
	r := LoanReading{ClientID: l.loan.By, Why: l.loan.Why, Since: l.loan.Since, Until: l.loan.Until}
	if l.loan.Bug != nil {
		r.Bug = l.loan.Bug.URL
	}
	return workflow.UpsertMemo(ctx, map[string]any{activities.LoanMemo: r})
}

// Markdown is a loan as the Web UI shows it.
func (l Loan) Markdown() string {
	text := fmt.Sprintf("**%s is on loan** to %s since %s\n\n", l.Machine, l.By, l.Since.UTC().Format(time.DateTime))
	if l.Why != "" {
		text += "Why: " + l.Why + "\n\n"
	}
	if l.Bug != nil {
		text += "Bug: " + l.Bug.String() + "\n\n"
	}
	return text + fmt.Sprintf("Its worker `%s` is quarantined until %s. It ends by the task `%s`.\n", l.Worker, l.Until.UTC().Format(time.DateOnly), config.ReturnLoan)
}

// notOnLoan reports whether an order found no loan.
func notOnLoan(err error) bool {
	_, none := errors.AsType[*temporal.UnknownExternalWorkflowExecutionError](err)
	return none
}
