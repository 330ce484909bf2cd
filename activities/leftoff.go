package activities

import (
	"context"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/config"
)

// OffAttribute is the search attribute of a run that has powered a machine off
// and not read it as on again; its value is the rung that did so.
const OffAttribute = "RollerOff"

// LeftOff is a closed run that left a machine off.
type LeftOff struct {
	Machine    config.Name `json:"machine"`
	Rung       string      `json:"rung"`
	WorkflowID string      `json:"workflow_id"`
	RunID      string      `json:"run_id"`
	ClosedAt   time.Time   `json:"closed_at,omitzero"`
}

// Visibility lists runs; Temporal's client does it.
type Visibility interface {
	ListWorkflow(ctx context.Context, request *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error)
}

// leftOffPage is how many runs one list call asks for. A fleet has a handful
// at most; the sweep reads all pages all the same.
const leftOffPage = 100

// FindLeftOff lists the closed runs that left a machine off: terminated, reset
// or ended after ON_LIMIT.
func (a *Activities) FindLeftOff(ctx context.Context) ([]LeftOff, error) {
	var found []LeftOff
	var page []byte
	for {
		answer, err := a.Visibility.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:    OffAttribute + ` IS NOT NULL AND ExecutionStatus != "Running"`,
			PageSize: leftOffPage, NextPageToken: page,
		})
		if err != nil {
			return nil, fail(notSent("list the runs that left a machine off: %w", err))
		}
		for _, e := range answer.GetExecutions() {
			fields := e.GetSearchAttributes().GetIndexedFields()
			found = append(found, LeftOff{
				Machine:    config.Name{WorkerID: keyword(fields["RollerWorkerId"]), WorkerGroup: keyword(fields["RollerWorkerGroup"])},
				Rung:       keyword(fields[OffAttribute]),
				WorkflowID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(),
				ClosedAt: e.GetCloseTime().AsTime(),
			})
		}
		if page = answer.GetNextPageToken(); len(page) == 0 {
			return found, nil
		}
	}
}

// keyword decodes a search attribute of type Keyword; "" if it is none.
func keyword(p *common.Payload) string {
	var s string
	if p == nil || converter.GetDefaultDataConverter().FromPayload(p, &s) != nil {
		return ""
	}
	return s
}
