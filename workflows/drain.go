package workflows

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// QuarantineType is the type of the run that holds a worker's quarantine while a
// job has its machine.
const QuarantineType = "quarantine"

// QuarantineID is its workflow ID: one quarantine of roller's per machine, so that
// none is taken for the one that was there before.
func QuarantineID(n config.Name) string { return "quarantine/" + n.String() }

// QuarantinedSignal tells a job what became of its quarantine.
const QuarantinedSignal = "quarantined"

// NotDrainedError is the type of a job's failure that could not be drained.
const NotDrainedError = "not_drained"

// Quarantined is what QuarantinedSignal carries.
type Quarantined struct {
	Unknown bool   `json:"unknown,omitempty"` // the queue does not know the worker
	Failed  string `json:"failed,omitempty"`
}

// QuarantineInput is the input of HoldQuarantine.
type QuarantineInput struct {
	Worker    activities.TaskWorker `json:"worker"`
	Job       activities.RunRef     `json:"job"`
	For       config.Duration       `json:"for"` // after that the quarantine is over by itself, whatever becomes of roller
	Heartbeat config.Duration       `json:"heartbeat"`
}

// drain takes the machine's worker out of Taskcluster's work, if the job asks for
// that, and waits for the task that it runs.
func (r *run) drain(ctx workflow.Context) error {
	if !r.drains() {
		return nil
	}
	r.result.Attempts = append(r.result.Attempts, Attempt{Rung: "drain", StartedAt: workflow.Now(ctx), Outcome: Running})
	r.show(ctx, "quarantining the worker")
	q, err := r.quarantine(ctx)
	switch {
	case cancelled(ctx, err):
		return err
	case err != nil:
		q.Failed = reason(err)
	case q.Unknown:
		r.conclude(ctx, Skipped, "the queue does not know this worker, so that it runs no task")
		return nil
	}
	if q.Failed != "" {
		r.conclude(ctx, Failed, q.Failed)
		return temporal.NewNonRetryableApplicationError("not drained, and nothing was done: "+q.Failed, NotDrainedError, nil)
	}
	r.show(ctx, "waiting for the task that the worker runs")
	drained, err := r.awaitDrained(ctx)
	if err != nil {
		return err
	}
	r.conclude(ctx, Done, "quarantined; "+drained)
	return nil
}

// awaitDrained waits for the task that the worker runs, and says what became of it.
func (r *run) awaitDrained(ctx workflow.Context) (string, error) {
	var drained activities.Drained
	d := r.plan.Drain
	err := workflow.ExecuteActivity(forDrain(ctx, d.Settle.D()+d.Limit.D(), r.plan.Timing.Heartbeat.D()), a.AwaitDrained,
		activities.Draining{Worker: r.taskWorker(), Settle: d.Settle, Limit: d.Limit}).Get(ctx, &drained)
	if err != nil && cancelled(ctx, err) {
		return "", err
	}
	if err != nil {
		drained.Why = "not waited for: " + reason(err)
	}
	return drained.Why, nil
}

// drains reports whether the worker is drained: as the request says, else as the
// inventory does.
func (r *run) drains() bool {
	if r.in.Drain != nil {
		return *r.in.Drain && config.MayDrain(r.result.Task)
	}
	return r.plan.Drain.Always
}

// taskWorker is the machine as the queue knows it: by the request, else by the
// inventory.
func (r *run) taskWorker() activities.TaskWorker {
	w := activities.TaskWorker{
		ProvisionerID: r.in.ProvisionerID, WorkerType: r.in.WorkerType,
		WorkerGroup: r.plan.Machine.WorkerGroup, WorkerID: r.plan.Machine.WorkerID,
	}
	if w.ProvisionerID == "" || w.WorkerType == "" {
		w.ProvisionerID, w.WorkerType = r.plan.Drain.ProvisionerID, r.plan.Drain.WorkerType
	}
	return w
}

const (
	// quarantineWithin is how long a job waits for its quarantine.
	quarantineWithin = 5 * time.Minute
	// quarantineRetry is the pause while an earlier job's quarantine is being lifted.
	quarantineRetry = 10 * time.Second
)

// quarantine has the quarantine held by a run of its own, which lifts it when this
// one has closed: by its end, a cancel or a terminate. It returns what became of it.
func (r *run) quarantine(ctx workflow.Context) (Quarantined, error) {
	var q Quarantined
	if w := r.taskWorker(); w.ProvisionerID == "" || w.WorkerType == "" {
		q.Failed = "provisioner_id and worker_type are needed, or a taskcluster entry in the inventory"
		return q, nil
	}
	over := workflow.NewTimerWithOptions(ctx, quarantineWithin, workflow.TimerOptions{Summary: "a quarantine that is not there by then has failed"})
	err := whenFree(ctx, over, func() error { return r.hold(ctx) })
	if err != nil {
		return q, err
	}
	workflow.NewSelector(ctx).
		AddReceive(workflow.GetSignalChannel(ctx, QuarantinedSignal), func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, &q) }).
		AddFuture(over, func(f workflow.Future) {
			if err = f.Get(ctx, nil); err == nil {
				q.Failed = "Taskcluster did not answer within " + quarantineWithin.String()
			}
		}).
		Select(ctx)
	return q, err
}

