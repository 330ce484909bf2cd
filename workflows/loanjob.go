package workflows

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// lend is the task loan: it takes the worker out of Taskcluster's work, waits for the
// task that it runs, and leaves the loan to a run of its own. A machine that is on loan
// stays so, and its bug says who asked, too.
func (r *run) lend(ctx workflow.Context) error {
	r.begin(ctx, config.Loan)
	r.show(ctx, "quarantining the worker")
	news, err := r.orderLoan(ctx, LoanOrder{Step: LoanAgain})
	if err == nil {
		return r.onLoanAlready(ctx, news)
	}
	if !notOnLoan(err) {
		return r.notLent(ctx, err)
	}
	if news, err = r.startLoan(ctx); err != nil {
		return r.notLent(ctx, err)
	}
	r.show(ctx, "quarantined; waiting for the task that the worker runs")
	drained, err := r.awaitDrained(ctx)
	if err != nil {
		return err // cancelled: the loan sees that this run has closed, and undoes the quarantine
	}
	if _, err = r.orderLoan(ctx, LoanOrder{Step: LoanKeep}); err != nil && (notOnLoan(err) || cancelled(ctx, err)) {
		return r.notLent(ctx, err)
	}
	if r.plan.NoBug == "" { // until it is filed
		r.result.Bug = &Bug{WorkflowID: r.loanRun.ID, RunID: r.loanRun.RunID}
	}
	why := "on loan: quarantined until " + news.Loan.Until.UTC().Format(time.DateOnly) + "; " + drained
	if r.plan.NoBug != "" {
		why = join(why, "no bug: "+r.plan.NoBug)
	} else {
		r.awaitLoanBug(ctx)
	}
	r.conclude(ctx, Done, why)
	r.result.Outcome, r.result.Why = Done, why
	return nil
}

// begin begins an attempt.
func (r *run) begin(ctx workflow.Context, rung string) {
	r.result.Attempts = append(r.result.Attempts, Attempt{Rung: rung, StartedAt: workflow.Now(ctx), Outcome: Running})
}

// notLent ends a job about a loan that could not be.
func (r *run) notLent(ctx workflow.Context, err error) error {
	if cancelled(ctx, err) {
		return err
	}
	r.conclude(ctx, Refused, reason(err))
	r.result.Outcome, r.result.Why = Refused, reason(err)
	return temporal.NewNonRetryableApplicationError(r.attempt().Rung+": "+r.result.Why, string(Refused), nil)
}

func (r *run) onLoanAlready(ctx workflow.Context, news LoanNews) error {
	if news.Failed != "" {
		return r.notLent(ctx, refusal(news.Failed))
	}
	l := news.Loan
	why := "on loan already: to " + l.By + " since " + l.Since.UTC().Format(time.DateTime) + " UTC"
	r.result.Bug = l.Bug
	r.conclude(ctx, Done, why)
	r.result.Outcome, r.result.Why = Done, why
	return nil
}

func refusal(why string) error {
	return temporal.NewNonRetryableApplicationError(why, string(activities.Refused), nil)
}

// startLoan starts the loan's run, and waits for its quarantine.
func (r *run) startLoan(ctx workflow.Context) (LoanNews, error) {
	w := r.taskWorker()
	if w.ProvisionerID == "" || w.WorkerType == "" {
		return LoanNews{}, refusal("provisioner_id and worker_type are needed, or a taskcluster entry in the inventory")
	}
	m, t, self := r.plan.Machine, r.plan.Timing, workflow.GetInfo(ctx).WorkflowExecution
	dctx, _ := workflow.NewDisconnectedContext(ctx) // never cancelled, which would cancel the loan; a cancelled job ends, and by that the loan
	dctx = workflow.WithChildOptions(dctx, workflow.ChildWorkflowOptions{
		WorkflowID: LoanID(m), TaskQueue: TaskQueue, ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary: Summary(config.Loan, m.String(), r.in.ClientID),
		Memo:          map[string]any{activities.LoanMemo: LoanReading{ClientID: r.in.ClientID, Why: r.in.Why}},
	})
	var started workflow.Execution
	err := workflow.ExecuteChildWorkflow(dctx, LoanType, LoanInput{
		Loan: Loan{Machine: m, By: r.in.ClientID, Why: r.in.Why, Worker: w}, FQDN: r.plan.FQDN, NoBug: r.plan.NoBug,
		Job: activities.RunRef{WorkflowID: self.ID, RunID: self.RunID}, For: r.plan.Drain.Loan,
		BugLimit: t.BugLimit, BugRetry: t.BugRetry, Heartbeat: t.Heartbeat,
	}).GetChildWorkflowExecution().Get(dctx, &started)
	if err != nil {
		return LoanNews{}, err
	}
	r.loanRun = started
	news, err := r.loanNews(ctx, "", loanWithin)
	if err == nil && news.Failed != "" {
		err = refusal(news.Failed)
	}
	return news, err
}

