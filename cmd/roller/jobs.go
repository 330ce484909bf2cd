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
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

// withStarter runs f with the door to Temporal, which knows no inventory.
func withStarter(logger *slog.Logger, f func(*starter.Starter) error) error {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	return withDoor(logger, cfg, nil, f)
}

func withDoor(logger *slog.Logger, cfg *config.Config, inventory func() *config.Inventory, f func(*starter.Starter) error) error {
	c, namespace, err := starter.Dial(slog.New(levelFilter{logger.Handler(), slog.LevelWarn}), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(starter.New(c, namespace, inventory, cfg.API.StartTimeout.D()))
}

// following is what a job is started with, and how it is followed and told of.
type following struct {
	follow, bulk bool
	output       string
	drain        *bool  // nil: as the inventory says
	queue        string // the worker's task queue; "": as the inventory says
	why          string // what a loan is for
	noReimage    bool   // a machine on loan is returned as it is
}

// loanFlag is that of the tasks about a loan.
func loanFlag(cmd *cobra.Command, how *following) {
	cmd.Flags().StringVar(&how.why, "why", "", "of loan and return_loan: what it is for; it becomes public, in the loan's bug")
}

func noReimageFlag(cmd *cobra.Command, how *following) {
	cmd.Flags().BoolVar(&how.noReimage, "no-reimage", false, "of return_loan: the machine takes work again as it is")
}

// drainFlags are those by which a job is drained first, or not.
func drainFlags(cmd *cobra.Command, how *following) {
	cmd.Flags().Var(optionalBool{&how.drain}, "drain", "take the worker out of Taskcluster's work first, and wait for its task; --drain=false does not; without it the inventory says so")
	cmd.Flags().Lookup("drain").NoOptDefVal = "true"
}

func queueFlag(cmd *cobra.Command, how *following) {
	cmd.Flags().StringVar(&how.queue, "queue", "", "the worker's task queue, `PROVISIONER/WORKER_TYPE`, where the inventory does not name it")
}

// optionalBool is a flag that is true, false or not given.
type optionalBool struct{ to **bool }

// String implements pflag.Value.
func (o optionalBool) String() string {
	if o.to == nil || *o.to == nil {
		return ""
	}
	return strconv.FormatBool(**o.to)
}

// Set implements pflag.Value.
func (o optionalBool) Set(text string) error {
	yes, err := strconv.ParseBool(text)
	if err != nil {
		return errors.New("must be true or false")
	}
	*o.to = &yes
	return nil
}

// Type implements pflag.Value.
func (optionalBool) Type() string { return "bool" }

// request is the request for a task, a worker ID and a group.
func (how following) request(args []string) (starter.Request, error) {
	r := starter.Request{
		Task: args[0], WorkerID: args[1], WorkerGroup: args[2], Bulk: how.bulk, Drain: how.drain, Why: how.why, NoReimage: how.noReimage,
	}
	if problem := config.WhyProblem(r.Task, r.Why); problem != "" {
		return r, usage("--why %s", problem)
	}
	if r.NoReimage && r.Task != config.ReturnLoan {
		return r, usage("--no-reimage is for %s only", config.ReturnLoan)
	}
	if r.Drain != nil && *r.Drain && !config.MayDrain(r.Task) {
		return r, usage("--drain is nothing that %s can do", r.Task)
	}
	if how.queue == "" {
		return r, nil
	}
	q, err := config.ParseQueue(how.queue)
	if err != nil {
		return r, usage("--queue %w", err)
	}
	r.ProvisionerID, r.WorkerType = q.ProvisionerID, q.WorkerType
	return r, nil
}

func startCommand(logger *slog.Logger) *cobra.Command {
	var how following
	cmd := &cobra.Command{
		Use:   "start TASK WORKER_ID GROUP",
		Short: "Start a job on one machine, or join the one that runs",
		Long: `Start a job on one machine, or join the one that runs. With --follow the ladder is
shown as it is climbed, and the exit status tells the outcome (docs/commands.md).`,
		Example: `  roller start reboot ms1-10 mdc1 --follow
  roller start reboot ms1-10 mdc1 --api https://roller.example.com --follow -o json`,
		GroupID: "jobs",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			args[0] = config.CanonicalTask(args[0])
			if err := checkStart(args); err != nil {
				return usage("%w", err)
			}
			return startJob(cmd, logger, args, how)
		},
		ValidArgsFunction: completeStart(logger),
	}
	cmd.Flags().BoolVarP(&how.follow, "follow", "f", false, "show the ladder as it is climbed; the exit status tells the outcome")
	cmd.Flags().BoolVar(&how.bulk, "bulk", false, "nobody waits for it: every other job goes first")
	drainFlags(cmd, &how)
	queueFlag(cmd, &how)
	loanFlag(cmd, &how)
	noReimageFlag(cmd, &how)
	addOutput(cmd, &how.output)
	addAPI(cmd)
	return cmd
}

