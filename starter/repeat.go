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
	// Bound says that the key is of these words only: no request for another task, or
	// by another spelling of the machine, can have it.
	Bound bool
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
// job that a request started has the first of its keys as its request ID and, unless
// that is bound to it, all of them in a search attribute; one that was joined has them
// as request IDs. (The machine's last job is compared by Temporal itself when a start
// reaches it; visibility, which is asked here, follows within a moment.)
func (s *Starter) first(ctx context.Context, r Request, name config.Name, workflowID string) (Job, error) {
	if len(r.Repeats) == 0 {
		return Job{}, nil
	}
	if is, err := s.isNew(ctx, r, name, workflowID); is || err != nil {
		return Job{}, err
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

// isNew reports whether the machine's last run alone says that the request is no
// repeat, as that of most does: there is none, or it ended too long ago. A question
// to visibility costs Temporal more than the start itself. False is "not known".
func (s *Starter) isNew(ctx context.Context, r Request, name config.Name, workflowID string) (bool, error) {
	if !r.bound(name) {
		return false, nil
	}
	answer, err := s.client.DescribeWorkflowExecution(ctx, workflowID, "")
	if _, none := errors.AsType[*serviceerror.NotFound](err); none {
		return true, nil
	}
	if err != nil {
		return false, unavailable(err)
	}
	info := answer.GetWorkflowExecutionInfo()
	return info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING &&
		info.GetCloseTime().AsTime().Before(time.Now().Add(-longest(r.Repeats))), nil
}

// bound reports whether a repeat of this request can only have been answered by a job
// under this very machine's ID, which has the key as its request ID.
func (r Request) bound(name config.Name) bool {
	if len(r.Repeats) != 1 || !r.Repeats[0].Bound {
		return false
	}
	// What another spelling means the inventory says, which may have changed meanwhile.
	return !config.IsRead(r.Task) && strings.EqualFold(r.WorkerID, name.WorkerID) && strings.EqualFold(r.WorkerGroup, name.WorkerGroup)
}

// longest is how long after a job's end a repeat of a request that it answered may come.
func longest(repeats []Repeat) time.Duration {
	var d time.Duration
	for _, r := range repeats {
		d = max(d, r.For)
	}
	return d
}

// repeatQuery selects what was started with one of the keys, and the jobs of the
// machine that may have been joined with one.
func repeatQuery(r Request, workflowID string, now time.Time) string {
	var parts []string
	for _, repeat := range r.Repeats {
		parts = append(parts, fmt.Sprintf("%s = %q", workflows.AttrRequest.GetName(), repeat.Key))
	}
	if !config.IsRead(r.Task) {
		parts = append(parts, fmt.Sprintf("(WorkflowId = %q AND (ExecutionStatus = 'Running' OR CloseTime > %q))",
			workflowID, now.Add(-longest(r.Repeats)).UTC().Format(time.RFC3339)))
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
