package starter_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	commonpb "go.temporal.io/api/common/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"

	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// doors are two ways to one Temporal, as two APIs have them. No worker runs:
// what is started stays open until the test ends it.
type doors struct {
	client    client.Client
	one, two  *starter.Starter
	namespace string
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	path := os.Getenv("ROLLER_TEST_TEMPORAL")
	if path == "" {
		path = "../.bin/temporal"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	require.FileExists(t, path, "run `make test`, which builds Temporal's CLI first")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := stack.New(ctx, stack.Options{Dir: t.TempDir(), Temporal: path})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	c, err := s.Dial(ctx)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	d := &doors{client: c, namespace: s.Namespace}
	d.one = starter.New(c, s.Namespace, nil, 20*time.Second)
	d.two = starter.New(c, s.Namespace, nil, 20*time.Second)
	require.NoError(t, d.one.Setup(ctx, func(string) {}))
	return d
}

func request(task, machine string, keys ...string) starter.Request {
	r := starter.Request{Task: task, WorkerID: machine, WorkerGroup: "mdc1", ClientID: "sheriff"}
	for _, key := range keys {
		r.Repeats = append(r.Repeats, starter.Repeat{Key: key, For: time.Hour})
	}
	return r
}

func (d *doors) start(t *testing.T, r starter.Request) starter.Job {
	t.Helper()
	job, err := d.one.Start(t.Context(), r)
	require.NoError(t, err)
	return job
}

// end ends a job and waits until visibility has heard of it.
func (d *doors) end(t *testing.T, job starter.Job) {
	t.Helper()
	require.NoError(t, d.client.TerminateWorkflow(t.Context(), job.WorkflowID, job.TaskID, "the test is done with it"))
	require.Eventually(t, func() bool {
		answer, err := d.client.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
			Query: "RunId = '" + job.TaskID + "' AND ExecutionStatus = 'Terminated'",
		})
		return err == nil && len(answer.GetExecutions()) == 1
	}, time.Minute, 20*time.Millisecond)
}

// runs counts what was ever started under an ID.
func (d *doors) runs(t *testing.T, workflowID string) int {
	t.Helper()
	var answer *workflowservice.CountWorkflowExecutionsResponse
	last := -1
	require.Eventually(t, func() bool { // two counts that agree: visibility is at rest
		var err error
		answer, err = d.client.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: "WorkflowId = '" + workflowID + "'"})
		require.NoError(t, err)
		rests := last == int(answer.GetCount())
		last = int(answer.GetCount())
		return rests
	}, time.Minute, 300*time.Millisecond)
	return last
}

func TestRepeats(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	for name, test := range map[string]func(t *testing.T, d *doors, machine string){
		"of a start":             repeatsAStart,
		"of a join":              repeatsAJoin,
		"of a read":              repeatsARead,
		"of a refusal":           refusalsAreJudgedAnew,
		"at the same time":       repeatsAtOnce,
		"with two keys":          repeatsByEitherKey,
		"of another request":     keysAreNotReused,
		"left with another task": attachedToAnotherTask,
		"without a key":          withoutKeys,
		"of its words only":      boundKeys,
		"that may start nothing": startsNothing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			machine := filepath.Base(t.Name())
			test(t, d, machine)
		})
	}
}

// A repeat gets the first answer while the job runs, when it has ended, and when
// another job has the machine since.
func repeatsAStart(t *testing.T, d *doors, machine string) {
	first := d.start(t, request("reboot", machine, "start-1"))
	require.False(t, first.Repeated)
	for range 2 {
		require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, "start-1")).TaskID)
	}
	d.end(t, first)
	require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, "start-1")).TaskID)
	other := d.start(t, request("ipmi_off", machine, "start-2"))
	again := d.start(t, request("reboot", machine, "start-1"))
	require.Equal(t, first.TaskID, again.TaskID, "no conflict with what began since")
	require.True(t, again.Repeated)
	d.end(t, other)
	require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, "start-1")).TaskID)
	require.Equal(t, 2, d.runs(t, first.WorkflowID))
}

func repeatsAJoin(t *testing.T, d *doors, machine string) {
	first := d.start(t, request("reboot", machine, "join-1"))
	joined := d.start(t, request("reboot", machine, "join-2"))
	require.Equal(t, first.TaskID, joined.TaskID)
	require.True(t, joined.Joined)
	require.False(t, joined.Repeated)
	require.True(t, d.start(t, request("reboot", machine, "join-2")).Repeated)
	d.end(t, first)
	require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, "join-2")).TaskID)
	other := d.start(t, request("reboot", machine, "join-3"))
	require.NotEqual(t, first.TaskID, other.TaskID)
	again := d.start(t, request("reboot", machine, "join-2"))
	require.Equal(t, first.TaskID, again.TaskID, "the job that it joined, not the one that runs")
	require.True(t, again.Repeated)
	d.end(t, other)
	require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, "join-2")).TaskID)
	require.Equal(t, 2, d.runs(t, first.WorkflowID))
}

