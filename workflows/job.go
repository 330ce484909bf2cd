package workflows

import (
	"errors"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// Reboot climbs the ladder: rung after rung until the machine is back, and a
// bug if none brings it back. It returns the job's Result; a run that fails or
// is cancelled carries it as its error's details.
func Reboot(ctx workflow.Context, in Job) (Result, error) {
	return start(ctx, in, func(ctx workflow.Context, r *run) error { return r.climb(ctx, true) })
}

// Step carries out the one task that is its workflow's type.
func Step(ctx workflow.Context, in Job) (Result, error) {
	return start(ctx, in, func(ctx workflow.Context, r *run) error {
		switch s := steps[r.result.Task]; s.kind {
		case read:
			return r.read(ctx, s)
		case power:
			return r.power(ctx, s)
		case bug:
			return r.bugOnly(ctx)
		case install:
			return r.reimage(ctx)
		case loan:
			return r.lend(ctx)
		case unloan:
			return r.returnLoan(ctx)
		default:
			return r.climb(ctx, false)
		}
	})
}

// run is one job under way.
type run struct {
	in    Job
	plan  activities.Plan
	since *activities.Baseline // of the first command that may have been carried out
	// toldOff says that a bug run was told that the machine is off, and not yet that
	// it is on again.
	toldOff bool
	looked  bool                         // the last thing that happened was a full wait for the machine to come up
	notices workflow.ChildWorkflowFuture // nil where nobody is told
	loanRun workflow.Execution           // the loan that this job began
	result  Result
}

// start resolves the machine's name and runs the job under the machine's ID:
// in this run if it has that ID, else in a child that has.
func start(ctx workflow.Context, in Job, do func(workflow.Context, *run) error) (Result, error) {
	info := workflow.GetInfo(ctx)
	r := &run{in: in, result: Result{
		Task: config.CanonicalTask(info.WorkflowType.Name), WorkerID: in.WorkerID, WorkerGroup: in.WorkerGroup,
		Outcome: Running, StartedAt: workflow.Now(ctx),
	}}
	if err := workflow.SetQueryHandler(ctx, ProgressQuery, func() (Result, error) { return r.result, nil }); err != nil {
		return r.result, err
	}
	err := workflow.ExecuteActivity(forLookup(ctx, "find the machine"), a.ResolveJob, activities.ResolveInput{
		Task: r.result.Task, WorkerID: in.WorkerID, WorkerGroup: in.WorkerGroup,
	}).Get(ctx, &r.plan)
	if err != nil {
		return r.end(ctx, err)
	}
	m := r.plan.Machine
	r.result.Loan = r.plan.Loan
	r.result.WorkerID, r.result.WorkerGroup, r.result.FQDN = m.WorkerID, m.WorkerGroup, r.plan.FQDN
	r.nameSite()
	if id := info.WorkflowExecution.ID; exclusive(r.result.Task) && id != MachineID(m) {
		if strings.HasPrefix(id, machinePrefix) && id != MachineID(spelled(in)) {
			return r.end(ctx, temporal.NewNonRetryableApplicationError(id+" is not "+m.String()+"'s ID", string(activities.BadInput), nil))
		}
		return r.asChild(ctx)
	}
	if err := r.tell(ctx, AttrWorkerID.ValueSet(m.WorkerID), AttrWorkerGroup.ValueSet(m.WorkerGroup),
		AttrTask.ValueSet(r.result.Task), AttrRung.ValueSet(r.firstRung())); err != nil {
		return r.end(ctx, err)
	}
	r.notify(ctx)
	if err := join2(r.drain(ctx), ctx.Err()); err != nil { // cancelled by now: nothing is begun
		return r.end(ctx, err)
	}
	return r.end(ctx, do(ctx, r))
}

// nameSite has the result say whose workers the job depends on.
func (r *run) nameSite() {
	if r.plan.OwnWorkers {
		r.result.Site = r.plan.Site
	}
}

// firstRung is the rung that will be tried first. It is told together with the
// machine's name, so that a first-rung success costs no further event.
func (r *run) firstRung() string {
	if usable := names(r.plan.Rungs); len(usable) > 0 {
		return usable[0]
	}
	return r.result.Task
}

// asChild runs the job under the machine's own ID, so that a start under any
// other ID (tctl gives a random one) can never be a second job on the machine.
func (r *run) asChild(ctx workflow.Context) (Result, error) {
	m := r.plan.Machine
	in := r.in
	in.WorkerID, in.WorkerGroup = m.WorkerID, m.WorkerGroup
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:          MachineID(m),
		TaskQueue:           TaskQueue,
		WaitForCancellation: true,
		ParentClosePolicy:   enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		StaticSummary:       Summary(r.result.Task, m.String(), in.ClientID),
	})
	r.show(ctx, "the job runs as the child `"+MachineID(m)+"`")
	child := workflow.ExecuteChildWorkflow(ctx, r.result.Task, in)
	err := child.GetChildWorkflowExecution().Get(ctx, nil)
	if alreadyStarted(err) {
		r.result.Outcome, r.result.Why = Failed, MachineID(m)+" is running already: one job per machine"
		// No child speaks for this run, so that lists must find it by itself.
		err := r.tell(ctx, AttrWorkerID.ValueSet(m.WorkerID), AttrWorkerGroup.ValueSet(m.WorkerGroup), AttrTask.ValueSet(r.result.Task))
		if err != nil {
			return r.result, err
		}
		return r.end(ctx, temporal.NewNonRetryableApplicationError(r.result.Why, ConflictError, nil))
	}
	err = child.Get(ctx, &r.result)
	r.show(ctx, "")
	if err != nil {
		return r.result, surface(err, r.result)
	}
	return r.result, nil
}

