package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/worker"
)

func taskclusterCommand(logger *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:     "taskcluster",
		Short:   "Run the tasks of a Taskcluster task queue as jobs",
		GroupID: "serve",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return measured(cmd.Context(), logger, serveTaskcluster) },
	}
}

// serveTaskcluster claims tasks until ctx ends.
func serveTaskcluster(ctx context.Context, logger *slog.Logger, cfg *config.Config, m *metrics) error {
	if err := cfg.ValidateTaskcluster(); err != nil {
		return err
	}
	inventory, err := names(cfg)
	if err != nil {
		return err
	}
	c, namespace, err := starter.Dial(logger, m.handler, m.traces.interceptors...)
	if err != nil {
		return err
	}
	defer c.Close()
	door := starter.New(c, namespace, inventory, cfg.API.StartTimeout.D())
	if err := awaitTemporal(ctx, logger, door); err != nil {
		return nil // it was told to stop before Temporal came
	}
	logger.Info("claiming tasks", "task_queue", cfg.Taskcluster.TaskQueue, "inventory", inventory != nil)
	return worker.NewTaskcluster(c, cfg, door, logger).Run(ctx)
}