// A request that may start nothing joins what runs, hears the first answer again,
// and is told of a conflict; else it is refused.
func startsNothing(t *testing.T, d *doors, machine string) {
	held := func(task, key string) starter.Request {
		r := request(task, machine, key)
		r.NoStart = true
		return r
	}
	_, err := d.one.Start(t.Context(), held("reboot", "held-1"))
	require.ErrorIs(t, err, starter.ErrNotStarted, "a machine that never had a job")

	first := d.start(t, request("reboot", machine, "held-2"))
	joined := d.start(t, held("reboot", "held-3"))
	require.Equal(t, first.TaskID, joined.TaskID)
	require.True(t, joined.Joined)
	_, err = d.one.Start(t.Context(), held("ipmi_off", "held-4"))
	_, conflict := errors.AsType[*starter.Conflict](err)
	require.True(t, conflict, "%v", err)

	d.end(t, first)
	for _, key := range []string{"held-2", "held-3"} {
		again := d.start(t, held("reboot", key))
		require.Equal(t, first.TaskID, again.TaskID)
		require.True(t, again.Repeated)
	}
	_, err = d.one.Start(t.Context(), held("reboot", "held-5"))
	require.ErrorIs(t, err, starter.ErrNotStarted, "a machine whose job has ended")
	require.Equal(t, 1, d.runs(t, first.WorkflowID))
}

// A key that no request in other words can have is looked for as any other, but not
// once the machine's last job has ended for longer than a repeat may take.
func boundKeys(t *testing.T, d *doors, machine string) {
	bound := func(key string, lives time.Duration) starter.Request {
		r := request("reboot", machine)
		r.Repeats = []starter.Repeat{{Key: key, For: lives, Bound: true}}
		return r
	}
	first := d.start(t, bound("bound-1", time.Hour))
	require.Equal(t, first.TaskID, d.start(t, bound("bound-2", time.Hour)).TaskID, "joined")
	require.True(t, d.start(t, bound("bound-1", time.Hour)).Repeated)
	d.end(t, first)
	other := d.start(t, bound("bound-3", time.Hour))
	require.NotEqual(t, first.TaskID, other.TaskID)
	for _, key := range []string{"bound-1", "bound-2"} {
		again := d.start(t, bound(key, time.Hour))
		require.Equal(t, first.TaskID, again.TaskID, "what it started or joined, not the one that runs")
		require.True(t, again.Repeated)
	}
	d.end(t, other)
	require.Equal(t, first.TaskID, d.start(t, bound("bound-1", time.Hour)).TaskID)
	late := d.start(t, bound("bound-1", time.Nanosecond))
	require.False(t, late.Repeated)
	require.Equal(t, 3, d.runs(t, first.WorkflowID))
}

func repeatsARead(t *testing.T, d *doors, machine string) {
	first := d.start(t, request("ping", machine, "read-1"))
	require.Equal(t, first.TaskID, d.start(t, request("ping", machine, "read-1")).TaskID)
	require.NotEqual(t, first.TaskID, d.start(t, request("ping", machine, "read-2")).TaskID, "reads run side by side")
	d.end(t, first)
	again := d.start(t, request("ping", machine, "read-1"))
	require.Equal(t, first.TaskID, again.TaskID)
	require.True(t, again.Repeated)
	require.Equal(t, 1, d.runs(t, first.WorkflowID))
}

func refusalsAreJudgedAnew(t *testing.T, d *doors, machine string) {
	first := d.start(t, request("reboot", machine, "refusal-1"))
	_, err := d.one.Start(t.Context(), request("ipmi_off", machine, "refusal-2"))
	conflict, ok := errors.AsType[*starter.Conflict](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, first.TaskID, conflict.Running.TaskID)
	require.NoError(t, d.one.Cancel(t.Context(), first.WorkflowID, first.TaskID))
	_, err = d.one.Start(t.Context(), request("reboot", machine, "refusal-3"))
	conflict, ok = errors.AsType[*starter.Conflict](err)
	require.True(t, ok, "%v", err)
	require.True(t, conflict.Cancelling)
	require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, "refusal-1")).TaskID, "but a repeat is no join")
	d.end(t, first)
	second := d.start(t, request("ipmi_off", machine, "refusal-2"))
	require.NotEqual(t, first.TaskID, second.TaskID)
	require.False(t, second.Repeated)
}

