package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// StartClaim starts the run that sees to a claimed run of a Taskcluster task. One
// that was started before is no error.
func (s *Starter) StartClaim(ctx context.Context, c workflows.Claim) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.ClaimID(c), TaskQueue: workflows.TaskclusterTaskQueue,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         workflows.Summary(c.Ask.Task, c.Ask.WorkerGroup+"/"+c.Ask.WorkerID, c.Ask.ClientID),
	}, workflows.ClaimType, c)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil
	}
	return unavailable(err)
}

// repeatClaim is how long after its end a job is still found by another run of the
// task that had joined it. (The one that started it finds it for as long as it is
// kept.) Taskcluster lets no task live longer than five days, and roller's hooks 2 h.
const repeatClaim = 5 * 24 * time.Hour

// TaskJobs starts and shows the jobs of claimed tasks; it implements activities.Jobs.
type TaskJobs struct{ *Starter }

// Ask implements activities.Jobs.
func (s TaskJobs) Ask(ctx context.Context, ask workflows.JobAsk) (workflows.JobRun, error) {
	request := Request{
		Task: ask.Task, WorkerID: ask.WorkerID, WorkerGroup: ask.WorkerGroup, ClientID: ask.ClientID, Bulk: ask.Bulk,
		Drain: ask.Drain, ProvisionerID: ask.ProvisionerID, WorkerType: ask.WorkerType,
		Why: ask.Why, NoReimage: ask.NoReimage,
		Repeats: []Repeat{{Key: ask.Key, For: repeatClaim}},
	}
	job, err := s.Start(ctx, request)
	if err != nil {
		return workflows.JobRun{}, askError(err)
	}
	run := workflows.JobRun{WorkflowID: job.WorkflowID, RunID: job.TaskID, Joined: job.Joined}
	if job.Repeated && !run.Joined {
		answer, err := s.client.DescribeWorkflowExecution(ctx, job.WorkflowID, job.TaskID)
		if err != nil {
			return workflows.JobRun{}, askError(unavailable(err))
		}
		run.Joined = !startedBy(answer.GetWorkflowExecutionInfo(), request.Repeats)
	}
	return run, nil
}

// askError says what an error of Start means for a task.
func askError(err error) error {
	meaning := workflows.AskAgain
	_, conflict := errors.AsType[*Conflict](err)
	_, reused := errors.AsType[*Reused](err)
	switch {
	case conflict, reused, errors.Is(err, ErrCrowded):
		meaning = workflows.AskRefused
	case !errors.Is(err, ErrUnavailable): // the inventory has no such machine
		meaning = workflows.AskBad
	}
	return &workflows.AskError{Meaning: meaning, Err: err}
}

// Look implements activities.Jobs.
func (s TaskJobs) Look(ctx context.Context, job workflows.JobRun) (workflows.JobLook, error) {
	v, err := s.Show(ctx, job.WorkflowID, job.RunID)
	if errors.Is(err, ErrNoJob) {
		return workflows.JobLook{Ended: true, Outcome: string(workflows.Failed), Text: "the job is no longer known\n"}, nil
	}
	if err != nil {
		return workflows.JobLook{}, err
	}
	return lookOf(v), nil
}

// lookOf is a job as the reader of a task's log sees it.
func lookOf(v View) workflows.JobLook {
	look := workflows.JobLook{Ended: v.Status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING.String()}
	if v.Result == nil {
		look.Text = "no worker answers; last known rung: " + v.Rung + "\n"
		if look.Ended {
			look.Outcome, look.Text = strings.ToLower(v.Status), "the job is "+strings.ToLower(v.Status)+" and left no record\n"
		}
		return look
	}
	var b strings.Builder
	r := v.Result
	if r.Off {
		b.WriteString("OFF: roller powered this machine off and has not seen it on again.\n")
	}
	for _, at := range r.Attempts {
		when := at.StartedAt
		if !at.EndedAt.IsZero() {
			when = at.EndedAt
		}
		fmt.Fprintf(&b, "%s  %-18s %-10s %s\n", when.UTC().Format(time.DateTime), at.Rung, at.Outcome, at.Why)
	}
	if r.Text != "" {
		b.WriteString(r.Text + "\n")
	}
	if r.Bug != nil {
		fmt.Fprintf(&b, "bug: %s\n", r.Bug)
		look.Bug = r.Bug.URL
	}
	if look.Ended {
		fmt.Fprintf(&b, "ended: %s %s\n", r.Outcome, r.Why)
		look.Outcome, look.Good = string(r.Outcome), good(*r)
	}
	look.Text = b.String()
	return look
}

// good reports whether a job did what was asked.
func good(r workflows.Result) bool {
	filed := r.Outcome == workflows.BugFiled && r.Task == "file_bugzilla_bug"
	return r.Outcome == workflows.Back || r.Outcome == workflows.Done || filed
}

// Cancel implements activities.Jobs.
func (s TaskJobs) Cancel(ctx context.Context, job workflows.JobRun) error {
	err := s.Starter.Cancel(ctx, job.WorkflowID, job.RunID)
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrNoJob) || err == nil {
		return nil
	}
	return &workflows.AskError{Meaning: workflows.AskAgain, Err: err}
}
