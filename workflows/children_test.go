package workflows

import (
	"testing"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// children notes the options of every child that a run starts.
type children struct {
	interceptor.WorkerInterceptorBase
	options []workflow.ChildWorkflowOptions
}

func (c *children) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &childrenIn{children: c}
	in.Next = next
	return in
}

type childrenIn struct {
	interceptor.WorkflowInboundInterceptorBase
	children *children
}

func (in *childrenIn) Init(next interceptor.WorkflowOutboundInterceptor) error {
	out := &childrenOut{children: in.children}
	out.Next = next
	return in.Next.Init(out)
}

type childrenOut struct {
	interceptor.WorkflowOutboundInterceptorBase
	children *children
}

func (out *childrenOut) ExecuteChildWorkflow(ctx workflow.Context, kind string, args ...any) workflow.ChildWorkflowFuture {
	out.children.options = append(out.children.options, workflow.GetChildWorkflowOptions(ctx))
	return out.Next.ExecuteChildWorkflow(ctx, kind, args...)
}

// What becomes of a child when its parent is closed is half of promises 4 and 9,
// and runs no code: a bug and a power-on outlive their parents, a job is
// cancelled, so that it powers on, with the run that was started by hand for it.
func TestWhatBecomesOfChildren(t *testing.T) {
	t.Parallel()
	abandon, cancel := enumspb.PARENT_CLOSE_POLICY_ABANDON, enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL
	left := LeftOff{Machine: ms1, Rung: "snmp_rebootdelay", RunID: "x"}
	for name, c := range map[string]struct {
		id, task string
		input    any
		child    string
		policy   enumspb.ParentClosePolicy
		reuse    enumspb.WorkflowIdReusePolicy
		waits    bool
	}{
		"a job's bug": {id: MachineID(ms1), task: "reboot", input: Job{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, child: BugID(ms1), policy: abandon},
		"a job started by hand": {
			id: "random", task: "reboot", input: Job{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, child: MachineID(ms1), policy: cancel, waits: true,
		},
		"the sweep's restore": {
			id: SweepID, task: SweepType, child: RestoreID("x"), policy: abandon,
			// One restore that succeeded is enough for ever: the run keeps RollerOff.
			reuse: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
		},
		"a restore's power-on": {id: RestoreID("x"), task: RestoreType, input: left, child: MachineID(ms1), policy: abandon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot", "ssh_reboot", "file_bugzilla_bug")
			seen := &children{}
			w.env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{seen}})
			w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: c.id, TaskQueue: TaskQueue})
			w.env.OnActivity(a.FindLeftOff, mock.Anything).Return([]activities.LeftOff{left}, nil).Maybe()
			if c.task == "reboot" {
				w.answers = []answer{ignored}
			} else {
				w.answers = []answer{isOn}
			}
			if c.input == nil {
				w.env.ExecuteWorkflow(c.task)
			} else {
				w.env.ExecuteWorkflow(c.task, c.input)
			}
			require.True(t, w.env.IsWorkflowCompleted())
			require.NoError(t, w.env.GetWorkflowError())
			require.NotEmpty(t, seen.options)
			first := seen.options[0]
			require.Equal(t, c.child, first.WorkflowID)
			require.Equal(t, c.policy, first.ParentClosePolicy)
			require.Equal(t, c.reuse, first.WorkflowIDReusePolicy)
			require.Equal(t, c.waits, first.WaitForCancellation)
		})
	}
}

// A bug run that a person starts under any other ID than the machine's bug's, by
// whatever spelling, files nothing.
func TestBugStartedByHand(t *testing.T) {
	t.Parallel()
	spelled := ms1
	spelled.WorkerID, spelled.WorkerGroup = "MS1-10", "none"
	for id, files := range map[string]bool{BugID(ms1): true, "random": false, BugID(spelled): false} {
		w := newWorld(t, BugType)
		w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id, TaskQueue: TaskQueue})
		w.env.ExecuteWorkflow(BugType, BugInput{Bug: activities.Bug{Machine: spelled}, Limit: w.plan.Timing.BugLimit, Retry: w.plan.Timing.BugRetry})
		err := w.env.GetWorkflowError()
		if files {
			require.NoError(t, err)
			require.Len(t, w.bugs, 1)
			require.Equal(t, ms1, w.bugs[0].Machine)
			continue
		}
		var e *temporal.ApplicationError
		require.ErrorAs(t, err, &e)
		require.Equal(t, ConflictError, e.Type())
		require.Empty(t, w.bugs)
	}
}