func repeatsAtOnce(t *testing.T, d *doors, machine string) {
	const each = 10
	ids := make([]string, 2*each)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			door := map[bool]*starter.Starter{true: d.one, false: d.two}[i < each]
			job, err := door.Start(t.Context(), request("reboot", machine, "at-once"))
			if err == nil {
				ids[i] = job.TaskID
			}
		})
	}
	group.Wait()
	require.NotEmpty(t, ids[0])
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.Equal(t, 1, d.runs(t, "machine/mdc1/"+machine))
}

func repeatsByEitherKey(t *testing.T, d *doors, machine string) {
	first := d.start(t, request("reboot", machine, "key-1", "header-1"))
	joined := d.start(t, request("reboot", machine, "key-2", "header-2"))
	require.Equal(t, first.TaskID, joined.TaskID)
	d.end(t, first)
	for _, keys := range [][]string{{"key-1", "header-3"}, {"header-1"}, {"key-2", "header-4"}, {"header-2"}} {
		require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, keys...)).TaskID, "%v", keys)
	}
}

func keysAreNotReused(t *testing.T, d *doors, machine string) {
	first := d.start(t, request("reboot", machine, "reused"))
	read := d.start(t, request("ping", machine, "reused-read"))
	for _, job := range []starter.Job{first, read} { // visibility knows both
		d.end(t, job)
	}
	for what, r := range map[string]starter.Request{
		"another task": request("ipmi_off", machine, "reused"), "another machine": request("reboot", machine+"-2", "reused"),
		"a read": request("ping", machine, "reused"), "a read elsewhere": request("ping", machine+"-2", "reused-read"),
	} {
		_, err := d.one.Start(t.Context(), r)
		reused, ok := errors.AsType[*starter.Reused](err)
		require.True(t, ok, "%s: %v", what, err)
		require.Contains(t, []string{first.TaskID, read.TaskID}, reused.First.TaskID)
	}
	require.Zero(t, d.runs(t, "machine/mdc1/"+machine+"-2"))
}

// A join that came a moment too late leaves its key with a job of another task:
// that is no answer to it.
func attachedToAnotherTask(t *testing.T, d *doors, machine string) {
	other := d.start(t, request("ipmi_off", machine, "late-1"))
	_, err := d.client.WorkflowService().StartWorkflowExecution(t.Context(), &workflowservice.StartWorkflowExecutionRequest{
		Namespace: d.namespace, WorkflowId: other.WorkflowID, RequestId: "late-2",
		WorkflowType: &commonpb.WorkflowType{Name: "reboot"}, TaskQueue: &taskqueuepb.TaskQueue{Name: workflows.TaskQueue},
		WorkflowTaskTimeout:      durationpb.New(time.Second),
		WorkflowIdConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		OnConflictOptions:        &workflowpb.OnConflictOptions{AttachRequestId: true},
	})
	require.NoError(t, err)
	_, err = d.one.Start(t.Context(), request("reboot", machine, "late-2"))
	conflict, ok := errors.AsType[*starter.Conflict](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, other.TaskID, conflict.Running.TaskID)
	d.end(t, other)
	first := d.start(t, request("reboot", machine, "late-2"))
	require.NotEqual(t, other.TaskID, first.TaskID)
	d.end(t, first)
	require.Equal(t, first.TaskID, d.start(t, request("reboot", machine, "late-2")).TaskID)
}

// The command line asks without keys: each time anew, and joining leaves no
// trace.
func withoutKeys(t *testing.T, d *doors, machine string) {
	first := d.start(t, request("reboot", machine))
	require.True(t, d.start(t, request("reboot", machine)).Joined)
	require.Len(t, d.events(t, first), 2, "started, and a task for the workflow")
	joined := d.start(t, request("reboot", machine, "without-1"))
	require.Equal(t, first.TaskID, joined.TaskID)
	d.start(t, request("reboot", machine, "without-1"))
	require.Len(t, d.events(t, first), 3, "a key costs one event, a repeat none")
	d.end(t, first)
	require.NotEqual(t, first.TaskID, d.start(t, request("reboot", machine)).TaskID)
}

func (d *doors) events(t *testing.T, job starter.Job) []enumspb.EventType {
	t.Helper()
	var types []enumspb.EventType
	iter := d.client.GetWorkflowHistory(t.Context(), job.WorkflowID, job.TaskID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iter.HasNext() {
		event, err := iter.Next()
		require.NoError(t, err)
		types = append(types, event.GetEventType())
	}
	return types
}
