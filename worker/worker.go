// Package worker builds the Temporal workers of one process: which task queues
// they serve, what is registered on them, and how they stop.
package worker

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Worker serves roller's task queues.
type Worker struct {
	queues map[string]func() worker.Worker // by name: what makes a worker of the SDK's
}

// New registers workflows and activities on the task queues that this process
// serves: those of the given sites, or without any the ones of all that belongs
// to no site: workflows, lookups, bugs, and machines that everyone reaches. A
// stopping worker lets its commands end for WORKER_STOP_TIMEOUT.
func New(c client.Client, a *activities.Activities, sites ...string) *Worker {
	w := &Worker{queues: map[string]func() worker.Worker{}}
	worker.SetStickyWorkflowCacheSize(a.Config.Ladder.WorkflowCache) // of the process
	if len(sites) == 0 {
		w.queues[workflows.TaskQueue] = func() worker.Worker {
			central := worker.New(c, workflows.TaskQueue, commands(a.Config))
			workflows.Register(central)
			central.RegisterActivity(a)
			return central
		}
		w.activities(c, a, workflows.WatchTaskQueue, watches(a.Config))
	}
	for _, site := range sites {
		own := commands(a.Config)
		own.DisableWorkflowWorker = true
		w.activities(c, a, workflows.SiteQueue(site), own)
		w.activities(c, a, workflows.SiteWatchQueue(site), watches(a.Config))
	}
	return w
}

// Everything returns a worker of all task queues: for one machine that reaches
// all sites.
func Everything(c client.Client, a *activities.Activities) *Worker {
	w := New(c, a)
	if sites := a.Config.Sites.Names(); len(sites) > 0 {
		maps.Copy(w.queues, New(c, a, sites...).queues)
	}
	return w
}

func (w *Worker) activities(c client.Client, a *activities.Activities, queue string, o worker.Options) {
	w.queues[queue] = func() worker.Worker {
		served := worker.New(c, queue, o)
		served.RegisterActivity(a)
		return served
	}
}

// commands are the options of workflows, and of activities that speak with devices.
func commands(c *config.Config) worker.Options {
	return options(c, c.Ladder.CommandSlots)
}

// watches are those of activities that wait for machines.
func watches(c *config.Config) worker.Options {
	o := options(c, c.Ladder.WatchSlots)
	o.DisableWorkflowWorker = true
	return o
}

func options(c *config.Config, activities int) worker.Options {
	return worker.Options{
		WorkerStopTimeout:                      c.Ladder.StopTimeout.D(),
		MaxConcurrentActivityExecutionSize:     activities,
		MaxConcurrentActivityTaskPollers:       c.Ladder.Pollers,
		MaxConcurrentWorkflowTaskExecutionSize: c.Ladder.WorkflowSlots,
		MaxConcurrentWorkflowTaskPollers:       c.Ladder.Pollers,
		Interceptors:                           []interceptor.WorkerInterceptor{&measure{}},
	}
}

// gcPercent is how much garbage there may be for what lives before it is collected
// (runtime/debug.SetGCPercent; Go's own is 100). Thousands of waits live for minutes and
// do little, so that the memory between two collections costs more than they do.
const gcPercent = 50

// Run serves until ctx ends, then stops gracefully: commands under way end,
// waits are handed to another worker.
func (w *Worker) Run(ctx context.Context, logger *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	}
	var all sync.WaitGroup
	for queue, build := range w.queues {
		all.Go(func() { serve(ctx, logger.With("task_queue", queue), build) })
	}
	all.Wait()
	return nil
}

// againPause lies between two of the SDK's workers of one task queue.
const againPause = 5 * time.Second

// serve serves one task queue until ctx ends. One of the SDK's workers ends by
// itself where Temporal is lost in the moment in which it starts, and where
// Temporal has refused it for minutes (its namespace is not known, say): then
// another one takes its place, until Temporal has it.
func serve(ctx context.Context, logger *slog.Logger, build func() worker.Worker) {
	stop := make(chan any)
	defer context.AfterFunc(ctx, func() { close(stop) })()
	for ctx.Err() == nil {
		served := build()
		if err := served.Run(stop); err != nil {
			logger.Warn("worker ended: another one follows", "err", err.Error())
			served.Stop()
			idle(ctx, againPause)
		}
	}
}
