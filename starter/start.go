package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc/codes"

	"github.com/mozilla-platform-ops/roller/config"
)

// startTries bounds how often a start is tried whose rival ended between the
// start and the look at it. Each further try needs another such coincidence.
const startTries = 5

// mostJoined bounds how many requests one job remembers: each is an event of its
// history, and Temporal ends a run, without its clean-up, at 51,200 of them.
const mostJoined = 1000

// Start starts a job, or joins the one that is running: a read always starts;
// an exclusive task joins a running one of the same name on that machine. A
// repeat of an earlier request gets that one's job, whatever became of it.
// Errors: *Conflict (another task is running, or the same one is being
// cancelled), *Reused, ErrCrowded, ErrNotStarted, ErrUnavailable (nothing is known to
// have been started; asking again finds what was), or an error of Inventory.Resolve.
func (s *Starter) Start(ctx context.Context, r Request) (Job, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	name, err := s.name(r)
	if err != nil {
		return Job{}, err
	}
	start, err := s.request(r, name)
	if err != nil {
		return Job{}, err
	}
	if job, err := s.first(ctx, r, name, start.GetWorkflowId()); err != nil || job.Repeated {
		return job, err
	}
	if config.IsRead(r.Task) {
		return s.read(ctx, r, start)
	}
	if r.NoStart {
		return s.running(ctx, r, start)
	}
	for range startTries {
		job, settled, err := s.exclusive(ctx, r, start)
		if err != nil || settled {
			return job, err
		}
	}
	return Job{}, fmt.Errorf("start %s on %s: its jobs begin and end too fast to join one: %w", r.Task, name, ErrUnavailable)
}

// name is the machine's one name, as far as this process can know it.
func (s *Starter) name(r Request) (config.Name, error) {
	if s.inventory == nil {
		return config.Name{WorkerID: strings.ToLower(r.WorkerID), WorkerGroup: strings.ToLower(r.WorkerGroup)}, nil
	}
	m, err := s.inventory().Resolve(r.WorkerID, r.WorkerGroup)
	return m.Name, err
}

// read starts a read. One of the same ID has the same key in it, and so is the
// same read, running or ended.
func (s *Starter) read(ctx context.Context, r Request, start *workflowservice.StartWorkflowExecutionRequest) (Job, error) {
	job := Job{Task: r.Task, WorkflowID: start.GetWorkflowId()}
	answer, err := s.send(ctx, start)
	if there, ok := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); ok {
		job.TaskID, job.Repeated = there.RunId, true
		return job, nil
	}
	if err != nil {
		return Job{}, unavailable(err)
	}
	job.TaskID = answer.GetRunId()
	return job, nil
}

// exclusive starts a job that needs the machine to itself, or joins the one that
// has it. settled is false when that one ended meanwhile.
func (s *Starter) exclusive(ctx context.Context, r Request, start *workflowservice.StartWorkflowExecutionRequest) (job Job, settled bool, err error) {
	answer, err := s.send(ctx, start)
	has, rival := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err)
	switch {
	case rival:
		if job, settled, err = s.rival(ctx, start.GetWorkflowId(), has.RunId, r.Task); err != nil || !settled {
			return job, settled, err
		}
		return s.join(ctx, r, start, job)
	case err != nil:
		return Job{}, true, unavailable(err)
	case answer.GetStarted():
		return Job{Task: r.Task, TaskID: answer.GetRunId(), WorkflowID: start.GetWorkflowId()}, true, nil
	default:
		return s.attached(ctx, r, start, answer.GetRunId())
	}
}

// running joins the job that has the machine, and starts none.
func (s *Starter) running(ctx context.Context, r Request, start *workflowservice.StartWorkflowExecutionRequest) (Job, error) {
	job, open, err := s.rival(ctx, start.GetWorkflowId(), "", r.Task)
	if err == nil && open {
		job, open, err = s.join(ctx, r, start, job)
	}
	if err == nil && !open {
		err = ErrNotStarted
	}
	return job, err
}

