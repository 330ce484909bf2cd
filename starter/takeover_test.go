package starter

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// part is one activity of a job that holds devices.
type part func(ctx context.Context, holder workflows.Holder) error

// lost is how an attempt ends whose worker is gone: nobody reports it, and the
// server gives it up after its heartbeat timeout.
var lost = activity.ErrResultPending

// job runs parts one after the other, whatever becomes of each, and is done when
// the last one is.
func (w *world) job(t *testing.T, attempts int32, parts ...part) client.WorkflowRun {
	t.Helper()
	c := w.dial(t, nil)
	queue := "job-" + strings.ReplaceAll(t.Name(), "/", "-")
	served := worker.New(c, queue, worker.Options{MaxHeartbeatThrottleInterval: 100 * time.Millisecond})
	served.RegisterActivityWithOptions(func(ctx context.Context, n int) error {
		info := activity.GetInfo(ctx)
		return parts[n](ctx, workflows.Holder{
			WorkflowID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID,
			ActivityID: info.ActivityID, Attempt: info.Attempt,
		})
	}, activity.RegisterOptions{Name: "part"})
	served.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Hour, HeartbeatTimeout: 2 * time.Second, WaitForCancellation: true,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumAttempts: attempts},
		})
		var err error
		for n := range parts {
			err = workflow.ExecuteActivity(ctx, "part", n).Get(ctx, nil)
		}
		return err
	}, workflow.RegisterOptions{Name: "job"})
	require.NoError(t, served.Start())
	t.Cleanup(served.Stop)
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: queue}, "job")
	require.NoError(t, err)
	return run
}

// holding is a turn that only a takeover ends in this test's time.
func holding(device string, interval time.Duration, h workflows.Holder) workflows.TurnAsk {
	ask := at(device)
	ask.Lease, ask.Interval, ask.Holder = time.Hour, interval, h
	return ask
}

// taken is a part that takes a turn and is lost with it.
func (w *world) taken(t *testing.T, device string, interval time.Duration, held chan<- workflows.HeldTurn) part {
	t.Helper()
	p := w.process(t, nil)
	return func(ctx context.Context, h workflows.Holder) error {
		turn, err := p.Take(ctx, holding(device, interval, h))
		if err != nil {
			return err
		}
		held <- turn
		return lost
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, test := range map[string]func(*testing.T, *world){
		"by the next attempt":                      nextAttempt,
		"by another activity of the job":           nextActivity,
		"by another job":                           anotherJob,
		"never of one that lives":                  livingHolder,
		"never of one whose run was closed":        closedRun,
		"a rest that its holder waits for is kept": restKept,
		"a turn is his for whom it was asked for":  nobodyElses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// The next attempt of an activity whose worker was killed does not wait for the
// lease, but the device rests.
func nextAttempt(t *testing.T, w *world) {
	const interval = timedRest
	held := make(chan workflows.HeldTurn, 2)
	first, second := w.taken(t, "attempt", interval, held), w.taken(t, "attempt", interval, held)
	w.job(t, 2, func(ctx context.Context, h workflows.Holder) error {
		if h.Attempt == 1 {
			return first(ctx, h)
		}
		return second(ctx, h)
	})
	<-held
	turn := <-held
	require.GreaterOrEqual(t, w.rested(t, "attempt"), interval)
	turn.Release()
}

// rested is how long the device rested after the turn before the one that is open.
func (w *world) rested(t *testing.T, device string) time.Duration {
	t.Helper()
	c := w.dial(t, nil)
	id := workflows.DeviceID(at(device).Device)
	open, err := c.DescribeWorkflowExecution(t.Context(), id, "")
	require.NoError(t, err)
	var before string
	require.Eventually(t, func() bool {
		list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{Query: "WorkflowId = '" + id + "'"})
		if err != nil {
			return false
		}
		for _, e := range list.GetExecutions() {
			if run := e.GetExecution().GetRunId(); run != open.GetWorkflowExecutionInfo().GetExecution().GetRunId() {
				before = run
			}
		}
		return before != ""
	}, time.Minute, 100*time.Millisecond)
	iter := c.GetWorkflowHistory(t.Context(), id, before, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iter.HasNext() {
		event, err := iter.Next()
		require.NoError(t, err)
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED {
			return open.GetWorkflowExecutionInfo().GetStartTime().AsTime().Sub(event.GetEventTime().AsTime())
		}
	}
	require.Fail(t, "the turn before was not given back")
	return 0
}

// The power-on of a job whose power-off was lost takes the device over.
func nextActivity(t *testing.T, w *world) {
	held := make(chan workflows.HeldTurn, 2)
	w.job(t, 1, w.taken(t, "activity", 0, held), w.taken(t, "activity", 0, held))
	<-held
	(<-held).Release()
}

// Another job takes it over, and need not wait in one piece until it does.
func anotherJob(t *testing.T, w *world) {
	held := make(chan workflows.HeldTurn, 1)
	w.job(t, 1, w.taken(t, "job", 0, held))
	<-held
	p := w.process(t, nil)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), turnLook/2)
		defer cancel()
		turn, err := p.Take(ctx, at("job"))
		if err != nil {
			return false
		}
		turn.Release()
		return true
	}, time.Minute, time.Millisecond)
}

