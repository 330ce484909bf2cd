package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Taskcluster is roller as the worker of a Taskcluster task queue: it claims tasks,
// and runs what sees to them.
type Taskcluster struct {
	config *config.Config
	door   *starter.Starter
	logger *slog.Logger
	runs   func() worker.Worker // makes the SDK's worker of what sees to claimed tasks
}

// NewTaskcluster registers what sees to claimed tasks.
func NewTaskcluster(c client.Client, cfg *config.Config, door *starter.Starter, logger *slog.Logger) *Taskcluster {
	runs := func() worker.Worker {
		w := worker.New(c, workflows.TaskclusterTaskQueue, worker.Options{WorkerStopTimeout: taskclusterStop})
		workflows.RegisterTaskcluster(w)
		w.RegisterActivity(&activities.Taskcluster{Config: cfg, Jobs: starter.TaskJobs{Starter: door}})
		return w
	}
	return &Taskcluster{config: cfg, door: door, logger: logger, runs: runs}
}

const (
	// taskclusterStop lets a report that is under way end: three calls.
	taskclusterStop = 20 * time.Second
	// claimPause follows a claim that failed, so that nobody is asked in a tight loop.
	claimPause = 5 * time.Second
	// startTries is how often a claimed task's run is tried to be started. A claim
	// that is not kept expires, and Taskcluster repeats the task if it may.
	startTries = 10
)

// Run claims tasks until ctx ends. What it has claimed goes on in any such process.
func (t *Taskcluster) Run(ctx context.Context) error {
	var runs sync.WaitGroup
	runs.Go(func() { serve(ctx, t.logger.With("task_queue", workflows.TaskclusterTaskQueue), t.runs) })
	defer runs.Wait()
	for ctx.Err() == nil {
		if err := t.claim(ctx); err != nil && ctx.Err() == nil {
			t.logger.Warn("no tasks claimed", "task_queue", t.config.Taskcluster.TaskQueue, "err", err)
			idle(ctx, claimPause)
		}
	}
	return nil
}

// claim claims what there is, if Temporal can take it.
func (t *Taskcluster) claim(ctx context.Context) error {
	if err := t.door.Health(ctx); err != nil {
		return err
	}
	claims, err := activities.ClaimTasks(ctx, t.config)
	for _, c := range claims {
		t.start(ctx, c)
	}
	return err
}

// start is not cut short by a process that stops: a claim must not be lost.
func (t *Taskcluster) start(ctx context.Context, c workflows.Claim) {
	ctx = context.WithoutCancel(ctx)
	for range startTries {
		err := t.door.StartClaim(ctx, c)
		if err == nil {
			t.logger.Info("task claimed", "tc_task", c.Run(), "client_id", c.Ask.ClientID, "task", c.Ask.Task,
				"worker_id", c.Ask.WorkerID, "worker_group", c.Ask.WorkerGroup, "problem", c.Problem)
			return
		}
		t.logger.Warn("claimed task not started", "tc_task", c.Run(), "err", err)
		idle(ctx, claimPause)
	}
	t.logger.Error("claimed task given up: its claim will expire", "tc_task", c.Run())
}

func idle(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
