package starter

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// loansPage is how many loans one list call asks for: more than a fleet has.
const loansPage = 1000

// Loans returns the machines that are on loan, by their "group/id". Errors:
// ErrUnavailable.
func (s *Starter) Loans(ctx context.Context) (map[string]workflows.LoanReading, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	list := &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("WorkflowType = %q AND ExecutionStatus = %q", workflows.LoanType, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING), PageSize: loansPage,
	}
	loans := map[string]workflows.LoanReading{}
	for {
		answer, err := s.client.ListWorkflow(ctx, list)
		if err != nil {
			return nil, unavailable(err)
		}
		for _, e := range answer.GetExecutions() {
			if l := workflows.ReadLoan(e); l != nil {
				loans[workflows.LoanOf(e.GetExecution().GetWorkflowId())] = *l
			}
		}
		if list.NextPageToken = answer.GetNextPageToken(); len(list.GetNextPageToken()) == 0 {
			return loans, nil
		}
	}
}
