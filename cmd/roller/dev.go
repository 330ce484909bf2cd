package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

// devGrace is how long Temporal's dev server may take to stop.
const devGrace = 10 * time.Second

func devCommand(logger *slog.Logger) *cobra.Command {
	var temporal, database string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run Temporal with its Web UI, the API and a worker on this machine",
		Long: `Run everything on this machine: Temporal's dev server on 127.0.0.1:7233 with its
Web UI on http://127.0.0.1:8233 and a database file, so that jobs survive a
restart, the API, and a worker. Ctrl-C ends all of it. Not for production.`,
		GroupID: "serve",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return dev(cmd.Context(), logger, temporal, database)
		},
	}
	cmd.Flags().StringVar(&temporal, "temporal", filepath.Join(".bin", "temporal"), "Temporal's CLI (make tools builds it)")
	cmd.Flags().StringVar(&database, "database", "temporal.db", "the dev server's database file")
	return cmd
}

func dev(ctx context.Context, logger *slog.Logger, temporal, database string) (err error) {
	if err := devAddress(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop, err := devServer(context.WithoutCancel(ctx), cancel, temporal, database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := devSetup(ctx, logger); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return measured(ctx, logger, serveAPI, workerOfAll)
}

// devTemporal is where the dev server listens; its CLI and tctl look there.
const devTemporal = "127.0.0.1:7233"

// devAddress makes this process speak with its own dev server and no other: a
// server that is there already may be a fleet's, and the worker would serve it.
func devAddress(ctx context.Context) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", devTemporal)
	if err != nil {
		return fmt.Errorf("%s must be free for the dev server: %w", devTemporal, err)
	}
	if err := l.Close(); err != nil {
		return err
	}
	return errors.Join(os.Setenv("TEMPORAL_ADDRESS", devTemporal), os.Setenv("TEMPORAL_NAMESPACE", "default"))
}

// devServer starts Temporal's dev server. It outlives a Ctrl-C, which reaches
// this process alone: the API and the worker stop first, then stop ends it. If
// it ends by itself, everything does.
func devServer(ctx context.Context, cancel context.CancelCauseFunc, temporal, database string) (stop func() error, err error) {
	ctx, end := context.WithCancel(ctx)
	server := exec.CommandContext(ctx, temporal, "server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error", //nolint:gosec // the operator names the binary
		"--db-filename", database, "--dynamic-config-value", "matching.useNewMatcher=true",
		"--dynamic-config-value", "matching.numTaskqueueReadPartitions=1", "--dynamic-config-value", "matching.numTaskqueueWritePartitions=1")
	server.Stdout, server.Stderr = os.Stderr, os.Stderr
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGTERM) }
	server.WaitDelay = devGrace
	if err := server.Start(); err != nil {
		end()
		return nil, fmt.Errorf("start %s (make tools builds it): %w", temporal, err)
	}
	ended := make(chan error, 1)
	go func() {
		err := server.Wait()
		cancel(fmt.Errorf("temporal's dev server ended: %w", err))
		ended <- err
	}()
	return func() error {
		asked := ctx.Err() == nil
		end()
		if err := <-ended; err != nil && !asked {
			return err
		}
		return nil
	}, nil
}

// devSetup waits for the server and prepares it.
func devSetup(ctx context.Context, logger *slog.Logger) error {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	c, namespace, err := starter.Dial(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	door := starter.New(c, namespace, nil, cfg.API.StartTimeout.D())
	for door.Health(ctx) != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return door.Setup(ctx, func(step string) { logger.Info("setup", "step", step) })
}
