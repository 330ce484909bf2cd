package starter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// Retention is how long closed jobs are kept: history is the only store.
const Retention = 30 * 24 * time.Hour

// SweepEvery is how often closed runs that left a machine off are looked for.
const SweepEvery = 5 * time.Minute

// Setup prepares a Temporal namespace for roller: the namespace itself, the
// search attributes, and the schedule that powers on what lost jobs left off.
// What is there already is left as it is; say names each step. A managed Temporal
// lets nobody make namespaces and search attributes through its frontend: what of
// it is missing there is said, and is an error where no job can run without it.
func (s *Starter) Setup(ctx context.Context, say func(string)) error {
	if err := s.setupNamespace(ctx, say); err != nil {
		return err
	}
	if err := s.setupAttributes(ctx, say); err != nil {
		return err
	}
	return s.setupSweep(ctx, say)
}

func (s *Starter) setupNamespace(ctx context.Context, say func(string)) error {
	_, err := s.client.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: s.namespace, WorkflowExecutionRetentionPeriod: durationpb.New(Retention),
		Description: "roller: reboots the machines of a CI fleet",
	})
	if _, there := errors.AsType[*serviceerror.NamespaceAlreadyExists](err); there {
		say("namespace " + s.namespace + " is there")
		return unavailable(s.raiseRetention(ctx, say))
	}
	if forbidden(err) {
		return s.checkNamespace(ctx, say)
	}
	if err != nil {
		return fmt.Errorf("register namespace %s: %w", s.namespace, unavailable(err))
	}
	say("namespace " + s.namespace + " registered")
	return nil
}

// checkNamespace looks for a namespace that somebody else has to make.
func (s *Starter) checkNamespace(ctx context.Context, say func(string)) error {
	err := s.raiseRetention(ctx, say)
	if _, unknown := errors.AsType[*serviceerror.NamespaceNotFound](err); unknown {
		return fmt.Errorf("namespace %s (TEMPORAL_NAMESPACE) is not there, and may not be made from here: make it by hand, with a retention of %d days", s.namespace, days(Retention))
	}
	if err == nil {
		say("namespace " + s.namespace + " is there")
	}
	return unavailable(err)
}

// forbidden says that Temporal does not let the asker do something, whenever it is
// asked for: a managed one has other ways to it.
func forbidden(err error) bool {
	code := serviceerror.ToStatus(err).Code()
	return code == codes.PermissionDenied || code == codes.Unimplemented
}

func days(d time.Duration) int { return int(d / (24 * time.Hour)) }

// raiseRetention gives a namespace that keeps closed jobs for a shorter time than
// Retention that time; one that keeps them longer is left alone.
func (s *Starter) raiseRetention(ctx context.Context, say func(string)) error {
	service := s.client.WorkflowService()
	answer, err := service.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: s.namespace})
	if err != nil {
		return fmt.Errorf("describe namespace %s: %w", s.namespace, err)
	}
	has := answer.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration()
	if has >= Retention {
		return nil
	}
	_, err = service.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: s.namespace,
		Config:    &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(Retention)},
	})
	if forbidden(err) {
		say(fmt.Sprintf("namespace %s keeps closed jobs for %d days, and may not be changed from here: by hand, make it %d, for their history is all that is known of them", s.namespace, days(has), days(Retention)))
		return nil
	}
	if err != nil {
		return fmt.Errorf("raise the retention of namespace %s from %s to %s: %w", s.namespace, has, Retention, err)
	}
	say(fmt.Sprintf("namespace %s: retention raised from %s to %s", s.namespace, has, Retention))
	return nil
}

func (s *Starter) setupAttributes(ctx context.Context, say func(string)) error {
	missing, err := s.missingAttributes(ctx)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		say("search attributes are there")
		return nil
	}
	_, err = s.client.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: s.namespace, SearchAttributes: missing})
	if forbidden(err) {
		return fmt.Errorf("search attributes are missing, and may not be added from here: by hand, add to namespace %s %s", s.namespace, listed(missing))
	}
	if err != nil {
		return fmt.Errorf("add search attributes: %w", unavailable(err))
	}
	say(fmt.Sprintf("%d search attributes added", len(missing)))
	return s.awaitAttributes(ctx)
}

