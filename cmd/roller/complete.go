package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// completeTimeout is how long a shell may be kept waiting for words.
const completeTimeout = 2 * time.Second

// completion gives the words that may stand next.
type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// known are the machines of this process's inventory, or those that the API has.
// A shell is not the place for errors: without an answer there are no words.
func known(cmd *cobra.Command, logger *slog.Logger) []config.Name {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	var all []config.Name
	_ = withJobs(cmd, logger, func(d door) (err error) {
		all, err = d.machines(ctx)
		return err
	})
	return all
}

// completeStart gives tasks, then worker IDs, then the groups of that worker.
func completeStart(logger *slog.Logger) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return beginning(config.Tasks(), typed), cobra.ShellCompDirectiveNoFileComp
		}
		return nextName(cmd, logger, args[1:], typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeName gives worker IDs, then the groups of that worker.
func completeName(logger *slog.Logger) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		return nextName(cmd, logger, args, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

func nextName(cmd *cobra.Command, logger *slog.Logger, args []string, typed string) []string {
	var words []string
	if len(args) > 1 {
		return nil
	}
	for _, m := range known(cmd, logger) {
		switch {
		case len(args) == 0:
			words = append(words, m.WorkerID)
		case strings.EqualFold(m.WorkerID, args[0]):
			words = append(words, m.WorkerGroup)
		}
	}
	return beginning(words, typed)
}

// completeJob gives the IDs of machines' jobs.
func completeJob(logger *slog.Logger) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var words []string
		for _, m := range known(cmd, logger) {
			words = append(words, workflows.MachineID(m))
		}
		return beginning(words, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeMachine gives machines as group/id.
func completeMachine(logger *slog.Logger) completion {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		var words []string
		for _, m := range known(cmd, logger) {
			words = append(words, m.String())
		}
		return beginning(words, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// beginning are the words that begin with what was typed, in order.
func beginning(words []string, typed string) []string {
	var out []string
	for _, w := range words {
		if strings.HasPrefix(w, strings.ToLower(typed)) {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
