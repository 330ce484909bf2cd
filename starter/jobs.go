package starter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// ErrClosed says that a job has ended, so that there is nothing to cancel.
var ErrClosed = errors.New("the job has ended already")

// ErrNoJob says that no job of that name is known.
var ErrNoJob = errors.New("no such job")

// View is a job as it can be seen now.
type View struct {
	Job
	Machine    string // "group/id"
	Status     string // Temporal's: Running, Completed, Failed, Canceled, Terminated, ...
	Outcome    string // roller's, once the job has one
	Rung       string // tried now or last
	Off        string // the rung that powered the machine off, while it is not known to be on again
	ClientID   string
	StartedAt  time.Time
	ClosedAt   time.Time         // zero while it runs
	Live       bool              // Result comes from the running job itself
	Result     *workflows.Result // nil when only the list entry is known
	Cancelling bool
	Events     int64 // the length of its history; a list has it only of jobs that have ended
}

// List returns the newest jobs first, at most limit of them. An empty machine
// lists every machine's.
func (s *Starter) List(ctx context.Context, machine string, limit int) ([]View, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	query := workflows.AttrTask.GetName() + " IS NOT NULL"
	if group, id, ok := strings.Cut(machine, "/"); ok {
		query += fmt.Sprintf(" AND %s = %q AND %s = %q",
			workflows.AttrWorkerGroup.GetName(), group, workflows.AttrWorkerID.GetName(), id)
	}
	answer, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, PageSize: int32(min(limit, 1000))}) //nolint:gosec // bounded by min
	if err != nil {
		return nil, unavailable(err)
	}
	var views []View
	for _, e := range answer.GetExecutions() {
		views = append(views, view(e))
	}
	slices.SortStableFunc(views, func(a, b View) int { return b.StartedAt.Compare(a.StartedAt) })
	return views, nil
}

// Show returns one job: its record from the run itself where a worker answers,
// else from its history (Live is then false).
func (s *Starter) Show(ctx context.Context, workflowID, runID string) (View, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.client.DescribeWorkflowExecution(ctx, workflowID, runID)
	if err != nil {
		return View{}, found(err)
	}
	v := view(answer.GetWorkflowExecutionInfo())
	v.Cancelling = answer.GetWorkflowExtendedInfo().GetCancelRequested()
	if v.Status != "Running" {
		if v.Result = s.closed(ctx, v); v.Result == nil {
			r, _ := s.recall(ctx, v) // nil: nothing but the list's entry is known
			v.Result = cutOff(r, v.Status)
		}
		return v, nil
	}
	// Without a worker the query waits for one: half of the time is the history's.
	asking, stop := context.WithTimeout(ctx, s.timeout/2)
	defer stop()
	if value, err := s.client.QueryWorkflow(asking, v.WorkflowID, v.TaskID, workflows.ProgressQuery); err == nil {
		var r workflows.Result
		if value.Get(&r) == nil {
			v.Result, v.Live = &r, true
			r.Now = cmp.Or(waiting(answer.GetPendingActivities()), s.deserted(ctx, &r, answer.GetPendingActivities()), r.Now)
			return v, nil
		}
	}
	v.Result, _ = s.recall(ctx, v)
	return v, nil
}

// waiting says at which device a job waits for its turn: its activity's last
// heartbeat does, which is in no history.
func waiting(pending []*workflowpb.PendingActivityInfo) string {
	for _, p := range pending {
		var progress workflows.Progress
		err := converter.GetDefaultDataConverter().FromPayloads(p.GetHeartbeatDetails(), &progress)
		if err == nil && progress.Waiting != "" {
			return "waiting for its turn at " + progress.Waiting
		}
	}
	return ""
}

// closed reads a closed run's record: its result, or its error's details.
func (s *Starter) closed(ctx context.Context, v View) *workflows.Result {
	var r workflows.Result
	err := s.client.GetWorkflow(ctx, v.WorkflowID, v.TaskID).Get(ctx, &r)
	if err == nil {
		return &r
	}
	if e, ok := errors.AsType[*temporal.ApplicationError](err); ok && e.HasDetails() && e.Details(&r) == nil {
		return &r
	}
	if e, ok := errors.AsType[*temporal.CanceledError](err); ok && e.HasDetails() && e.Details(&r) == nil {
		return &r
	}
	return nil
}

// Await returns when the job has closed, or with ctx's error.
func (s *Starter) Await(ctx context.Context, j Job) error {
	err := s.client.GetWorkflow(ctx, j.WorkflowID, j.TaskID).Get(ctx, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, closed := errors.AsType[*temporal.WorkflowExecutionError](err); closed || err == nil {
		return nil
	}
	return unavailable(err)
}

// Cancel asks a job to end. What it powered off it powers on first.
func (s *Starter) Cancel(ctx context.Context, workflowID, runID string) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.client.DescribeWorkflowExecution(ctx, workflowID, runID)
	if err != nil {
		return found(err)
	}
	// Temporal takes a cancel of a closed run without a word.
	if status := answer.GetWorkflowExecutionInfo().GetStatus(); status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return fmt.Errorf("%w (%s)", ErrClosed, strings.ToLower(status.String()))
	}
	return found(s.client.CancelWorkflow(ctx, workflowID, answer.GetWorkflowExecutionInfo().GetExecution().GetRunId()))
}

// found turns Temporal's "not found" into ErrNoJob.
func found(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*serviceerror.NotFound](err); ok {
		return fmt.Errorf("%w: it has ended long ago, or never was", ErrNoJob)
	}
	return unavailable(err)
}

func view(e *workflowpb.WorkflowExecutionInfo) View {
	attribute := func(k temporal.SearchAttributeKeyKeyword) string {
		var v string
		if p := e.GetSearchAttributes().GetIndexedFields()[k.GetName()]; p != nil {
			_ = converter.GetDefaultDataConverter().FromPayload(p, &v)
		}
		return v
	}
	v := View{
		Job:      Job{Task: config.CanonicalTask(e.GetType().GetName()), TaskID: e.GetExecution().GetRunId(), WorkflowID: e.GetExecution().GetWorkflowId()},
		Machine:  attribute(workflows.AttrWorkerGroup) + "/" + attribute(workflows.AttrWorkerID),
		Status:   e.GetStatus().String(),
		Outcome:  attribute(workflows.AttrOutcome),
		Rung:     attribute(workflows.AttrRung),
		Off:      attribute(workflows.AttrOff),
		ClientID: attribute(workflows.AttrClientID),
	}
	v.StartedAt, v.Events = e.GetStartTime().AsTime(), e.GetHistoryLength()
	if e.GetCloseTime() != nil {
		v.ClosedAt = e.GetCloseTime().AsTime()
	}
	return v
}
