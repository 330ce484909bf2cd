package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/worker"
)

func apiCommand(logger *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:     "api",
		Short:   "Serve the HTTP API that Taskcluster's dashboard calls",
		GroupID: "serve",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return measured(cmd.Context(), logger, serveAPI) },
	}
}

func workerCommand(logger *slog.Logger) *cobra.Command {
	var sites []string
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run jobs: climb ladders and speak with machines and their devices",
		Long: `Run jobs. Without --site: the jobs themselves, bugs, and the commands of machines
that belong to no site of SITES. With it, only the commands and waits of that site's
machines: such a worker stands in the site's network, as many as you like.`,
		GroupID: "serve",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return measured(cmd.Context(), logger, workerOf(sites))
		},
	}
	cmd.Flags().StringSliceVar(&sites, "site", nil, "serve this site of SITES, and nothing else; may be repeated")
	return cmd
}

// workerOf is a worker of some sites, or of what belongs to none.
func workerOf(sites []string) service {
	return func(ctx context.Context, logger *slog.Logger, cfg *config.Config, m *metrics) error {
		if err := cfg.Sites.Check(sites); err != nil {
			return fmt.Errorf("--site: %w", err)
		}
		if rest := cfg.Sites.Names(); len(rest) > 0 && len(sites) == 0 {
			logger.Info("sites have workers of their own", "sites", rest, "start", "roller worker --site "+rest[0])
		}
		return serveWorker(ctx, logger, cfg, m, func(c client.Client, a *activities.Activities) *worker.Worker { return worker.New(c, a, sites...) })
	}
}

// workerOfAll is one worker of everything.
func workerOfAll(ctx context.Context, logger *slog.Logger, cfg *config.Config, m *metrics) error {
	return serveWorker(ctx, logger, cfg, m, worker.Everything)
}

// service is what runs until ctx ends.
type service func(context.Context, *slog.Logger, *config.Config, *metrics) error

// measured runs services with the environment's configuration, and serves their
// metrics meanwhile. Whichever ends ends all.
func measured(ctx context.Context, logger *slog.Logger, services ...service) error {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	m, err := newMetrics(logger)
	if err != nil {
		return err
	}
	stop, err := m.serve(ctx, logger, cfg.MetricsAddr)
	if err != nil {
		return err
	}
	defer stop()
	if m.traces, err = newTraces(ctx, logger); err != nil {
		return err
	}
	defer m.traces.close(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ends := make(chan error, len(services))
	for _, run := range services {
		go func() { ends <- run(ctx, logger, cfg, m) }()
	}
	for range services {
		e := <-ends
		cancel(e)
		err = errors.Join(err, e)
	}
	return err
}

// serveAPI serves until ctx ends.
func serveAPI(ctx context.Context, logger *slog.Logger, cfg *config.Config, m *metrics) error {
	if err := cfg.ValidateAPI(); err != nil {
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
	if sites := cfg.Sites.Names(); len(sites) > 0 {
		m.registry.MustRegister(newSiteWorkers(sites, door, logger))
	}
	handler, err := api.New(cfg, api.Deps{Starter: door, Inventory: inventory, Health: door.Health, Logger: logger, Version: version, Metrics: m.registry})
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort(cfg.API.Host, strconv.Itoa(cfg.API.Port)))
	if err != nil {
		return fmt.Errorf("listen (LISTEN_HOST, PORT): %w", err)
	}
	logger.Info("api listening", "address", listener.Addr().String(), "public_url", cfg.API.PublicURL, "inventory", inventory != nil)
	handler.Handler = m.traces.serving(handler.Handler)
	return api.Serve(ctx, cfg, handler, listener)
}

// names returns the inventory, if this process was given one with machines in
// it: then it can say at once that a machine is unknown. Without one the worker
// finds out. The API needs no credentials, so it reads none of the key files.
func names(cfg *config.Config) (func() *config.Inventory, error) {
	files := cfg.Files
	files.NamesOnly = true
	live, err := config.NewLive(files)
	if err != nil {
		return nil, err
	}
	if len(live.Inventory().Machines()) == 0 {
		return nil, nil //nolint:nilnil // no inventory is no error
	}
	return live.Inventory, nil
}

// emptyInventory is said of a worker that would fail every job: most often it
// was started in another directory than its files'.
const emptyInventory = "no machines: FQDN_TO_..._FILE are not set and this directory has none of the default files; every job ends as unknown_machine"

// awaitTemporal returns when Temporal answers: a worker that starts before it,
// or while it is down, serves when it is back, as one that was there before does.
func awaitTemporal(ctx context.Context, logger *slog.Logger, door *starter.Starter) error {
	const every = 2 * time.Second
	for said := ""; ; {
		err := door.Health(ctx)
		if err == nil {
			return nil
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			logger.Warn("waiting for temporal", "err", text)
			said = text
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// serveWorker serves until ctx ends, then lets its activities end.
func serveWorker(ctx context.Context, logger *slog.Logger, cfg *config.Config, m *metrics, serving func(client.Client, *activities.Activities) *worker.Worker) error {
	if err := errors.Join(cfg.ValidateWorker(), activities.ValidateBugTemplates(cfg.Bugzilla)); err != nil {
		return err
	}
	live, err := config.NewLive(cfg.Files)
	if err != nil {
		return err
	}
	if len(live.Inventory().Machines()) == 0 {
		logger.Warn("inventory", "warning", emptyInventory)
	}
	for _, warning := range slices.Concat(live.Inventory().Warnings, cfg.CanaryWarnings(live.Inventory()), activities.UnknownHosts(cfg, live.Inventory())) {
		logger.Warn("inventory", "warning", warning)
	}
	c, namespace, err := starter.Dial(logger, m.handler, m.traces.interceptors...)
	if err != nil {
		return err
	}
	defer c.Close()
	acts := activities.New(cfg, live.Inventory)
	acts.Runs = c
	turns := starter.NewTurns(c, namespace)
	defer turns.Close()
	acts.Turns = turns
	if awaitTemporal(ctx, logger, starter.New(c, namespace, nil, cfg.API.StartTimeout.D())) != nil {
		return nil // it was told to stop before Temporal came
	}
	logger.Info("worker starting", "machines", len(live.Inventory().Machines()))
	return serving(c, acts).Run(ctx, logger)
}
