package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

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
