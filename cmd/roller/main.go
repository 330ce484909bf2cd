// Roller reboots the machines of a CI fleet, durably, on Temporal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=...).
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	slog.SetDefault(logger)
	return status(root(logger).ExecuteContext(ctx), os.Stderr)
}

// status says what went wrong, unless that has been said, and returns the exit
// status.
func status(err error, out io.Writer) int {
	if err == nil {
		return 0
	}
	e, ok := errors.AsType[*exit](err)
	if !ok || e.err != nil {
		fmt.Fprintln(out, "roller:", err)
	}
	if ok {
		return e.status
	}
	return 1
}

func root(logger *slog.Logger) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "roller",
		Short: "Reboots the machines of a CI fleet, durably, on Temporal",
		Long: `Roller reboots the machines of a CI fleet: it climbs a ladder of ways to do so
(ssh, IPMI, a PDU's outlet), looks after each whether the machine went down and
came back, and files a bug if none helped. Jobs run on Temporal.

Every variable of the environment stands in .env-dist; Temporal's own
(TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, ...) are those of its SDK and CLI.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddGroup(
		&cobra.Group{ID: "serve", Title: "Serving:"},
		&cobra.Group{ID: "actions", Title: "Actions:"},
		&cobra.Group{ID: "jobs", Title: "Jobs:"},
		&cobra.Group{ID: "operate", Title: "Setting up:"},
	)
	cmd.AddCommand(
		apiCommand(logger), workerCommand(logger), devCommand(logger),
		startCommand(logger), showCommand(logger), listCommand(logger), cancelCommand(logger),
		setupCommand(logger), checkCommand(os.Environ()),
	)
	cmd.AddCommand(actionCommands(logger, os.Environ())...)
	return cmd
}
