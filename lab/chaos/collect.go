package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// histories is how many histories are read at once.
const histories = 4

// runs reads every run's history, and looks through it for secrets.
func (s *site) runs(ctx context.Context) ([]check.Run, []check.Violation, error) {
	infos, err := s.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	runs, found := make([]check.Run, len(infos)), make([][]check.Violation, len(infos))
	errs := make([]error, histories)
	var reading sync.WaitGroup
	for reader := range histories {
		reading.Go(func() {
			for i := reader; i < len(infos) && errs[reader] == nil; i += histories {
				runs[i], found[i], errs[reader] = s.run(ctx, infos[i])
			}
		})
	}
	reading.Wait()
	var all []check.Violation
	for _, f := range found {
		all = append(all, f...)
	}
	for _, err := range errs {
		if err != nil {
			return nil, nil, err
		}
	}
	return runs, all, nil
}

// list reads all pages of the list of runs.
func (s *site) list(ctx context.Context) ([]*workflowpb.WorkflowExecutionInfo, error) {
	var infos []*workflowpb.WorkflowExecutionInfo
	var page []byte
	for {
		answer, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1000, NextPageToken: page})
		if err != nil {
			return nil, fmt.Errorf("list the runs: %w", err)
		}
		infos = append(infos, answer.GetExecutions()...)
		if page = answer.GetNextPageToken(); len(page) == 0 {
			return infos, nil
		}
	}
}

func (s *site) run(ctx context.Context, info *workflowpb.WorkflowExecutionInfo) (check.Run, []check.Violation, error) {
	r := check.Run{
		WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(),
		Type: info.GetType().GetName(), Status: info.GetStatus().String(), Start: info.GetStartTime().AsTime(),
		Parent: info.GetParentExecution().GetRunId(),
		Off:    keyword(info.GetSearchAttributes().GetIndexedFields()[activities.OffAttribute]),
	}
	if info.GetCloseTime() != nil {
		r.Close = info.GetCloseTime().AsTime()
	}
	var found []check.Violation
	acts := map[int64]int{} // by the event that scheduled it
	iter := s.client.GetWorkflowHistory(ctx, r.WorkflowID, r.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iter.HasNext() {
		event, err := iter.Next()
		if err != nil {
			return r, nil, fmt.Errorf("history of %s %s: %w", r.WorkflowID, r.RunID, err)
		}
		raw, err := proto.Marshal(event)
		if err != nil {
			return r, nil, err
		}
		found = append(found, check.InText(fmt.Sprintf("event %d (%s) of %s %s", event.GetEventId(), event.GetEventType(), r.WorkflowID, r.RunID), raw, s.secrets)...)
		read(&r, acts, event)
	}
	return r, found, nil
}

// read takes from one event what the checkers need.
func read(r *check.Run, acts map[int64]int, event *historypb.HistoryEvent) {
	end := func(scheduled int64) {
		if i, ok := acts[scheduled]; ok {
			r.Acts[i].Closed, r.Acts[i].End = event.GetEventTime().AsTime(), event.GetEventType().String()
		}
	}
	switch event.GetEventType() {
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		a := event.GetActivityTaskScheduledEventAttributes()
		var in struct {
			Machine config.Name       `json:"machine"`
			Action  activities.Action `json:"action"`
		}
		_ = converter.GetDefaultDataConverter().FromPayloads(a.GetInput(), &in) // one that has neither
		act := check.Act{Type: a.GetActivityType().GetName(), Action: string(in.Action), Scheduled: event.GetEventTime().AsTime()}
		if in.Machine.WorkerID != "" {
			act.Machine = in.Machine.String()
		}
		acts[event.GetEventId()] = len(r.Acts)
		r.Acts = append(r.Acts, act)
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED:
		a := event.GetActivityTaskStartedEventAttributes()
		if i, ok := acts[a.GetScheduledEventId()]; ok {
			r.Acts[i].Attempts = a.GetAttempt()
		}
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		end(event.GetActivityTaskCompletedEventAttributes().GetScheduledEventId())
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		end(event.GetActivityTaskFailedEventAttributes().GetScheduledEventId())
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		end(event.GetActivityTaskTimedOutEventAttributes().GetScheduledEventId())
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
		end(event.GetActivityTaskCanceledEventAttributes().GetScheduledEventId())
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
		r.Cancelled = true
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
		r.Result = record(event.GetWorkflowExecutionCompletedEventAttributes().GetResult())
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
		r.Result = record(event.GetWorkflowExecutionCanceledEventAttributes().GetDetails())
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
		failure := event.GetWorkflowExecutionFailedEventAttributes().GetFailure()
		r.Failure = failure.GetMessage()
		r.Result = record(failure.GetApplicationFailureInfo().GetDetails())
	default:
	}
}

// record is a job's record, nil if these are none.
func record(p *commonpb.Payloads) *workflows.Result {
	var r workflows.Result
	if len(p.GetPayloads()) == 0 || converter.GetDefaultDataConverter().FromPayloads(p, &r) != nil || r.Task == "" {
		return nil
	}
	return &r
}

// keyword decodes a search attribute; "" if it is not set.
func keyword(p *commonpb.Payload) string {
	var s string
	if p == nil || converter.GetDefaultDataConverter().FromPayload(p, &s) != nil {
		return ""
	}
	return s
}

// texts looks through what was said where people read it.
func (s *site) texts(posts []check.Post) ([]check.Violation, error) {
	var found []check.Violation
	paths, err := filepath.Glob(filepath.Join(s.Dir, "*.log"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path) //nolint:gosec // the run's own logs
		if err != nil {
			return nil, err
		}
		found = append(found, check.InText(filepath.Base(path), text, s.secrets)...)
	}
	for _, b := range s.bugs.Bugs() {
		text := b.Summary + "\n" + strings.Join(b.Comments, "\n") + fmt.Sprint(b.Fields)
		found = append(found, check.InText(fmt.Sprintf("bug %d", b.ID), []byte(text), s.secrets)...)
	}
	for _, p := range posts {
		found = append(found, check.InText("the answer to a POST", []byte(p.Error), s.secrets)...)
	}
	return found, nil
}