// startJob starts or joins the job of a task, a worker ID and a group.
func startJob(cmd *cobra.Command, logger *slog.Logger, args []string, how following) error {
	if err := checkOutput(how.output); err != nil {
		return err
	}
	request, err := how.request(args)
	if err != nil {
		return err
	}
	return withJobs(cmd, logger, func(d door) error {
		at, said, err := d.start(cmd.Context(), request)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		switch {
		case how.output == outputText:
			fmt.Fprintln(out, said)
		case !how.follow:
			return json.NewEncoder(out).Encode(map[string]string{"task_id": at.taskID, "task_name": args[0], "worker_id": args[1], "worker_group": args[2]})
		}
		if !how.follow {
			fmt.Fprintf(out, "see it with: %s\n", showing(at))
			return nil
		}
		j, err := follow(cmd.Context(), d.watch(at), displayFor(cmd, how.output))
		if errors.Is(err, context.Canceled) {
			return &exit{status: statusInterrupt, err: fmt.Errorf("no longer following; the job goes on: %s", showing(at))}
		}
		if err != nil {
			return err
		}
		if how.output == outputJSON {
			return errors.Join(json.NewEncoder(out).Encode(j), ended(io.Discard, j))
		}
		return ended(out, j)
	})
}

// showing is the command by which a job is seen.
func showing(at place) string {
	if at.workflowID == "" {
		return "roller show machine/" + at.machine.String() + " --run " + at.taskID
	}
	return "roller show " + at.workflowID
}

// displayFor draws on a terminal, and prints lines elsewhere.
func displayFor(cmd *cobra.Command, output string) display {
	if output == outputJSON {
		return silent{}
	}
	if f, ok := cmd.OutOrStdout().(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" { //nolint:gosec // a descriptor is small
		return &screen{out: f, width: func() int { w, _, _ := term.GetSize(int(f.Fd())); return w }} //nolint:gosec // a descriptor is small
	}
	return &lines{out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr()}
}

// The values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

func addOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", outputText, "text, or json: one object (of list: an array) on standard output")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputText, outputJSON}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

func checkOutput(output string) error {
	if output != outputText && output != outputJSON {
		return usage("--output %q: must be text or json", output)
	}
	return nil
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

func showCommand(logger *slog.Logger) *cobra.Command {
	var run, output string
	cmd := &cobra.Command{
		Use:     "show WORKFLOW_ID",
		Short:   "Show one job: the ladder so far, what happens now, what would follow",
		Example: "  roller show machine/mdc1/ms1-10",
		GroupID: "jobs",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			return withJobs(cmd, logger, func(d door) error {
				at, err := d.find(cmd.Context(), args[0], run)
				if err != nil {
					return err
				}
				v, err := d.view(cmd.Context(), at)
				if err != nil {
					return err
				}
				if output == outputJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(api.DetailOf(v))
				}
				printView(cmd.OutOrStdout(), v)
				return nil
			})
		},
		ValidArgsFunction: completeJob(logger),
	}
	cmd.Flags().StringVar(&run, "run", "", "the run's UUID (task_id); without it the newest")
	addOutput(cmd, &output)
	addAPI(cmd)
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

func cancelCommand(logger *slog.Logger) *cobra.Command {
	var run string
	cmd := &cobra.Command{
		Use:     "cancel WORKFLOW_ID",
		Short:   "Cancel a job; what it powered off it powers on first",
		Example: "  roller cancel machine/mdc1/ms1-10",
		GroupID: "jobs",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withJobs(cmd, logger, func(d door) error {
				at, err := d.find(cmd.Context(), args[0], run)
				if err == nil {
					err = d.cancel(cmd.Context(), at)
				}
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "cancellation requested")
				return nil
			})
		},
		ValidArgsFunction: completeJob(logger),
	}
	cmd.Flags().StringVar(&run, "run", "", "the run's UUID (task_id); without it the newest")
	addAPI(cmd)
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
