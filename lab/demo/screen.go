package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// follow prints each step of the four ladders as it ends, as Temporal tells it.
func (d *demo) follow(ctx context.Context) ([]starter.View, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	views := make([]starter.View, len(d.jobs))
	printed := make([]int, len(d.jobs))
	began := make([]int, len(d.jobs))
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for running := true; running; {
		running = false
		for i, job := range d.jobs {
			v, err := d.starter.Show(ctx, job.WorkflowID, job.TaskID)
			if err != nil {
				return nil, err
			}
			if v.Result != nil {
				views[i] = v
				printed[i], began[i] = steps(v.Result, printed[i], began[i])
			}
			running = running || v.Status == "Running"
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
	return views, nil
}

// steps prints the rungs that began or ended since the last time.
func steps(r *workflows.Result, printed, began int) (int, int) {
	for i, at := range r.Attempts {
		if i >= began {
			line(at.StartedAt, r, "tries "+at.Rung)
			began++
		}
		if i >= printed && at.Outcome != workflows.Running {
			line(at.EndedAt, r, at.Rung+": "+strings.ToUpper(string(at.Outcome))+"  "+at.Why)
			printed++
		}
	}
	return printed, began
}

func line(at time.Time, r *workflows.Result, text string) {
	const width = 150
	if len(text) > width {
		text = text[:width] + "..."
	}
	fmt.Printf("%s  %-8s %s\n", at.Local().Format(time.TimeOnly), r.WorkerID, text)
}

// table prints how the jobs ended, and fails if one ended otherwise than told.
func table(views []starter.View) error {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tSTORY\tOUTCOME\tLAST RUNG\tTOOK\tBUG")
	var wrong []string
	for i, v := range views {
		r, s := v.Result, stories[i]
		bug := ""
		if r.Bug != nil {
			bug = r.Bug.String()
		}
		last := r.Attempts[len(r.Attempts)-1].Rung
		fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%s\t%s\n", r.WorkerGroup, r.WorkerID, s.What, r.Outcome, last,
			r.EndedAt.Sub(r.StartedAt).Round(time.Second), bug)
		if r.Outcome != s.Outcome || last != s.Rung {
			wrong = append(wrong, fmt.Sprintf("%s: %s by %s, want %s by %s", r.WorkerID, r.Outcome, last, s.Outcome, s.Rung))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not as the story tells: %s", strings.Join(wrong, "; "))
	}
	fmt.Println("\nall four ladders ended as they should")
	return nil
}

// hints prints what to try next, each line ready to be pasted.
func (d *demo) hints() {
	url := d.APIURL + "/api/v1/workers/ms1-01/group/mdc1/jobs?task_name=reboot"
	fmt.Printf(`
Web UI   %[1]s/namespaces/default/workflows
API      %[2]s

Try next, from another terminal in this directory:

  set -a; . %[4]s/roller.env; set +a
  .bin/roller list
  .bin/roller show machine/mdc1/mini-04
  .bin/roller check
  .bin/roller start reboot ms1-02 mdc1 --follow
  curl -X POST -H "Authorization: $(.bin/demo sign POST '%[5]s')" '%[5]s'
  .bin/temporal workflow start --address %[3]s --task-queue roller --type reboot --input '{"worker_id":"mini-03","worker_group":"mdc1"}'
  .bin/temporal workflow list --address %[3]s --query 'RollerOutcome = "back"'
  make tools   # builds tctl, pinned in tools/tctl/go.mod
  .bin/tctl --address %[3]s workflow start --taskqueue roller --workflow_type reboot --input '{"worker_id":"ms1-01","worker_group":"mdc1"}'

Ctrl-C ends everything.
`, d.UIURL, d.APIURL, d.Address, d.Dir, url)
}
