package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

func setupCommand(logger *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:     "setup",
		Short:   "Prepare Temporal: namespace, search attributes, the schedule that powers on what was left off",
		Long:    "Prepare Temporal for roller. It may be run again at any time: what is there is left as it is.",
		GroupID: "operate",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStarter(logger, func(s *starter.Starter) error {
				ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
				defer cancel()
				return s.Setup(ctx, func(step string) { fmt.Fprintln(cmd.OutOrStdout(), step) })
			})
		},
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check",
		Short:   "Check the environment and the inventory, and print each machine's ladder",
		GroupID: "operate",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(os.Environ())
			if err != nil {
				return err
			}
			inventory, err := config.LoadInventory(cfg.Files)
			if err != nil {
				return err
			}
			printLadders(cmd.OutOrStdout(), cfg, inventory)
			return errors.Join(cfg.ValidateWorker(), activities.ValidateBugTemplates(cfg.Bugzilla))
		},
	}
}

func printLadders(out io.Writer, cfg *config.Config, inventory *config.Inventory) {
	for _, warning := range slices.Concat(inventory.Warnings, activities.UnknownHosts(cfg, inventory)) {
		fmt.Fprintln(out, "warning:", warning)
	}
	machines := inventory.Machines()
	for _, m := range machines {
		plan, err := activities.PlanFor(cfg, m, "reboot")
		if err != nil {
			fmt.Fprintf(out, "%s  (%s): %v\n", m.Name, m.Probe, err)
			continue
		}
		fmt.Fprintf(out, "%s  (%s): %s\n", m.Name, m.Probe, rungs(plan))
	}
	fmt.Fprintf(out, "%d machines\n", len(machines))
	if len(machines) == 0 {
		fmt.Fprintln(out, "warning:", emptyInventory)
	}
}

// rungs prints a ladder on one line; what would be skipped stands in brackets.
func rungs(plan activities.Plan) string {
	var parts []string
	for _, rung := range plan.Rungs {
		if rung.Skip == "" {
			parts = append(parts, rung.Name)
		} else {
			parts = append(parts, fmt.Sprintf("[%s: %s]", rung.Name, rung.Skip))
		}
	}
	return strings.Join(parts, " > ")
}