// whenFree does what needs QuarantineID, as soon as no other run has it, and until a
// timer is over.
func whenFree(ctx workflow.Context, over workflow.Future, do func() error) error {
	for {
		err := do()
		if err == nil || !alreadyStarted(err) || over.IsReady() {
			return err
		}
		pause := workflow.TimerOptions{Summary: "until an earlier job's quarantine is lifted"}
		if err := workflow.NewTimerWithOptions(ctx, quarantineRetry, pause).Get(ctx, nil); err != nil {
			return err
		}
	}
}

// hold starts the run that holds the quarantine.
func (r *run) hold(ctx workflow.Context) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx) // a cancel ends the job, and by that the quarantine
	m, info := r.plan.Machine, workflow.GetInfo(ctx).WorkflowExecution
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: QuarantineID(m), TaskQueue: TaskQueue, ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary: "quarantine of " + r.taskWorker().String(),
	})
	return workflow.ExecuteChildWorkflow(ctx, QuarantineType, QuarantineInput{
		Worker: r.taskWorker(), Job: activities.RunRef{WorkflowID: info.ID, RunID: info.RunID},
		For: r.plan.Drain.For, Heartbeat: r.plan.Timing.Heartbeat,
	}).GetChildWorkflowExecution().Get(ctx, nil)
}

// HoldQuarantine quarantines a worker until a job has closed, by whatever way, and
// then restores exactly what was there before. What that is it reads before it sets
// anything, and keeps in its history. A quarantine that somebody has changed
// meanwhile is theirs.
func HoldQuarantine(ctx workflow.Context, in QuarantineInput) error {
	var before activities.Quarantine
	err := workflow.ExecuteActivity(forQuarantine(ctx, quarantineWithin, "read"), a.QuarantineRead, in.Worker).Get(ctx, &before)
	if err != nil || !before.Known {
		return join2(err, tellJob(ctx, in, Quarantined{Unknown: err == nil, Failed: failure(err)}))
	}
	ours := workflow.Now(ctx).Add(in.For.D()).UTC().Truncate(time.Millisecond) // as Taskcluster keeps it
	if before.Until.After(ours) {                                              // somebody's own, which lasts longer
		return tellJob(ctx, in, Quarantined{})
	}
	err = keepQuarantine(ctx, in, activities.QuarantineChange{Worker: in.Worker, Until: ours})
	return join2(restoreQuarantine(ctx, in, activities.QuarantineChange{Worker: in.Worker, Until: before.Until, Ours: ours}), err)
}

// keepQuarantine sets it, and returns when the job has closed or nothing more can be
// done for it. What it could not set may be set all the same.
func keepQuarantine(ctx workflow.Context, in QuarantineInput, c activities.QuarantineChange) error {
	if err := workflow.ExecuteActivity(forQuarantine(ctx, quarantineWithin, "set"), a.QuarantineSet, c).Get(ctx, nil); err != nil {
		return join2(tellJob(ctx, in, Quarantined{Failed: failure(err)}), err)
	}
	if err := tellJob(ctx, in, Quarantined{}); err != nil {
		return err
	}
	return workflow.ExecuteActivity(forClosed(ctx, in.Heartbeat.D()), a.AwaitClosed, in.Job).Get(ctx, nil)
}

func failure(err error) string {
	if err == nil {
		return ""
	}
	return reason(err)
}

// tellJob tells the job. One that has closed need not know.
func tellJob(ctx workflow.Context, in QuarantineInput, q Quarantined) error {
	_ = workflow.SignalExternalWorkflow(ctx, in.Job.WorkflowID, in.Job.RunID, QuarantinedSignal, q).Get(ctx, nil)
	return ctx.Err()
}

// restoreQuarantine puts back what was there, also when this run was cancelled: for as
// long as its own quarantine lasts.
func restoreQuarantine(ctx workflow.Context, in QuarantineInput, c activities.QuarantineChange) error {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	workflow.SetCurrentDetails(ctx, "Lifting the quarantine of "+in.Worker.String())
	left := max(c.Ours.Sub(workflow.Now(ctx)), time.Minute)
	return workflow.ExecuteActivity(forQuarantine(ctx, left, "restore"), a.QuarantineLift, c).Get(ctx, nil)
}

func forQuarantine(ctx workflow.Context, limit time.Duration, what string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: TaskQueue, StartToCloseTimeout: time.Minute, ScheduleToCloseTimeout: limit,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 2 * time.Second, MaximumInterval: time.Minute},
		Summary:     "quarantine: " + what,
	})
}

func forDrain(ctx workflow.Context, limit, heartbeat time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: WatchTaskQueue, StartToCloseTimeout: limit + time.Minute, HeartbeatTimeout: heartbeat,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 1.5, MaximumInterval: 10 * time.Second},
		Summary:     "await the worker's task",
	})
}
