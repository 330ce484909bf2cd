package activities

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

var (
	lentAt   = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	lentTo   = LoanReading{ClientID: "sheriff", Why: "bug 1", Since: lentAt, Until: lentAt.AddDate(10, 0, 0), Bug: "https://bugs.example/7"}
	lentLine = "to sheriff since 2024-05-01 12:00:00 UTC (bug 1), https://bugs.example/7"
)

// loanRun is the run of a loan with that memo; nil: with none.
func loanRun(t *testing.T, memo any) *workflowpb.WorkflowExecutionInfo {
	t.Helper()
	info := &workflowpb.WorkflowExecutionInfo{Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, StartTime: timestamppb.New(lentAt.Add(-time.Minute))}
	if memo != nil {
		p, err := converter.GetDefaultDataConverter().ToPayload(memo)
		require.NoError(t, err)
		info.Memo = &commonpb.Memo{Fields: map[string]*commonpb.Payload{LoanMemo: p}}
	}
	return info
}

func TestReadLoan(t *testing.T) {
	t.Parallel()
	require.Equal(t, &lentTo, ReadLoan(loanRun(t, lentTo)))
	require.Equal(t, lentLine, lentTo.String())
	require.Nil(t, ReadLoan(loanRun(t, LoanReading{ClientID: "sheriff"})), "it is not handed over yet")
	old := ReadLoan(loanRun(t, nil))
	require.Equal(t, &LoanReading{Since: lentAt.Add(-time.Minute)}, old, "of release 0.1.0")
	require.Equal(t, "since 2024-05-01 11:59:00 UTC", old.String())
	require.Equal(t, old, ReadLoan(loanRun(t, 7)), "somebody's own memo")
	over := loanRun(t, lentTo)
	over.Status = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	require.Nil(t, ReadLoan(over))
}

func TestStatusOfALoan(t *testing.T) {
	t.Parallel()
	r, _ := statusRig(t, lab.Faults{})
	var asked string
	r.Runs = openRuns{list: noRuns, loan: func(_ context.Context, id string) (*workflowpb.WorkflowExecutionInfo, error) {
		asked = id
		return loanRun(t, lentTo), nil
	}}
	s, text := r.ask(t)
	require.Equal(t, "loan/mdc1/ms1-10", asked)
	require.Equal(t, &lentTo, s.Loan)
	require.Contains(t, text, "\nloan                              "+lentLine)
	r.Runs = openRuns{list: noRuns, loan: func(context.Context, string) (*workflowpb.WorkflowExecutionInfo, error) {
		return nil, errors.New("connection\nrefused")
	}}
	_, text = r.ask(t)
	require.Contains(t, text, "\nloan                              not known: Temporal cannot be asked: look for the loan of mdc1/ms1-10: connection refused")
}

// Whoever asks for something else of a machine on loan is told so, and nothing is kept
// back by a look for a loan that fails.
func TestResolveTellsOfALoan(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{})
	r.Config.Taskcluster.RootURL, r.Config.Taskcluster.ClientID = "https://tc.example", "roller"
	r.Config.Taskcluster.AccessToken = config.NewSecret("s3cret-roller")
	looks := 0
	there := func(context.Context, string) (*workflowpb.WorkflowExecutionInfo, error) {
		looks++
		return loanRun(t, lentTo), nil
	}
	gone := func(context.Context, string) (*workflowpb.WorkflowExecutionInfo, error) {
		return nil, errors.New("refused")
	}
	for name, test := range map[string]struct {
		task  string
		runs  Runs
		want  *LoanReading
		looks int
	}{
		"on loan":            {task: "ipmi_reset", runs: openRuns{loan: there}, want: &lentTo, looks: 1},
		"not on loan":        {task: "ipmi_reset", runs: openRuns{}},
		"not known":          {task: "ipmi_reset", runs: openRuns{loan: gone}},
		"a read":             {task: "ping", runs: openRuns{loan: there}},
		"the loan's own end": {task: "return_loan", runs: openRuns{loan: there}},
		"in a terminal":      {task: "ipmi_reset"},
	} {
		looks = 0
		r.Runs = test.runs
		plan, err := execute(t, r.ResolveJob, ResolveInput{Task: test.task, WorkerID: r.name.WorkerID, WorkerGroup: r.name.WorkerGroup}, call{})
		require.NoError(t, err, name)
		require.Equal(t, test.want, plan.Loan, name)
		require.Equal(t, test.looks, looks, name)
	}
	r.Config.Taskcluster.ClientID, r.Runs, looks = "", openRuns{loan: there}, 0
	_, err := execute(t, r.ResolveJob, ResolveInput{Task: "ipmi_reset", WorkerID: r.name.WorkerID, WorkerGroup: r.name.WorkerGroup}, call{})
	require.NoError(t, err)
	require.Zero(t, looks, "where nothing can be lent nobody is asked")
}