// looking is a process that waits for a device which another has, and how to
// wait until it has looked at that one's job so often.
func (w *world) looking(t *testing.T, device string) (got chan workflows.HeldTurn, looked func(int32)) {
	t.Helper()
	var looks atomic.Int32
	p := w.process(t, func(ctx context.Context, name string, in, out any, cc *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
		err := call(ctx, name, in, out, cc, o...)
		if jobAsked(in) {
			looks.Add(1)
		}
		return err
	})
	got = make(chan workflows.HeldTurn, 1)
	go func() { got <- take(t, p, at(device)) }()
	return got, func(n int32) {
		require.Eventually(t, func() bool { return looks.Load() >= n }, 2*time.Minute, 10*time.Millisecond)
	}
}

// jobAsked reports whether a request asks what became of a holder's job.
func jobAsked(request any) bool {
	d, ok := request.(*workflowservice.DescribeWorkflowExecutionRequest)
	return ok && !strings.HasPrefix(d.GetExecution().GetWorkflowId(), "device/")
}

func livingHolder(t *testing.T, w *world) {
	p := w.process(t, nil)
	held, release := make(chan struct{}), make(chan struct{})
	w.job(t, 1, func(ctx context.Context, h workflows.Holder) error {
		turn := take(t, p, holding("living", 0, h)) //nolint:contextcheck // bounded by the test
		defer turn.Release()
		close(held)
		for {
			select {
			case <-release:
				return nil
			case <-time.After(200 * time.Millisecond):
				activity.RecordHeartbeat(ctx)
			}
		}
	})
	<-held
	got, looked := w.looking(t, "living")
	looked(2)
	require.Empty(t, got)
	close(release)
	(<-got).Release()
}

// What was closed under its attempt by a terminate says nothing of it: the lease
// counts, as for every other holder that lives.
func closedRun(t *testing.T, w *world) {
	p := w.process(t, nil)
	held := make(chan workflows.HeldTurn, 1)
	run := w.job(t, 1, func(ctx context.Context, h workflows.Holder) error {
		held <- take(t, p, holding("closed", 0, h)) //nolint:contextcheck // bounded by the test
		<-ctx.Done()
		return ctx.Err()
	})
	turn := <-held
	require.NoError(t, w.dial(t, nil).TerminateWorkflow(t.Context(), run.GetID(), run.GetRunID(), "by hand"))
	got, looked := w.looking(t, "closed")
	looked(2)
	require.Empty(t, got)
	turn.Release()
	(<-got).Release()
}

// Who has ended properly waits for a short interval by itself:
// another process that finds it over just then lets it.
func restKept(t *testing.T, w *world) {
	const interval = 900 * time.Millisecond
	var once sync.Once
	p := w.process(t, nil)
	held, end, ended := make(chan struct{}), make(chan struct{}), make(chan time.Time, 1)
	run := w.job(t, 1, func(ctx context.Context, h workflows.Holder) error {
		turn := take(t, p, holding("rest", interval, h)) //nolint:contextcheck // bounded by the test
		close(held)
		for {
			select {
			case <-end:
				turn.Release()
				ended <- time.Now()
				return nil
			case <-time.After(200 * time.Millisecond):
				activity.RecordHeartbeat(ctx)
			}
		}
	})
	<-held
	other := w.process(t, func(ctx context.Context, name string, in, out any, cc *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
		if jobAsked(in) {
			once.Do(func() {
				close(end)
				_ = run.Get(ctx, nil)
			})
		}
		return call(ctx, name, in, out, cc, o...)
	})
	turn := take(t, other, holding("rest", interval, workflows.Holder{}))
	require.GreaterOrEqual(t, turn.Began.Sub(<-ended), interval)
	turn.Release()
}

// A turn that was asked for by one who left is nobody's: its run would say that
// it is over while another has the device.
func nobodyElses(t *testing.T, w *world) {
	p := w.process(t, nil)
	gone := &waiter{ask: at("left-behind"), turn: make(chan workflows.HeldTurn, 1)}
	waiting := &waiter{ask: at("left-behind"), turn: make(chan workflows.HeldTurn, 1)}
	l := p.line(waiting.ask.Device)
	l.join(gone)
	l.join(waiting)
	ctx, first := l.next()
	require.Same(t, gone, first)
	_, left := l.leave(gone)
	require.True(t, left)
	p.askFor(ctx, l, gone)
	require.Empty(t, waiting.turn)
	ctx, first = l.next()
	require.Same(t, waiting, first)
	for len(waiting.turn) == 0 { // the one that nobody has is given back first
		p.askFor(ctx, l, waiting)
	}
	turn := <-waiting.turn
	turn.Release()
}
