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
	"strings"
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

		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs, // one is a command that is not there
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usage("there is no command %q%s; roller alone lists them", args[0], nearest(cmd, args[0]))
		},
	}
	cmd.AddGroup(
		&cobra.Group{ID: "serve", Title: "Serving:"},
		&cobra.Group{ID: "actions", Title: "Actions:"},
		&cobra.Group{ID: "jobs", Title: "Jobs:"},
		&cobra.Group{ID: "operate", Title: "Setting up:"},
	)
	cmd.AddCommand(
		apiCommand(logger), workerCommand(logger), taskclusterCommand(logger), devCommand(logger),
		startCommand(logger), showCommand(logger), listCommand(logger), cancelCommand(logger),
		setupCommand(logger), checkCommand(os.Environ()),
	)
	cmd.AddCommand(actionCommands(logger, os.Environ())...)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	for _, c := range cmd.Commands() {
		wrongArgs(c)
	}
	return cmd
}

// wrongArgs gives a command line that cannot be carried out its exit status.
func wrongArgs(c *cobra.Command) {
	check := c.Args
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage("%s: %w; see roller help %s", cmd.Name(), err, cmd.Name())
		}
		return nil
	}
}

func nearest(cmd *cobra.Command, typed string) string {
	if names := cmd.SuggestionsFor(typed); len(names) > 0 {
		return " (" + strings.Join(names, ", ") + "?)"
	}
	return ""
}
