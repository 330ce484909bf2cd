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
)

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"refused":            {serviceerror.NewUnavailable("connection refused"), true},
		"too slow":           {serviceerror.NewDeadlineExceeded("x"), true},
		"our own deadline":   {fmt.Errorf("start: %w", context.DeadlineExceeded), true},
		"over its limits":    {status.Error(codes.ResourceExhausted, "x"), true},
		"namespace is wrong": {serviceerror.NewNamespaceNotFound("x"), false},
		"not allowed":        {serviceerror.NewPermissionDenied("x", ""), false},
		"ours":               {errors.New("x"), false},
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
func TestOptions(t *testing.T) {
	t.Parallel()
	n := config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}
	for _, task := range config.Tasks() {
		o := options(Request{Task: task}, n)
		if config.IsRead(task) {
			require.True(t, strings.HasPrefix(o.ID, "read/"+task+"/mdc1/ms1-10/"), o.ID)
			require.NotEqual(t, o.ID, options(Request{Task: task}, n).ID, "reads run side by side")
		} else {
			require.Equal(t, "machine/mdc1/ms1-10", o.ID)
		}
		require.Equal(t, enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL, o.WorkflowIDConflictPolicy)
		require.True(t, o.WorkflowExecutionErrorWhenAlreadyStarted, "or the old run comes back without an error")
		require.Zero(t, o.WorkflowRunTimeout+o.WorkflowExecutionTimeout, "a timeout runs no code")
	}
	require.Equal(t, "machine/mdc1/ms1-10", options(Request{Task: "a task of tomorrow"}, n).ID, "what is not known as a read is exclusive")
}

func TestNameWithoutInventory(t *testing.T) {
	t.Parallel()
	n, err := (&Starter{}).name(Request{WorkerID: "MS1-10", WorkerGroup: "MDC1"})
	require.NoError(t, err)
	require.Equal(t, config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, n)
}

func TestJoinOrConflict(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		running    string
		cancelling bool
		asked      string
		joins      bool
	}{
		"the same task":                 {"reboot", false, "reboot", true},
		"the same by another spelling":  {"xen_reboot", false, "xenapi_reboot", true},
		"another task":                  {"ipmi_off", false, "reboot", false},
		"the same, but being cancelled": {"reboot", true, "reboot", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job, open, err := joinOrConflict(&workflowservice.DescribeWorkflowExecutionResponse{
				WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
					Type:      &commonpb.WorkflowType{Name: test.running},
					Execution: &commonpb.WorkflowExecution{WorkflowId: "machine/mdc1/ms1-10", RunId: "r1"},
				},
				WorkflowExtendedInfo: &workflowpb.WorkflowExecutionExtendedInfo{CancelRequested: test.cancelling},
			}, test.asked)
			require.True(t, open)
			if test.joins {
				require.NoError(t, err)
				require.Equal(t, Job{Task: test.asked, TaskID: "r1", WorkflowID: "machine/mdc1/ms1-10", Joined: true}, job)
				return
			}
			conflict, ok := errors.AsType[*Conflict](err)
			require.True(t, ok)
			require.Equal(t, "r1", conflict.Running.TaskID)
			require.Equal(t, test.cancelling, conflict.Cancelling)
			require.Contains(t, conflict.Error(), "r1")
		})
	}
}