func listed(attributes map[string]enumspb.IndexedValueType) string {
	var all []string
	for name, of := range attributes {
		all = append(all, name+"="+of.String())
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// missingAttributes are the search attributes that the namespace has not.
func (s *Starter) missingAttributes(ctx context.Context) (map[string]enumspb.IndexedValueType, error) {
	// A namespace that was registered a moment ago is not known to every part
	// of the server at once.
	list, err := retry(ctx, func() (*operatorservice.ListSearchAttributesResponse, error) {
		return s.client.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: s.namespace})
	})
	if forbidden(err) {
		return s.unknownAttributes(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for _, k := range workflows.SearchAttributes {
		have, ok := list.GetCustomAttributes()[k.GetName()]
		if ok && have != k.GetValueType() {
			return nil, fmt.Errorf("search attribute %s is of type %s: remove it, it must be %s", k.GetName(), have, k.GetValueType())
		}
		if !ok {
			missing[k.GetName()] = k.GetValueType()
		}
	}
	return missing, nil
}

// unknownAttributes are those that no query may name, where they may not be listed.
func (s *Starter) unknownAttributes(ctx context.Context) (map[string]enumspb.IndexedValueType, error) {
	missing := map[string]enumspb.IndexedValueType{}
	for _, k := range workflows.SearchAttributes {
		err := s.query(ctx, k.GetName()+" IS NULL")
		if _, unknown := errors.AsType[*serviceerror.InvalidArgument](err); unknown {
			missing[k.GetName()] = k.GetValueType()
		} else if err != nil {
			return nil, fmt.Errorf("look for search attribute %s: %w", k.GetName(), unavailable(err))
		}
	}
	return missing, nil
}

func (s *Starter) query(ctx context.Context, query string) error {
	_, err := s.client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: s.namespace, Query: query})
	return err
}

// awaitAttributes returns when the frontend knows the search attributes, so that
// a job that is asked for right after is accepted: a server on a SQL database
// reads them again every few seconds.
func (s *Starter) awaitAttributes(ctx context.Context) error {
	var known []string
	for _, k := range workflows.SearchAttributes {
		known = append(known, k.GetName()+" IS NULL")
	}
	_, err := until(ctx, func() (struct{}, error) {
		return struct{}{}, s.query(ctx, strings.Join(known, " AND "))
	}, func(err error) bool {
		_, unknown := errors.AsType[*serviceerror.InvalidArgument](err)
		return unknown
	})
	if err != nil {
		return fmt.Errorf("use the search attributes: %w", unavailable(err))
	}
	return nil
}

func (s *Starter) setupSweep(ctx context.Context, say func(string)) error {
	_, err := retry(ctx, func() (client.ScheduleHandle, error) {
		return s.client.ScheduleClient().Create(ctx, client.ScheduleOptions{
			ID:      workflows.SweepID,
			Spec:    client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: SweepEvery}}},
			Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
			Action: &client.ScheduleWorkflowAction{
				ID: workflows.SweepID, Workflow: workflows.SweepType, TaskQueue: workflows.TaskQueue,
				StaticSummary: "power on machines that closed runs left off",
			},
		})
	})
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		say("schedule " + workflows.SweepID + " is there")
		return nil
	}
	if err != nil {
		return fmt.Errorf("create schedule %s: %w", workflows.SweepID, unavailable(err))
	}
	say("schedule " + workflows.SweepID + " created")
	return nil
}

// retry repeats a call while the namespace is not known everywhere yet.
func retry[T any](ctx context.Context, call func() (T, error)) (T, error) {
	return until(ctx, call, func(err error) bool {
		_, unknown := errors.AsType[*serviceerror.NamespaceNotFound](err)
		return unknown
	})
}

// until repeats a call every second while it fails in the given way.
func until[T any](ctx context.Context, call func() (T, error), again func(error) bool) (T, error) {
	for {
		out, err := call()
		if !again(err) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, err
		case <-time.After(time.Second):
		}
	}
}
