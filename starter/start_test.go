package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"refused":          {serviceerror.NewUnavailable("connection refused"), true},
		"too slow":         {serviceerror.NewDeadlineExceeded("x"), true},
		"our own deadline": {fmt.Errorf("start: %w", context.DeadlineExceeded), true},
		"over its limits":  {status.Error(codes.ResourceExhausted, "x"), true},
		"namespace is wrong, or the server starts": {serviceerror.NewNamespaceNotFound("x"), true},
		"not allowed":    {serviceerror.NewPermissionDenied("x", ""), true}, // by an API key that is being replaced
		"an unknown key": {status.Error(codes.Unauthenticated, "x"), true},
		"ours":           {errors.New("x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := unavailable(test.err)
			require.Equal(t, test.want, errors.Is(err, ErrUnavailable))
			require.ErrorIs(t, err, test.err, "the cause is kept for the log")
		})
	}
}

// Promise 1: the ID decides what excludes what.
func TestRequestID(t *testing.T) {
	t.Parallel()
	n := config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}
	request := func(task string, keys ...Repeat) *workflowservice.StartWorkflowExecutionRequest {
		r, err := (&Starter{namespace: "default"}).request(Request{Task: task, Repeats: keys}, n)
		require.NoError(t, err)
		return r
	}
	for _, task := range config.Tasks() {
		r := request(task)
		if config.IsRead(task) {
			require.True(t, strings.HasPrefix(r.GetWorkflowId(), "read/"+task+"/mdc1/ms1-10/"), r.GetWorkflowId())
			require.NotEqual(t, r.GetWorkflowId(), request(task).GetWorkflowId(), "reads run side by side")
			require.Equal(t, "read/"+task+"/mdc1/ms1-10/k", request(task, Repeat{Key: "k"}).GetWorkflowId(), "but for a repeat")
		} else {
			require.Equal(t, "machine/mdc1/ms1-10", r.GetWorkflowId())
		}
		require.Equal(t, enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL, r.GetWorkflowIdConflictPolicy())
		require.EqualValues(t, workflows.ClickPriority, r.GetPriority().GetPriorityKey())
		require.Zero(t, r.GetWorkflowRunTimeout().AsDuration()+r.GetWorkflowExecutionTimeout().AsDuration(), "a timeout runs no code")
	}
	bulk, err := (&Starter{}).request(Request{Task: "reboot", Bulk: true}, n)
	require.NoError(t, err)
	require.EqualValues(t, workflows.BulkPriority, bulk.GetPriority().GetPriorityKey())
	require.Equal(t, "machine/mdc1/ms1-10", request("a task of tomorrow").GetWorkflowId(), "what is not known as a read is exclusive")
}

func TestNameWithoutInventory(t *testing.T) {
	t.Parallel()
	n, err := (&Starter{}).name(Request{WorkerID: "MS1-10", WorkerGroup: "MDC1"})
	require.NoError(t, err)
	require.Equal(t, config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, n)
}

func TestJoinOrConflict(t *testing.T) {
	t.Parallel()
	crowd := map[string]*workflowpb.RequestIdInfo{}
	for i := range mostJoined {
		crowd[fmt.Sprint(i)] = nil
	}
	for name, test := range map[string]struct {
		running    string
		cancelling bool
		joined     map[string]*workflowpb.RequestIdInfo
		joins      bool
	}{
		"the same task":                  {running: "reboot", joins: true},
		"another task":                   {running: "ipmi_off"},
		"the same, but being cancelled":  {running: "reboot", cancelling: true},
		"the same, but joined too often": {running: "reboot", joined: crowd},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job, open, err := joinOrConflict(&workflowservice.DescribeWorkflowExecutionResponse{
				WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
					Type:      &commonpb.WorkflowType{Name: test.running},
					Execution: &commonpb.WorkflowExecution{WorkflowId: "machine/mdc1/ms1-10", RunId: "r1"},
				},
				WorkflowExtendedInfo: &workflowpb.WorkflowExecutionExtendedInfo{CancelRequested: test.cancelling, RequestIdInfos: test.joined},
			}, "reboot")
			require.True(t, open)
			if test.joins {
				require.NoError(t, err)
				require.Equal(t, Job{Task: "reboot", TaskID: "r1", WorkflowID: "machine/mdc1/ms1-10", Joined: true}, job)
				return
			}
			require.ErrorContains(t, err, "r1")
			conflict, ok := errors.AsType[*Conflict](err)
			require.Equal(t, test.joined == nil, ok)
			require.Equal(t, test.joined != nil, errors.Is(err, ErrCrowded))
			if ok {
				require.Equal(t, "r1", conflict.Running.TaskID)
				require.Equal(t, test.cancelling, conflict.Cancelling)
			}
		})
	}
}
