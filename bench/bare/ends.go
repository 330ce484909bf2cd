package bare

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// endLimit is more than any of these activities takes.
const endLimit = 10 * time.Minute

// wait is a workflow of one activity.
func wait(ctx workflow.Context, i int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: endLimit})
	return workflow.ExecuteActivity(ctx, "wait", i).Get(ctx, nil)
}

// waits are activities that wait until they are told to end.
type waits struct {
	told    []chan struct{}
	running sync.WaitGroup
}

func (w *waits) activity(ctx context.Context, i int) error {
	w.running.Done()
	select {
	case <-w.told[i]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ends starts n workflows of one waiting activity each. When all wait, it lets one after
// the other end, and returns how long it took from there to each workflow's end.
func Ends(ctx context.Context, c client.Client, n int, every time.Duration) (l Load, err error) {
	queue := taskQueue + "/" + uuid.NewString()
	w := &waits{}
	w.running.Add(n)
	for range n {
		w.told = append(w.told, make(chan struct{}))
	}
	runs := worker.New(c, queue, worker.Options{})
	runs.RegisterWorkflowWithOptions(wait, workflow.RegisterOptions{Name: "bare"})
	runs.RegisterActivityWithOptions(w.activity, activity.RegisterOptions{Name: "wait"})
	if err := runs.Start(); err != nil {
		return l, err
	}
	defer runs.Stop()
	started := make([]client.WorkflowRun, n)
	for i := range n {
		if started[i], err = c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: fmt.Sprintf("%s/%d", queue, i), TaskQueue: queue}, "bare", i); err != nil {
			return l, err
		}
	}
	w.running.Wait()
	return Times(ctx, n, every, func(i int) error { close(w.told[i]); return nil }, func(ctx context.Context, i int) (time.Time, error) {
		return Ended(ctx, c, started[i].GetID(), started[i].GetRunID())
	})
}

// Times begins one of n things after the other, and returns how long each took from
// there to its end.
func Times(ctx context.Context, n int, every time.Duration, begin func(int) error, ended func(context.Context, int) (time.Time, error)) (Load, error) {
	l := Load{Each: make([]time.Duration, n)}
	errs := make(chan error, n)
	began := time.Now()
	for i := range n {
		at := time.Now()
		if err := begin(i); err != nil {
			return l, err
		}
		go func() {
			end, err := ended(ctx, i)
			l.Each[i] = end.Sub(at)
			errs <- err
		}()
		select {
		case <-ctx.Done():
			return l, ctx.Err()
		case <-time.After(every):
		}
	}
	for range n {
		if err := <-errs; err != nil {
			return l, err
		}
	}
	l.Elapsed = time.Since(began)
	return l, nil
}

// Ended waits for a workflow's end, and returns when that was by the server's clock, which
// is this machine's.
func Ended(ctx context.Context, c client.Client, id, run string) (time.Time, error) {
	if err := c.GetWorkflow(ctx, id, run).Get(ctx, nil); err != nil {
		return time.Time{}, err
	}
	d, err := c.DescribeWorkflowExecution(ctx, id, run)
	if err != nil {
		return time.Time{}, err
	}
	return d.GetWorkflowExecutionInfo().GetCloseTime().AsTime(), nil
}
