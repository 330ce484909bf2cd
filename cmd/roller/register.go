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
	var hooks, dryRun bool
	var group, owner string
	cmd := &cobra.Command{
		Use:   "register_tc_actions [BASE_URL PROVISIONER_ID]",
		Short: "Make the tasks of TASK_NAMES actions of Taskcluster's dashboard",
		Long: `Make the tasks of TASK_NAMES actions of Taskcluster's dashboard.

` + wrap(`With --hooks: create one hook for each task of TASK_NAMES, or bring it up to date, and print the roles and scopes that an administrator must grant. Who triggers a hook makes a task that `+"`roller taskcluster`"+` carries out. --dry-run prints, and asks Taskcluster nothing. The client needs hooks:get, hooks:modify-hook and assume:hook-id for each hook.
Without: declare an action of each worker for each task, as buttons that post to this roller at BASE_URL. Actions of others that the provisioner has are kept. The client needs queue:get-provisioner:ID, queue:declare-provisioner:ID#actions and ...#expires. Taskcluster stores no actions since v39 (2020): this command then says so, and its exit status is 1.
TASKCLUSTER_ROOT_URL, TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN say where and as whom.`),
		Example: "  roller register_tc_actions --hooks --owner relops@example.com --dry-run\n  roller register_tc_actions https://roller.example.com releng-hardware",
		GroupID: "actions",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(environ)
			if err != nil {
				return err
			}
			if hooks && len(args) == 0 {
				return registerHooks(cmd, cfg, group, owner, dryRun)
			}
			if hooks || dryRun || len(args) != 2 {
				return usage("say either --hooks, or BASE_URL and PROVISIONER_ID; see roller help register_tc_actions")
			}
			return registerActions(cmd, cfg, args)
		},
	}
	cmd.Flags().BoolVar(&hooks, "hooks", false, "make hooks")
	cmd.Flags().StringVar(&group, "hook-group", "project-relops", "with --hooks: their group")
	cmd.Flags().StringVar(&owner, "owner", "", "with --hooks: the email address to which Taskcluster writes when a hook fails")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "with --hooks: only print what would be made, and what must be granted")
	return cmd
}

// registerHooks makes the hooks, and says who must be given what.
func registerHooks(cmd *cobra.Command, cfg *config.Config, group, owner string, dryRun bool) error {
	h := api.Hooks{
		Group: group, Owner: owner, TaskQueue: cfg.Taskcluster.TaskQueue, Scopes: cfg.API.ScopeSets[0], Tasks: described(cfg.API.TaskNames),
	}
	if err := h.Validate(); err != nil {
		return usage("%w", err)
	}
	out := cmd.OutOrStdout()
	if dryRun {
		for _, t := range h.Tasks {
			fmt.Fprintf(out, "would make hook %s/%s\n", h.Group, api.HookID(t.Name))
		}
	} else {
		if err := registrar(cfg); err != nil {
			return err
		}
		if err := h.Register(cmd.Context(), cfg.Taskcluster, func(did string) { fmt.Fprintln(out, did) }); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "\nAn administrator must grant:")
	for _, g := range h.Grants(cfg.Taskcluster.ClientID, cfg.Taskcluster.WorkerGroup) {
		fmt.Fprintf(out, "\n%s\n  %s\n", g.To, strings.Join(g.Scopes, "\n  "))
	}
	return nil
}

// registrar checks that somebody can register.
func registrar(cfg *config.Config) error {
	if cfg.Taskcluster.RootURL == "" || cfg.Taskcluster.ClientID == "" || cfg.Taskcluster.AccessToken.IsZero() {
		return errors.New("TASKCLUSTER_ROOT_URL, TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN must be set")
	}
	return nil
}

// registerActions makes buttons, where the service stores any.
func registerActions(cmd *cobra.Command, cfg *config.Config, args []string) error {
	r := api.Registration{BaseURL: args[0], Provisioner: args[1], Tasks: described(cfg.API.TaskNames)}
	if err := r.Validate(); err != nil {
		return usage("%w", err)
	}
	if strings.HasPrefix(r.BaseURL, "http:") {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: over http everybody on the way can read and change what is asked of roller")
	}
	if err := registrar(cfg); err != nil {
		return err
	}
	if err := api.Register(cmd.Context(), cfg.Taskcluster, r); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "registered on %s: %s\n", r.Provisioner, strings.Join(cfg.API.TaskNames, ", "))
	return nil
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
