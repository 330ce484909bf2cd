package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// TaskclusterTaskQueue is where claimed tasks run: in processes that reach
// Taskcluster and know the seal key. A dot in its place would be a site's.
const TaskclusterTaskQueue = "roller-taskcluster"

// ClaimType is the type of the run that sees to one claimed run of a task.
const ClaimType = "taskcluster"

// ClaimID is its workflow ID.
func ClaimID(c Claim) string { return "tc/" + c.Run() }

// Claim is one claimed run of a Taskcluster task.
type Claim = activities.Claim

// JobAsk is the job that a task asks for.
type JobAsk = activities.JobAsk

// JobRun names a task's job.
type JobRun = activities.JobRun

// JobLook is how a task's job stands.
type JobLook = activities.JobLook

// Reported is what the queue was told of a run.
type Reported = activities.Reported

// Meanings of errors of activities.Jobs.
const (
	AskBad     = activities.BadInput
	AskRefused = activities.Refused
	AskAgain   = activities.NotSent
)

// AskError is an error of activities.Jobs.
type AskError = activities.Error

// tc names activities in ExecuteActivity calls; it is never called.
var tc *activities.Taskcluster

// RegisterTaskcluster registers what a worker of TaskclusterTaskQueue runs.
func RegisterTaskcluster(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(ClaimedTask, workflow.RegisterOptions{Name: ClaimType})
}

// ClaimedTask sees to one claimed run of a Taskcluster task: it starts the job,
// keeps the claim while it runs, and reports. The job is a run of its own under the
// machine's ID: nothing that happens here can hurt it but a cancelled task.
func ClaimedTask(ctx workflow.Context, in Claim) (Reported, error) {
	if in.Problem != "" {
		return report(ctx, activities.Report{Claim: in, End: activities.MalformedPayload, Text: in.Problem})
	}
	var job JobRun
	err := workflow.ExecuteActivity(forAsk(ctx, in), tc.TaskclusterStart, in).Get(ctx, &job)
	if err != nil {
		return report(ctx, notStarted(ctx, in, err))
	}
	workflow.SetCurrentDetails(ctx, "Job: `"+job.WorkflowID+"`, run `"+job.RunID+"`")
	followed := activities.Followed{Credentials: in.Credentials}
	err = workflow.ExecuteActivity(forFollow(ctx, in), tc.TaskclusterFollow, activities.Following{Claim: in, Job: job}).Get(ctx, &followed)
	out := activities.Report{Claim: in, Job: job}
	out.Claim.Credentials = followed.Credentials
	switch {
	case cancelled(ctx, err):
		cancelJob(ctx, job)
		out.End, out.Text = activities.FailedTask, "somebody cancelled this run in Temporal, and with it the job"
	case err != nil:
		out.End, out.Text = activities.InternalError, "the job goes on, but cannot be followed: "+reason(err)
	case followed.How == activities.TaskCancelled:
		cancelJob(ctx, job)
		return Reported{End: activities.TaskCancelled}, nil
	case followed.How == activities.TaskResolved:
		return Reported{End: activities.TaskResolved}, nil
	case followed.How == activities.DeadlineNear:
		out.End, out.Text = activities.FailedTask, "the task's deadline is near; the job goes on: roller show "+job.WorkflowID
	}
	return report(ctx, out)
}

// notStarted is what is reported of a task whose job could not be started.
func notStarted(ctx workflow.Context, in Claim, err error) activities.Report {
	out := activities.Report{Claim: in, End: activities.InternalError, Text: reason(err)}
	if cancelled(ctx, err) {
		out.Text = "somebody cancelled this run in Temporal"
	}
	if e, ok := said(err); ok {
		switch activities.Meaning(e.Type()) {
		case AskBad:
			out.End = activities.MalformedPayload
		case AskRefused:
			out.End = activities.FailedTask
		default: // nobody knows
		}
	}
	return out
}

// cancelJob cancels the job of a task that is cancelled, if the task started it: a
// job that it joined is somebody else's.
func cancelJob(ctx workflow.Context, job JobRun) {
	if job.Joined {
		return
	}
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	_ = workflow.ExecuteActivity(forCall(ctx, cancelLimit, "cancel the job"), tc.TaskclusterCancel, job).Get(ctx, nil)
}

// report resolves the task's run, whatever became of this one.
func report(ctx workflow.Context, in activities.Report) (Reported, error) {
	rctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var out Reported
	err := workflow.ExecuteActivity(forCall(rctx, reportLimit, "report"), tc.TaskclusterReport, in).Get(rctx, &out)
	return out, err
}

const (
	// reportLimit is how long a report is tried: by then a claim that nobody renews
	// has expired (20 minutes).
	reportLimit = 25 * time.Minute
	// cancelLimit is how long a cancel is tried. Temporal, which runs this, is there.
	cancelLimit = time.Hour
)

// again is how a call that may be repeated is.
var again = &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 1.5, MaximumInterval: 30 * time.Second}

// forAsk: asking again finds the job that was started. It is tried for as long as the
// claim, which nobody renews yet, and the task's deadline leave time for a report:
// nobody wants a reboot of which no task can tell any more.
func forAsk(ctx workflow.Context, in Claim) workflow.Context {
	until := in.Deadline
	if in.TakenUntil.Before(until) {
		until = in.TakenUntil
	}
	return forCall(ctx, max(until.Sub(workflow.Now(ctx))-askMargin, time.Minute), "start the job")
}

// askMargin is what is left of a claim for the report that no job could be started.
const askMargin = 3 * time.Minute

func forCall(ctx workflow.Context, limit time.Duration, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: TaskclusterTaskQueue, StartToCloseTimeout: time.Minute, ScheduleToCloseTimeout: limit,
		RetryPolicy: again, Summary: summary,
	})
}

// followHeartbeat is how soon another process goes on after one that was lost.
const followHeartbeat = 30 * time.Second

// forFollow: a long heartbeating wait that ends by itself before the deadline.
func forFollow(ctx workflow.Context, in Claim) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: TaskclusterTaskQueue, StartToCloseTimeout: max(in.Deadline.Sub(workflow.Now(ctx)), 0) + time.Hour,
		HeartbeatTimeout: followHeartbeat, RetryPolicy: again, Summary: "follow the job",
	})
}
