package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

func listCommand(logger *slog.Logger) *cobra.Command {
	var machine, output string
	var limit int
	var onLoan bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first, or the machines on loan",
		Long: `List jobs, newest first. The API lists those of one machine, and without --machine
the last one of each machine. With --on-loan the machines are listed that somebody has on
loan, and no jobs.`,
		GroupID: "jobs",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage("--limit %d: must be 1 or more", limit)
			}
			if group, id, ok := strings.Cut(machine, "/"); machine != "" && (!ok || len(config.ValidateName(id, group)) > 0) {
				return usage("--machine %q: must be group/id, like mdc1/ms1-10", machine)
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			return withJobs(cmd, logger, func(d door) error {
				if onLoan {
					return listLoans(cmd, d, output)
				}
				jobs, err := d.list(cmd.Context(), machine, limit)
				if err != nil {
					return err
				}
				if output == outputJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(jobs)
				}
				return printJobs(cmd.OutOrStdout(), jobs)
			})
		},
	}
	cmd.Flags().StringVar(&machine, "machine", "", "only this machine's, as group/id")
	_ = cmd.RegisterFlagCompletionFunc("machine", completeMachine(logger)) // the flag is there
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	cmd.Flags().BoolVar(&onLoan, "on-loan", false, "the machines that are on loan: who has which since when")
	cmd.MarkFlagsMutuallyExclusive("on-loan", "machine")
	cmd.MarkFlagsMutuallyExclusive("on-loan", "limit")
	addOutput(cmd, &output)
	addAPI(cmd)
	return cmd
}

// lentMachine is a machine that is on loan, as --on-loan shows it.
type lentMachine struct {
	Machine string `json:"machine"` // "group/id"
	workflows.LoanReading
}

func listLoans(cmd *cobra.Command, d door, output string) error {
	loans, err := d.loans(cmd.Context())
	if err != nil {
		return err
	}
	all := make([]lentMachine, 0, len(loans))
	for _, machine := range slices.Sorted(maps.Keys(loans)) {
		all = append(all, lentMachine{machine, loans[machine]})
	}
	if output == outputJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SINCE\tMACHINE\tCLIENT_ID\tBUG\tWHY")
	for _, l := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Since.Local().Format(time.DateTime), l.Machine, printable(l.ClientID), printable(l.Bug), printable(l.Why))
	}
	return w.Flush()
}

func printJobs(out io.Writer, jobs []api.JobView) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STARTED\tTASK\tMACHINE\tSTATUS\tRUNG\tOUTCOME\tOFF\tWORKFLOW_ID\tTASK_ID")
	for _, j := range jobs {
		fmt.Fprintf(w, "%s\t%s\t%s/%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.StartedAt.Local().Format(time.DateTime),
			j.TaskName, j.WorkerGroup, j.WorkerID, j.State, j.Rung, j.Outcome, j.Off, j.WorkflowID, j.TaskID)
	}
	return w.Flush()
}
