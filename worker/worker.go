// Package worker builds the Temporal workers of one process: which task queues
// they serve, what is registered on them, and how they stop.
package worker

import (
	"context"
	"fmt"
	"sync"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Worker serves roller's task queues.
type Worker struct {
	commands worker.Worker // workflows, and activities that speak with devices
	watches  worker.Worker // activities that wait for machines
}

// New registers the workflows and activities on the two task queues. A stopping
// worker lets its commands end for WORKER_STOP_TIMEOUT.
func New(c client.Client, a *activities.Activities) *Worker {
	stop := a.Config.Ladder.StopTimeout.D()
	w := &Worker{
		commands: worker.New(c, workflows.TaskQueue, worker.Options{
			WorkerStopTimeout:                  stop,
			MaxConcurrentActivityExecutionSize: a.Config.Ladder.CommandSlots,
		}),
		watches: worker.New(c, workflows.WatchTaskQueue, worker.Options{
			WorkerStopTimeout:                  stop,
			MaxConcurrentActivityExecutionSize: a.Config.Ladder.WatchSlots,
			DisableWorkflowWorker:              true,
		}),
	}
	workflows.Register(w.commands)
	w.commands.RegisterActivity(a)
	w.watches.RegisterActivity(a)
	return w
}

// Run serves until ctx ends, then stops gracefully: commands under way end,
// waits are handed to another worker.
func (w *Worker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	queues := map[string]worker.Worker{workflows.TaskQueue: w.commands, workflows.WatchTaskQueue: w.watches}
	var stop sync.WaitGroup
	defer func() { cancel(); stop.Wait() }()
	for queue, served := range queues {
		if err := served.Start(); err != nil {
			return fmt.Errorf("start the worker of task queue %s: %w", queue, err)
		}
		stop.Go(func() { <-ctx.Done(); served.Stop() })
	}
	<-ctx.Done()
	return nil
}
