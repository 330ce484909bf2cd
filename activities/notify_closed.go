package activities

import (
	"context"
	"encoding/json"
	"errors"

	common "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
)

// closed asks Temporal for a run's last event, which it answers when there is one.
func (a *Activities) closed(ctx context.Context, run RunRef) (Closed, error) {
	events := a.Runs.GetWorkflowHistory(ctx, run.WorkflowID, run.RunID, true, enumspb.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
			return Closed{}, meaning(BadInput, "run %s is not known any more", run.RunID)
		}
		if err != nil {
			return Closed{}, notSent("wait for run %s: %w", run.RunID, err)
		}
		if closed, ok := closing(event); ok {
			return closed, nil
		}
	}
	return Closed{}, notSent("wait for run %s: its history has no end", run.RunID)
}

// closing reads how a run ended from its last event; a failure and a cancel carry
// the record as their details.
func closing(event *historypb.HistoryEvent) (Closed, bool) {
	switch event.GetEventType() {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
		return Closed{"completed", recordIn(event.GetWorkflowExecutionCompletedEventAttributes().GetResult())}, true
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
		info := event.GetWorkflowExecutionFailedEventAttributes().GetFailure().GetApplicationFailureInfo()
		return Closed{"failed", recordIn(info.GetDetails())}, true
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
		return Closed{"cancelled", recordIn(event.GetWorkflowExecutionCanceledEventAttributes().GetDetails())}, true
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
		return Closed{How: "terminated"}, true
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
		return Closed{How: "timed out"}, true
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
		return Closed{How: "continued"}, true
	default:
		return Closed{}, false
	}
}

// recordIn is the first payload, which is JSON.
func recordIn(p *common.Payloads) json.RawMessage {
	if len(p.GetPayloads()) == 0 || !json.Valid(p.GetPayloads()[0].GetData()) {
		return nil
	}
	return p.GetPayloads()[0].GetData()
}
