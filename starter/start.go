package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// startTries bounds how often a start is tried whose rival ended between the
// start and the look at it. Each further try needs another such coincidence.
const startTries = 5

// Start starts a job, or joins the one that is running: a read always starts;
// an exclusive task joins a running one of the same name on that machine.
// Errors: *Conflict (another task is running, or the same one is being
// cancelled), ErrUnavailable (nothing is known to have been started; asking
// again finds what was), or an error of Inventory.Resolve.
func (s *Starter) Start(ctx context.Context, r Request) (Job, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	name, err := s.name(r)
	if err != nil {
		return Job{}, err
	}
	options := options(r, name)
	for range startTries {
		run, err := s.client.ExecuteWorkflow(ctx, options, r.Task, workflows.Job{
			WorkerID: name.WorkerID, WorkerGroup: name.WorkerGroup, ClientID: r.ClientID,
			ProvisionerID: r.ProvisionerID, WorkerType: r.WorkerType, HTTPOrigin: r.HTTPOrigin,
		})
		if err == nil {
			return Job{Task: r.Task, TaskID: run.GetRunID(), WorkflowID: run.GetID()}, nil
		}
		started, ok := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err)
		if !ok {
			return Job{}, unavailable(err)
		}
		job, open, err := s.rival(ctx, options.ID, started.RunId, r.Task)
		if err != nil || open {
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

// options decides a job's ID, and with it what excludes what.
func options(r Request, name config.Name) client.StartWorkflowOptions {
	id := workflows.MachineID(name)
	if config.IsRead(r.Task) {
		id = workflows.ReadID(r.Task, name, uuid.NewString())
	}
	attributes := []temporal.SearchAttributeUpdate{
		workflows.AttrWorkerID.ValueSet(name.WorkerID), workflows.AttrWorkerGroup.ValueSet(name.WorkerGroup),
		workflows.AttrTask.ValueSet(r.Task),
	}
	if r.ClientID != "" {
		attributes = append(attributes, workflows.AttrClientID.ValueSet(r.ClientID))
	}
	return client.StartWorkflowOptions{
		ID:        id,
		TaskQueue: workflows.TaskQueue,
		// No run timeout: it would end a run without running its code, and with
		// it the promise to power on what was powered off.
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		TypedSearchAttributes:                    temporal.NewSearchAttributes(attributes...),
		StaticSummary:                            workflows.Summary(r.Task, name.String(), r.ClientID),
	}
}

// rival looks at the run that has the machine: it is joined if it does the same
// task, else it is the conflict. open is false when it ended meanwhile.
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
	info := answer.GetWorkflowExecutionInfo()
	running := Job{
		Task: config.CanonicalTask(info.GetType().GetName()), TaskID: info.GetExecution().GetRunId(),
		WorkflowID: info.GetExecution().GetWorkflowId(), Joined: true,
	}
	cancelling := answer.GetWorkflowExtendedInfo().GetCancelRequested()
	if running.Task != task || cancelling {
		running.Joined = false
		return Job{}, true, &Conflict{Running: running, Cancelling: cancelling}
	}
	return running, true, nil
}

// unavailable marks the errors by which Temporal says that it is not there or
// too slow; all others stay what they are.
func unavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if _, ok := errors.AsType[*serviceerror.NamespaceNotFound](err); ok {
		return fmt.Errorf("%w (TEMPORAL_NAMESPACE; has `roller setup` been run?)", err)
	}
	// Nothing is wrong with the request where an attribute of roller's own is not known.
	if _, ok := errors.AsType[*serviceerror.InvalidArgument](err); ok && strings.Contains(err.Error(), "search attribute") {
		return fmt.Errorf("%w (has `roller setup` been run?): %w", ErrUnavailable, err)
	}
	switch serviceerror.ToStatus(err).Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	default:
		return err
	}
}
