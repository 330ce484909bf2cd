package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/config"
)

func registerCommand(environ []string) *cobra.Command {
	return &cobra.Command{
		Use:   "register_tc_actions BASE_URL PROVISIONER_ID",
		Short: "Make the tasks of TASK_NAMES actions of Taskcluster's dashboard",
		Long: `Make the tasks of TASK_NAMES actions of Taskcluster's dashboard.

` + wrap(`Declare an action of each worker for each task of TASK_NAMES, as buttons that post to this roller at BASE_URL. Actions of others that the provisioner has are kept.
TASKCLUSTER_ROOT_URL, TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN say where and as whom; the client needs queue:get-provisioner:ID, queue:declare-provisioner:ID#actions and ...#expires.
Taskcluster stores no actions since v39 (2020): this command then says so, and its exit status is 1.`),
		Example: "  roller register_tc_actions https://roller.example.com releng-hardware",
		GroupID: "actions",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(environ)
			if err != nil {
				return err
			}
			r := api.Registration{BaseURL: args[0], Provisioner: args[1], Tasks: described(cfg.API.TaskNames)}
			if err := r.Validate(); err != nil {
				return usage("%w", err)
			}
			if strings.HasPrefix(r.BaseURL, "http:") {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: over http everybody on the way can read and change what is asked of roller")
			}
			if cfg.Taskcluster.RootURL == "" || cfg.Taskcluster.ClientID == "" || cfg.Taskcluster.AccessToken.IsZero() {
				return errors.New("TASKCLUSTER_ROOT_URL, TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN must be set")
			}
			if err := api.Register(cmd.Context(), cfg.Taskcluster, r); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "registered on %s: %s\n", r.Provisioner, strings.Join(cfg.API.TaskNames, ", "))
			return nil
		},
	}
}

// described gives each task its command's help, which the dashboard shows.
func described(tasks []string) []api.RegisteredTask {
	help := map[string]string{}
	for _, a := range actions {
		help[a.name] = a.short
	}
	out := make([]api.RegisteredTask, 0, len(tasks))
	for _, name := range tasks {
		out = append(out, api.RegisteredTask{Name: name, Description: help[name]})
	}
	return out
}