// surface makes a child's failure the parent's own, so that whoever reads the
// parent finds the same type, message and details.
func surface(err error, result Result) error {
	if c, ok := errors.AsType[*temporal.CanceledError](err); ok {
		if c.HasDetails() {
			_ = c.Details(&result)
		}
		if result.Outcome == Running { // before the child had begun
			result.Outcome = Cancelled
		}
		return temporal.NewCanceledError(result)
	}
	if e, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		if e.HasDetails() {
			_ = e.Details(&result)
		}
		return temporal.NewNonRetryableApplicationError(e.Message(), e.Type(), nil, result)
	}
	result.Outcome, result.Why = Failed, reason(err) // terminated, which says nothing itself
	return temporal.NewNonRetryableApplicationError(result.Why, string(Failed), nil, result)
}

// end closes the job's record and decides how the run closes.
func (r *run) end(ctx workflow.Context, err error) (Result, error) {
	r.result.EndedAt = workflow.Now(ctx)
	r.result.Next, r.result.Now = nil, ""
	switch {
	case err == nil:
	case cancelled(ctx, err):
		r.result.Outcome = Cancelled
	case r.result.Outcome == Running:
		r.result.Outcome, r.result.Why = Failed, reason(err)
	}
	if n := len(r.result.Attempts); n > 0 && r.result.Attempts[n-1].Outcome == Running { // ended in the middle of it
		r.conclude(ctx, r.result.Outcome, r.attempt().Why)
	}
	r.show(ctx, "")
	r.count(ctx)
	r.notified(ctx)
	if terr := r.tell(ctx, AttrOutcome.ValueSet(string(r.result.Outcome))); err == nil {
		err = terr
	}
	switch {
	case err == nil:
		return r.result, nil
	case r.result.Outcome == Cancelled:
		return r.result, temporal.NewCanceledError(r.result)
	}
	if e, ok := said(err); ok {
		return r.result, temporal.NewNonRetryableApplicationError(e.Message(), e.Type(), nil, r.result)
	}
	return r.result, temporal.NewNonRetryableApplicationError(reason(err), string(Failed), nil, r.result)
}

// spelled is the name as an API without an inventory spells it in its jobs' IDs.
func spelled(in Job) config.Name {
	return config.Name{WorkerID: strings.ToLower(in.WorkerID), WorkerGroup: strings.ToLower(in.WorkerGroup)}
}

// read asks a device or a machine something and keeps the answer.
func (r *run) read(ctx workflow.Context, s step) error {
	var out activities.ReadResult
	err := workflow.ExecuteActivity(forRead(ctx, r.plan, r.result.Task+" "+r.plan.Machine.String()), s.activity,
		activities.Read{Machine: r.plan.Machine, RungRetry: r.plan.Timing.RungRetry, JobID: MachineID(r.plan.Machine)}).Get(ctx, &out)
	if err != nil {
		return err
	}
	r.result.Outcome, r.result.Text, r.result.Status = Done, out.Text, out.Status
	return nil
}

// Summary is the one line by which lists show a job.
func Summary(task, machine, client string) string {
	s := fmt.Sprintf("%s %s", task, machine)
	if client != "" {
		s += " for " + client
	}
	return s
}

// cancelled reports whether an error is a cancellation asked for from outside.
func cancelled(ctx workflow.Context, err error) bool {
	return temporal.IsCanceledError(err) || errors.Is(ctx.Err(), workflow.ErrCanceled)
}

// reason is an error's text without Temporal's wrapping.
func reason(err error) string {
	t, late := errors.AsType[*temporal.TimeoutError](err)
	if late && t.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE { // the last try's error says more
		if e, ok := errors.AsType[*temporal.ApplicationError](t.Unwrap()); ok {
			return e.Message()
		}
	}
	if e, ok := said(err); ok {
		return e.Message()
	}
	if late {
		when := ""
		if lostUnsent(err) && t.HasLastHeartbeatDetails() { // one that sends nothing tells nothing
			when = " before it sent anything"
		}
		return "the worker was lost or took too long" + when + " (" + strings.ToLower(t.TimeoutType().String()) + " timeout)"
	}
	return err.Error()
}