// loanWithin is how long a job waits for its loan: longer than the loan for its
// quarantine.
const loanWithin = 2*quarantineWithin + time.Minute

// awaitLoanBug waits for the loan's bug a little: the loan goes on with it by itself.
// The machine is lent: a cancel now ends the wait.
func (r *run) awaitLoanBug(ctx workflow.Context) {
	r.show(ctx, "filing the loan's bug")
	news, err := r.loanNews(ctx, LoanKeep, r.plan.Timing.BugWait.D())
	if err == nil && news.Loan.Bug != nil {
		r.result.Bug = news.Loan.Bug
	}
}

// orderLoan orders something of the machine's loan, and returns its answer. notOnLoan
// says of its error whether there is no loan.
func (r *run) orderLoan(ctx workflow.Context, order LoanOrder) (LoanNews, error) {
	self := workflow.GetInfo(ctx).WorkflowExecution
	order.Job, order.By, order.Why = activities.RunRef{WorkflowID: self.ID, RunID: self.RunID}, r.in.ClientID, r.in.Why
	err := workflow.SignalExternalWorkflow(ctx, LoanID(r.plan.Machine), "", LoanSignal, order).Get(ctx, nil)
	switch {
	case err != nil, order.Step == LoanKeep, order.Step == LoanStay, order.Step == LoanRevoke: // nobody waits for their answer
		return LoanNews{}, err
	}
	return r.loanNews(ctx, order.Step, loanWithin)
}

// loanNews waits for news of one step.
func (r *run) loanNews(ctx workflow.Context, step LoanStep, limit time.Duration) (LoanNews, error) {
	timer, stop := workflow.WithCancel(ctx)
	defer stop()
	over := workflow.NewTimerWithOptions(timer, limit, workflow.TimerOptions{Summary: "a loan that says nothing by then is not waited for"})
	signals := workflow.GetSignalChannel(ctx, LoanNewsSignal)
	for {
		var news LoanNews
		var err error
		heard := false
		workflow.NewSelector(ctx).
			AddReceive(signals, func(c workflow.ReceiveChannel, _ bool) { heard = true; c.Receive(ctx, &news) }).
			AddFuture(over, func(f workflow.Future) {
				if err = f.Get(ctx, nil); err == nil {
					err = refusal(LoanID(r.plan.Machine) + " did not answer within " + limit.String())
				}
			}).
			Select(ctx)
		if err != nil || heard && news.Step == step {
			return news, err
		}
	}
}

// returnLoan is the task return_loan: it reimages the machine, and only one that came
// back from that takes work again, because whoever had it could do what they liked to it.
func (r *run) returnLoan(ctx workflow.Context) error {
	r.show(ctx, "looking for the loan")
	news, err := r.orderLoan(ctx, LoanOrder{Step: LoanLook})
	switch {
	case err != nil && notOnLoan(err):
		err = refusal(r.plan.FQDN + " is not on loan: nothing was done")
	case err == nil && news.Failed != "":
		err = refusal(news.Failed)
	}
	if err != nil {
		r.begin(ctx, config.ReturnLoan)
		return r.notLent(ctx, err)
	}
	r.result.Bug = news.Loan.Bug
	if err := r.reimageReturned(ctx); err != nil {
		return err
	}
	return r.endLoan(ctx)
}

