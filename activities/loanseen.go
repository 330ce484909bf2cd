package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/config"
)

// LoanPrefix is what LoanID begins with; the machine's name follows.
const LoanPrefix = "loan/"

// LoanID is the workflow ID of the run that is a machine's loan: there is one at most.
func LoanID(n config.Name) string { return LoanPrefix + n.String() }

// LoanMemo is the memo by which that run tells what the loan is, so that no worker need
// be asked: a LoanReading, without Until before the machine is handed over.
const LoanMemo = "loan"

// LoanReading is a machine's loan, as everybody can see it.
type LoanReading struct {
	ClientID string    `json:"client_id,omitempty"` // of whoever has it; "" of a loan that release 0.1.0 began
	Why      string    `json:"why,omitempty"`       // in their words
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"` // of the quarantine, if nobody returns the machine
	Bug      string    `json:"bug,omitempty"`  // its URL, once it is filed
}

// String is the loan in a line: to whom, since when, why, and the bug.
func (l LoanReading) String() string {
	text := "since " + l.Since.UTC().Format(time.DateTime) + " UTC"
	if l.ClientID != "" {
		text = "to " + l.ClientID + " " + text
	}
	if l.Why != "" {
		text += " (" + l.Why + ")"
	}
	if l.Bug != "" {
		text += ", " + l.Bug
	}
	return text
}

// ReadLoan reads the run that is a loan; nil if it is over, or the machine not handed
// over yet.
func ReadLoan(e *workflowpb.WorkflowExecutionInfo) *LoanReading {
	if e.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return nil
	}
	l := LoanReading{}
	memo, told := e.GetMemo().GetFields()[LoanMemo]
	if told && converter.GetDefaultDataConverter().FromPayload(memo, &l) == nil && l.Until.IsZero() {
		return nil
	}
	if l.Since.IsZero() { // it is one of release 0.1.0, or its memo is no reading
		l.Since = e.GetStartTime().AsTime()
	}
	return &l
}

// loanTimeout bounds the look for a machine's loan: a job does not wait for it.
const loanTimeout = 5 * time.Second

// loanOf asks Temporal for a machine's loan; nil if there is none.
func (a *Activities) loanOf(ctx context.Context, n config.Name) (*LoanReading, error) {
	ctx, cancel := context.WithTimeout(ctx, loanTimeout)
	defer cancel()
	answer, err := a.Runs.DescribeWorkflowExecution(ctx, LoanID(n), "")
	if _, none := errors.AsType[*serviceerror.NotFound](err); none {
		return nil, nil //nolint:nilnil // it has never been lent, or not for long
	}
	if err != nil {
		return nil, fmt.Errorf("look for the loan of %s: %w", n, err)
	}
	return ReadLoan(answer.GetWorkflowExecutionInfo()), nil
}

// loanBeside is the loan of a machine that somebody else's task is asked for. One that
// cannot be looked for keeps back no job.
func (a *Activities) loanBeside(ctx context.Context, m config.Machine, task string) *LoanReading {
	if a.Runs == nil || config.IsRead(task) || config.IsLoan(task) || missing(a.Config, m, config.Loan) != "" {
		return nil
	}
	l, err := a.loanOf(ctx, m.Name)
	if err != nil {
		activity.GetLogger(ctx).Warn("whether it is on loan is not known", "worker_id", m.WorkerID, "worker_group", m.WorkerGroup, "err", err)
	}
	return l
}