// attached sees to a start whose request ID an earlier join left on the
// machine's last run. That run is the first answer, unless it took the place of
// the one to be joined between the look and the join: then the request was
// refused, and is judged anew.
func (s *Starter) attached(ctx context.Context, r Request, start *workflowservice.StartWorkflowExecutionRequest, runID string) (Job, bool, error) {
	answer, err := s.client.DescribeWorkflowExecution(ctx, start.GetWorkflowId(), runID)
	if err != nil {
		return Job{}, true, unavailable(err)
	}
	info := answer.GetWorkflowExecutionInfo()
	if job := jobOf(info); job.Task == r.Task {
		job.Repeated = true
		return job, true, nil
	}
	if info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return joinOrConflict(answer, r.Task)
	}
	start.RequestId += "/" + runID // which that run does not know
	return Job{}, false, nil
}

// join leaves the request's keys with a running job, so that a repeat finds it.
func (s *Starter) join(ctx context.Context, r Request, start *workflowservice.StartWorkflowExecutionRequest, job Job) (Job, bool, error) {
	for _, repeat := range r.Repeats {
		answer, err := s.send(ctx, attaching(start, repeat.Key))
		if _, ended := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); ended {
			return Job{}, false, nil
		}
		if err != nil {
			return Job{}, true, unavailable(err)
		}
		if answer.GetRunId() != job.TaskID { // another one has the machine by now
			return s.attached(ctx, r, start, answer.GetRunId())
		}
	}
	return job, true, nil
}

// rival looks at the run that has the machine, the last one under its ID where
// runID is empty: it is joined if it does the same task, else it is the conflict.
// open is false when it has ended.
func (s *Starter) rival(ctx context.Context, id, runID, task string) (job Job, open bool, err error) {
	answer, err := s.client.DescribeWorkflowExecution(ctx, id, runID)
	if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
		return Job{}, false, nil
	}
	if err != nil {
		return Job{}, false, unavailable(err)
	}
	if answer.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return Job{}, false, nil
	}
	return joinOrConflict(answer, task)
}

func joinOrConflict(answer *workflowservice.DescribeWorkflowExecutionResponse, task string) (Job, bool, error) {
	running := jobOf(answer.GetWorkflowExecutionInfo())
	cancelling := answer.GetWorkflowExtendedInfo().GetCancelRequested()
	if running.Task != task || cancelling {
		return Job{}, true, &Conflict{Running: running, Cancelling: cancelling}
	}
	if len(answer.GetWorkflowExtendedInfo().GetRequestIdInfos()) >= mostJoined {
		return Job{}, true, fmt.Errorf("%w: %s (task_id %s)", ErrCrowded, running.Task, running.TaskID)
	}
	running.Joined = true
	return running, true, nil
}

func jobOf(info *workflowpb.WorkflowExecutionInfo) Job {
	return Job{
		Task: config.CanonicalTask(info.GetType().GetName()), TaskID: info.GetExecution().GetRunId(),
		WorkflowID: info.GetExecution().GetWorkflowId(),
	}
}

// unavailable marks the errors by which Temporal says that it is not there or
// too slow; all others stay what they are.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// Nothing is wrong with the request either way: a server that is starting says so, too.
	if _, ok := errors.AsType[*serviceerror.NamespaceNotFound](err); ok {
		return fmt.Errorf("%w (TEMPORAL_NAMESPACE; has `roller setup` been run?): %w", ErrUnavailable, err)
	}
	// Nothing is wrong with the request where an attribute of roller's own is not known.
	if _, ok := errors.AsType[*serviceerror.InvalidArgument](err); ok && strings.Contains(err.Error(), "search attribute") {
		return fmt.Errorf("%w (has `roller setup` been run?): %w", ErrUnavailable, err)
	}
	if transient(err) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// transient reports whether the same call may well succeed later: by another
// certificate or API key, too.
func transient(err error) bool {
	switch serviceerror.ToStatus(err).Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled, codes.Unauthenticated, codes.PermissionDenied:
		return true
	default:
		return false
	}
}