// reimageReturned reimages a machine that is returned, unless the request says that it
// must not be.
func (r *run) reimageReturned(ctx workflow.Context) error {
	rung := r.plan.Rungs[0]
	switch {
	case r.in.NoReimage:
		r.begin(ctx, rung.Name)
		r.conclude(ctx, Skipped, "the request says so")
		return nil
	case rung.Skip != "":
		r.begin(ctx, config.ReturnLoan)
		return r.notLent(ctx, refusal("it cannot be reimaged ("+rung.Skip+") and stays quarantined, and on loan: reimage it by hand, and return it with reimage=false"))
	}
	err := r.reimage(ctx)
	if err == nil {
		return nil
	}
	how := r.attempt().Outcome
	if cancelled(ctx, err) {
		how = Cancelled
	}
	dctx, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	_, _ = r.orderLoan(dctx, LoanOrder{Step: LoanStay, Reimage: string(how)}) // its error: somebody ended the loan's run meanwhile
	r.result.Why = join(r.result.Why, "it stays quarantined, and on loan")
	return err
}

// endLoan has the loan end.
func (r *run) endLoan(ctx workflow.Context) error {
	reimaged := ""
	if !r.in.NoReimage {
		reimaged = string(Back)
	}
	r.begin(ctx, config.ReturnLoan)
	r.show(ctx, "lifting the quarantine")
	news, err := r.orderReturn(ctx, LoanOrder{Step: LoanReturn, Reimage: reimaged})
	switch {
	case cancelled(ctx, err) && err != nil:
		return err
	case err == nil && news.Failed != "":
		err = refusal("its quarantine cannot be lifted, so that it is on loan still: " + news.Failed)
	}
	if err != nil {
		r.conclude(ctx, Failed, reason(err))
		r.result.Outcome, r.result.Why = Failed, reason(err)
		return temporal.NewNonRetryableApplicationError(r.attempt().Rung+": "+r.result.Why, string(Failed), nil)
	}
	why := "its worker takes work again"
	if before := news.Loan.Before; before.After(workflow.Now(ctx)) {
		why = "its worker is quarantined as before the loan, until " + before.UTC().Format(time.DateTime) + " UTC"
	}
	if ctx.Err() != nil {
		why = join(why, "the cancel came too late")
	}
	r.conclude(ctx, Done, why)
	if r.result.Outcome == Running {
		r.result.Outcome = Done
	}
	return nil
}

// revokedWithin is how long a revoked return may take: the last try to lift the
// quarantine (a minute at most), and a look at it.
const revokedWithin = 5 * time.Minute

// orderReturn orders the loan to end. A cancel before that orders nothing. One that
// comes after it, and an answer that does not come, revoke the order, and the loan then
// says what it is: over, or not. An error says that the loan goes on.
func (r *run) orderReturn(ctx workflow.Context, order LoanOrder) (LoanNews, error) {
	if workflow.GetVersion(ctx, revocable, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return r.orderLoan(ctx, order)
	}
	stays := LoanOrder{Step: LoanStay, Reimage: order.Reimage}
	if err := ctx.Err(); err != nil {
		_, _ = r.orderLoan(ctx, stays) // its error: somebody ended the loan's run meanwhile
		return LoanNews{}, r.staysOnLoan(err, "")
	}
	news, err := r.orderLoan(ctx, order)
	if err == nil || notOnLoan(err) {
		return news, err
	}
	dctx, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	r.show(ctx, "revoking the return")
	order.Step = LoanRevoke
	_, _ = r.orderLoan(dctx, order) // its error: the loan is over, and its news are under way
	news, late := r.loanNews(dctx, LoanReturn, revokedWithin)
	switch {
	case late != nil:
		return news, r.staysOnLoan(err, reason(late)+"; it ends when its quarantine can be lifted")
	case news.Failed != "":
		return news, r.staysOnLoan(err, news.Failed)
	}
	return news, nil
}

// staysOnLoan says with an error that the machine was not returned.
func (r *run) staysOnLoan(err error, why string) error {
	what := "it stays quarantined, and on loan"
	if !r.in.NoReimage {
		what = "it is reimaged and back, and stays quarantined, and on loan"
	}
	if !temporal.IsCanceledError(err) { // no answer came
		return refusal(join(reason(err), what, why))
	}
	r.attempt().Why = join(what, why)
	r.result.Why = what
	return err
}
