package starter

import (
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

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Repeat is something by which a repeat of a request is known.
type Repeat struct {
	Key string        // a hash; it is stored and shown
	For time.Duration // how long after the end of the job that it joined a repeat may come
}

// Reused says that a request's key belongs to another request: a repeat asks
// for the same.
type Reused struct{ First Job }

// Error implements error.
func (r *Reused) Error() string {
	return fmt.Sprintf("it was used before, for %s (task_id %s)", r.First.Task, r.First.TaskID)
}

// ErrCrowded says that a running job was joined by so many requests that it
// remembers no more.
var ErrCrowded = errors.New("too many requests have joined the running job")

// first looks for the job that an earlier request with one of the keys got. The
// job that a request started has the keys in a search attribute; one that was
// joined has them as request IDs. (The machine's last job is compared by
// Temporal itself when a start reaches it; visibility, which is asked here,
// follows within a moment.)
func (s *Starter) first(ctx context.Context, r Request, workflowID string) (Job, error) {
	if len(r.Repeats) == 0 {
		return Job{}, nil
	}
	list := &workflowservice.ListWorkflowExecutionsRequest{Query: repeatQuery(r, workflowID, time.Now())}
	for {
		answer, err := s.client.ListWorkflow(ctx, list)
		if err != nil {
			return Job{}, unavailable(err)
		}
		for _, e := range answer.GetExecutions() {
			if job, err := s.isFirst(ctx, r, workflowID, e); err != nil || job.Repeated {
				return job, err
			}
		}
		if list.NextPageToken = answer.GetNextPageToken(); len(list.NextPageToken) == 0 {
			return Job{}, nil
		}
	}
}

// repeatQuery selects what was started with one of the keys, and the jobs of the
// machine that may have been joined with one.
func repeatQuery(r Request, workflowID string, now time.Time) string {
	var parts []string
	var longest time.Duration
	for _, repeat := range r.Repeats {
		parts = append(parts, fmt.Sprintf("%s = %q", workflows.AttrRequest.GetName(), repeat.Key))
		longest = max(longest, repeat.For)
	}
	if !config.IsRead(r.Task) {
		parts = append(parts, fmt.Sprintf("(WorkflowId = %q AND (ExecutionStatus = 'Running' OR CloseTime > %q))",
			workflowID, now.Add(-longest).UTC().Format(time.RFC3339)))
	}
	return strings.Join(parts, " OR ")
}

// isFirst reports by Job.Repeated whether a listed run is what an earlier
// request with one of the keys got.
func (s *Starter) isFirst(ctx context.Context, r Request, workflowID string, e *workflowpb.WorkflowExecutionInfo) (Job, error) {
	job := jobOf(e)
	if startedBy(e, r.Repeats) {
		same := job.Task == r.Task && (job.WorkflowID == workflowID || config.IsRead(r.Task) && sameRead(job.WorkflowID, workflowID))
		if !same {
			return Job{}, &Reused{First: job}
		}
		job.Repeated = true
		return job, nil
	}
	if job.WorkflowID != workflowID || job.Task != r.Task {
		return Job{}, nil
	}
	answer, err := s.client.DescribeWorkflowExecution(ctx, job.WorkflowID, job.TaskID)
	if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
		return Job{}, nil
	}
	if err != nil {
		return Job{}, unavailable(err)
	}
	for id, info := range answer.GetWorkflowExtendedInfo().GetRequestIdInfos() {
		if has(r.Repeats, id) {
			job.Repeated = true
			job.Joined = info.GetEventType() != enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
			return job, nil
		}
	}
	return Job{}, nil
}

// sameRead compares two reads' IDs without what is unique in them.
func sameRead(a, b string) bool {
	cut := func(id string) string { return id[:strings.LastIndex(id, "/")+1] }
	return cut(a) == cut(b)
}

func startedBy(e *workflowpb.WorkflowExecutionInfo, repeats []Repeat) bool {
	var keys []string
	if p := e.GetSearchAttributes().GetIndexedFields()[workflows.AttrRequest.GetName()]; p != nil {
		_ = payloads.FromPayload(p, &keys)
	}
	return slices.ContainsFunc(keys, func(key string) bool { return has(repeats, key) })
}

func has(repeats []Repeat, key string) bool {
	return slices.ContainsFunc(repeats, func(r Repeat) bool { return r.Key == key })
}
