package bare

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// ladderQueue is where Worker takes its work from.
const ladderQueue = "bare.ladder"

// Ladder is a workflow of so many activities, one after the other, which do nothing.
func Ladder(ctx workflow.Context, activities int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	for range activities {
		var out job
		if err := workflow.ExecuteActivity(ctx, "rung", job{"machine", "mdc1"}).Get(ctx, &out); err != nil {
			return err
		}
	}
	return nil
}

func rung(_ context.Context, in job) (job, error) { return in, nil }

// Worker serves Ladder until it is stopped.
func Worker(c client.Client) (worker.Worker, error) {
	w := worker.New(c, ladderQueue, worker.Options{})
	w.RegisterWorkflow(Ladder)
	w.RegisterActivityWithOptions(rung, activity.RegisterOptions{Name: "rung"})
	return w, w.Start()
}

// Ladders runs n of them to their ends, so many at once.
func Ladders(ctx context.Context, c client.Client, n, atOnce, activities int) (Load, error) {
	run := uuid.NewString()
	return Run(ctx, n, atOnce, func(ctx context.Context, i int) error {
		options := client.StartWorkflowOptions{ID: fmt.Sprintf("bare/%s/%d", run, i), TaskQueue: ladderQueue}
		started, err := c.ExecuteWorkflow(ctx, options, Ladder, activities)
		if err != nil {
			return err
		}
		return started.Get(ctx, nil)
	})
}
