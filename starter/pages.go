package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Filter selects jobs. What is empty selects nothing by itself.
type Filter struct {
	Machine config.Name // without a group: of every group
	Task    string
	Outcome workflows.Outcome // Running: of those that have none yet
}

func (f Filter) query() string {
	parts := []string{workflows.AttrTask.GetName() + " IS NOT NULL"}
	is := func(name, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%s = %q", name, value))
		}
	}
	is(workflows.AttrWorkerID.GetName(), f.Machine.WorkerID)
	is(workflows.AttrWorkerGroup.GetName(), f.Machine.WorkerGroup)
	is(workflows.AttrTask.GetName(), f.Task)
	if f.Outcome == workflows.Running {
		is("ExecutionStatus", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING.String())
	} else {
		is(workflows.AttrOutcome.GetName(), string(f.Outcome))
	}
	return strings.Join(parts, " AND ")
}

// ErrToken says that a page was asked for by something that is no token of an
// earlier page.
var ErrToken = errors.New("not a token of an earlier page")

// Page returns jobs, those that run first, then those that ended, the last one
// first, and the token of the next page; it is empty after the last page.
func (s *Starter) Page(ctx context.Context, f Filter, size int, token []byte) ([]View, []byte, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	list := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: s.namespace, Query: f.query(), PageSize: int32(min(size, 1000)), NextPageToken: token, //nolint:gosec // bounded by min
	}
	answer, err := s.listPage(ctx, list)
	if err != nil && len(token) > 0 && !transient(err) {
		return nil, nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if err != nil {
		return nil, nil, unavailable(err)
	}
	views := make([]View, 0, len(answer.GetExecutions()))
	for _, e := range answer.GetExecutions() {
		views = append(views, view(e))
	}
	return views, answer.GetNextPageToken(), nil
}

// listPage asks the client, which repeats a question that meets the server's limit of
// questions a second; but with a token it asks once: the server takes one that it
// cannot read for a failure of its own.
func (s *Starter) listPage(ctx context.Context, list *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	if len(list.GetNextPageToken()) > 0 {
		return s.client.WorkflowService().ListWorkflowExecutions(ctx, list)
	}
	return s.client.ListWorkflow(ctx, list)
}

// findTries and findPause: visibility, which finds a job by its task ID alone,
// follows a start within some ten milliseconds.
const (
	findTries = 3
	findPause = 200 * time.Millisecond
)

// Find returns a machine's job by its task ID, or ErrNoJob: an exclusive one by
// the machine's own ID, every other one as soon as visibility knows it.
func (s *Starter) Find(ctx context.Context, machine config.Name, taskID string) (View, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	v, err := s.Show(ctx, workflows.MachineID(machine), taskID)
	for try := 0; errors.Is(err, ErrNoJob) && try < findTries; try++ {
		select {
		case <-ctx.Done():
			return View{}, unavailable(ctx.Err())
		case <-time.After(findPause * time.Duration(min(try, 1))):
		}
		v, err = s.findListed(ctx, machine, taskID)
	}
	return v, err
}

func (s *Starter) findListed(ctx context.Context, machine config.Name, taskID string) (View, error) {
	answer, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("RunId = %q", taskID), PageSize: 1})
	if err != nil {
		return View{}, unavailable(err)
	}
	for _, e := range answer.GetExecutions() {
		if v := view(e); v.of(machine) {
			return s.Show(ctx, v.WorkflowID, v.TaskID)
		}
	}
	return View{}, fmt.Errorf("%w on %s", ErrNoJob, machine)
}

// of reports whether a job is a machine's. Whoever started it without an
// inventory, or asks without one, may not have known the group.
func (v View) of(machine config.Name) bool {
	group, id, _ := strings.Cut(v.Machine, "/")
	return id == machine.WorkerID && (group == machine.WorkerGroup || group == config.AnyGroup || machine.WorkerGroup == config.AnyGroup)
}

// nearlyOver reports whether so little is left of a wait that its end may be why a
// call failed: a call looks at the clock, and ctx learns of its end from a timer,
// which is later.
func nearlyOver(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < changeEvery
}

// changeEvery is how often a job that is waited for is looked at: at its length
// only, which no worker is asked for.
const changeEvery = time.Second

// AwaitChange returns when a job's history is no longer what it was when the job
// was seen, or when the job has ended, or with ctx's error.
func (s *Starter) AwaitChange(ctx context.Context, seen View) error {
	ticker := time.NewTicker(changeEvery)
	defer ticker.Stop()
	for {
		answer, err := s.client.DescribeWorkflowExecution(ctx, seen.WorkflowID, seen.TaskID)
		if err != nil && nearlyOver(ctx) {
			<-ctx.Done()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return found(err)
		}
		info := answer.GetWorkflowExecutionInfo()
		if info.GetHistoryLength() != seen.Events || info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
