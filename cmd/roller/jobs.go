package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// withStarter runs f with the door to Temporal, which knows no inventory.
func withStarter(logger *slog.Logger, f func(*starter.Starter) error) error {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	return withDoor(logger, cfg, nil, f)
}

// withNames is withStarter for a start: it resolves names by the inventory where
// the command line has one, so that every spelling joins one job; elsewhere the
// worker does.
func withNames(logger *slog.Logger, f func(*starter.Starter) error) error {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	inventory, err := names(cfg)
	if err != nil {
		return err
	}
	return withDoor(logger, cfg, inventory, f)
}

func withDoor(logger *slog.Logger, cfg *config.Config, inventory func() *config.Inventory, f func(*starter.Starter) error) error {
	c, namespace, err := starter.Dial(slog.New(levelFilter{logger.Handler(), slog.LevelWarn}), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(starter.New(c, namespace, inventory, cfg.API.StartTimeout.D()))
}

func startCommand(logger *slog.Logger) *cobra.Command {
	var follow, bulk bool
	cmd := &cobra.Command{
		Use:     "start TASK WORKER_ID GROUP",
		Short:   "Start a job on one machine, or join the one that runs",
		Example: "  roller start reboot ms1-10 mdc1 --follow",
		GroupID: "jobs",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			args[0] = config.CanonicalTask(args[0])
			if err := checkStart(args); err != nil {
				return err
			}
			return startJob(cmd, logger, args, follow, bulk)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print the ladder as it is climbed; exit 0 only if the job succeeds")
	cmd.Flags().BoolVar(&bulk, "bulk", false, "nobody waits for it: every other job goes first")
	return cmd
}

// startJob starts or joins the job of a task, a worker ID and a group.
func startJob(cmd *cobra.Command, logger *slog.Logger, args []string, follow, bulk bool) error {
	return withNames(logger, func(s *starter.Starter) error {
		job, err := s.Start(cmd.Context(), starter.Request{
			Task: args[0], WorkerID: args[1], WorkerGroup: args[2], ClientID: localUser(), Bulk: bulk,
		})
		if err != nil {
			return err
		}
		if job.Joined {
			fmt.Fprintln(cmd.OutOrStdout(), "joined the job that was running:", job.TaskID)
		} else {
			fmt.Fprintln(cmd.OutOrStdout(), "started:", job.TaskID)
		}
		if !follow {
			fmt.Fprintf(cmd.OutOrStdout(), "see it with: roller show %s\n", job.WorkflowID)
			return nil
		}
		return followJob(cmd.Context(), s, job, cmd.OutOrStdout())
	})
}

func checkStart(args []string) error {
	if !slices.Contains(config.Tasks(), args[0]) {
		return fmt.Errorf("%q is not a task: one of %s", args[0], strings.Join(config.Tasks(), ", "))
	}
	for field, messages := range config.ValidateName(args[1], args[2]) {
		return fmt.Errorf("%s: %s", field, strings.Join(messages, ", "))
	}
	return nil
}

// localUser is who asked, on the command line.
func localUser() string {
	if u, err := user.Current(); err == nil {
		return "cli/" + u.Username
	}
	return "cli"
}

// followJob prints each change of the job until it has closed.
func followJob(ctx context.Context, s *starter.Starter, job starter.Job, out io.Writer) error {
	printed := 0
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		v, err := s.Show(ctx, job.WorkflowID, job.TaskID)
		if err != nil {
			return err
		}
		if v.Result != nil {
			printed = printAttempts(out, v.Result.Attempts, printed)
		}
		if v.Status != "Running" {
			return ended(out, v)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no longer following; the job goes on: roller show %s", job.WorkflowID)
		case <-ticker.C:
		}
	}
}

// printAttempts prints the attempts that have ended since, and returns how many have.
func printAttempts(out io.Writer, attempts []workflows.Attempt, printed int) int {
	for _, at := range attempts[min(printed, len(attempts)):] {
		if at.Outcome == workflows.Running {
			break
		}
		fmt.Fprintf(out, "%s  %-18s %-10s %s\n", at.EndedAt.Local().Format(time.TimeOnly), at.Rung, at.Outcome, at.Why)
		printed++
	}
	return printed
}

func ended(out io.Writer, v starter.View) error {
	if v.Result == nil {
		return fmt.Errorf("the job is %s", strings.ToLower(v.Status))
	}
	if v.Result.Text != "" {
		fmt.Fprintln(out, v.Result.Text)
	}
	if v.Result.Bug != nil {
		fmt.Fprintln(out, "bug:", v.Result.Bug)
	}
	filed := v.Result.Outcome == workflows.BugFiled && v.Result.Task == "file_bugzilla_bug"
	if v.Result.Outcome == workflows.Back || v.Result.Outcome == workflows.Done || filed {
		fmt.Fprintln(out, v.Result.Outcome)
		return nil
	}
	if v.Result.Why == "" {
		return errors.New(string(v.Result.Outcome))
	}
	return fmt.Errorf("%s: %s", v.Result.Outcome, v.Result.Why)
}

func showCommand(logger *slog.Logger) *cobra.Command {
	var asJSON bool
	var run string
	cmd := &cobra.Command{
		Use:     "show WORKFLOW_ID",
		Short:   "Show one job: the ladder so far, what happens now, what would follow",
		Example: "  roller show machine/mdc1/ms1-10",
		GroupID: "jobs",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStarter(logger, func(s *starter.Starter) error {
				v, err := s.Show(cmd.Context(), args[0], run)
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
				}
				printView(cmd.OutOrStdout(), v)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&run, "run", "", "the run's UUID (task_id); without it the newest")
	return cmd
}

func printView(out io.Writer, v starter.View) {
	fmt.Fprintf(out, "%s of %s  %s\ntask_id %s  started %s\n", v.Task, v.Machine, v.Status, v.TaskID, v.StartedAt.Local().Format(time.DateTime))
	if v.Cancelling && v.Status == "Running" {
		fmt.Fprintln(out, "being cancelled")
	}
	if v.Off != "" {
		fmt.Fprintf(out, "OFF: %s powered the machine off, and this run has not seen it on again\n", v.Off)
		if v.Status != "Running" {
			fmt.Fprintf(out, "the schedule power_on_left powers it on; whether it has: roller list --machine %s\n", v.Machine)
		}
	}
	if v.Result == nil && v.Status != "Running" {
		fmt.Fprintf(out, "it ended without a record; last known rung: %s\n", v.Rung)
		return
	}
	if v.Status == "Running" && !v.Live {
		fmt.Fprintf(out, "no worker answers (live: false); from its history, last known rung: %s\n", v.Rung)
	}
	if v.Result == nil {
		return
	}
	fmt.Fprintf(out, "\n%s", v.Result.Markdown())
}

func listCommand(logger *slog.Logger) *cobra.Command {
	var machine string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List jobs, newest first",
		GroupID: "jobs",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return fmt.Errorf("--limit %d: must be 1 or more", limit)
			}
			if group, id, ok := strings.Cut(machine, "/"); machine != "" && (!ok || len(config.ValidateName(id, group)) > 0) {
				return fmt.Errorf("--machine %q: must be group/id, like mdc1/ms1-10", machine)
			}
			return withStarter(logger, func(s *starter.Starter) error {
				views, err := s.List(cmd.Context(), strings.ToLower(machine), limit)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "STARTED\tTASK\tMACHINE\tSTATUS\tRUNG\tOUTCOME\tOFF\tWORKFLOW_ID\tTASK_ID")
				for _, v := range views {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.StartedAt.Local().Format(time.DateTime),
						v.Task, v.Machine, v.Status, v.Rung, v.Outcome, v.Off, v.WorkflowID, v.TaskID)
				}
				return w.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&machine, "machine", "", "only this machine's, as group/id")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	return cmd
}

func cancelCommand(logger *slog.Logger) *cobra.Command {
	var run string
	cmd := &cobra.Command{
		Use:     "cancel WORKFLOW_ID",
		Short:   "Cancel a job; what it powered off it powers on first",
		Example: "  roller cancel machine/mdc1/ms1-10",
		GroupID: "jobs",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStarter(logger, func(s *starter.Starter) error {
				if err := s.Cancel(cmd.Context(), args[0], run); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "cancellation requested")
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "the run's UUID (task_id); without it the newest")
	return cmd
}

// levelFilter hides what is below a level, so that the SDK's chatter does not
// stand between a person and an answer.
type levelFilter struct {
	slog.Handler
	least slog.Level
}

// Enabled implements slog.Handler.
func (f levelFilter) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= f.least && f.Handler.Enabled(ctx, l)
}
