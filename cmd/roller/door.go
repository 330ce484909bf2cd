package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// door is how this command line reaches jobs: through Temporal, or the API.
type door interface {
	start(ctx context.Context, r starter.Request) (at place, said string, err error)
	// find names the job that people name by a workflow's ID and perhaps a run's.
	find(ctx context.Context, workflowID, runID string) (place, error)
	// watch returns what gives the job at once the first time, and from then on
	// when it may have changed.
	watch(at place) func(context.Context) (api.JobDetail, error)
	view(ctx context.Context, at place) (starter.View, error)
	list(ctx context.Context, machine string, limit int) ([]api.JobView, error)
	// loans are the machines that are on loan, by their "group/id".
	loans(ctx context.Context) (map[string]workflows.LoanReading, error)
	cancel(ctx context.Context, at place) error
	machines(ctx context.Context) ([]config.Name, error)
}

// place is where a job is found.
type place struct {
	machine    config.Name
	workflowID string
	taskID     string
}

// addAPI gives a command the flag by which it asks the API.
func addAPI(cmd *cobra.Command) {
	cmd.Flags().String("api", "", "ask the API at this `URL`, signing with TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN, in the place of Temporal (ROLLER_API_URL)")
}

// apiURL is the API that a command asks, or "".
func apiURL(cmd *cobra.Command, cfg *config.Config) string {
	if f := cmd.Flags().Lookup("api"); f != nil && f.Changed {
		return f.Value.String()
	}
	return cfg.Client.APIURL
}

// withJobs runs f with the door that the command line names. Names are resolved
// by the inventory where this process has one, so that every spelling joins one
// job; elsewhere the API or the worker does.
func withJobs(cmd *cobra.Command, logger *slog.Logger, f func(door) error) error {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	if address := apiURL(cmd, cfg); address != "" {
		client, err := api.NewClient(address, cfg)
		if err != nil {
			return usage("%w", err)
		}
		return withStatus(f(viaAPI{client}))
	}
	inventory, err := names(cfg)
	if err != nil {
		return err
	}
	return withDoor(logger, cfg, inventory, func(s *starter.Starter) error { return withStatus(f(viaTemporal{s, inventory})) })
}

// viaTemporal is the door to Temporal.
type viaTemporal struct {
	*starter.Starter

	inventory func() *config.Inventory
}

func (d viaTemporal) start(ctx context.Context, r starter.Request) (place, string, error) {
	r.ClientID = localUser()
	job, err := d.Start(ctx, r)
	said := "started: "
	if job.Joined {
		said = "joined the job that was running: "
	}
	return place{workflowID: job.WorkflowID, taskID: job.TaskID}, said + job.TaskID, err
}

func (d viaTemporal) find(_ context.Context, workflowID, runID string) (place, error) {
	return place{workflowID: workflowID, taskID: runID}, nil
}

// lookEvery is how long a job without new events is not looked at: what it waits
// for is none.
const lookEvery = 3 * time.Second

func (d viaTemporal) watch(at place) func(context.Context) (api.JobDetail, error) {
	var seen *starter.View
	return func(ctx context.Context) (api.JobDetail, error) {
		if seen != nil && seen.Status == running {
			wait, cancel := context.WithTimeout(ctx, lookEvery)
			defer cancel()
			if err := d.AwaitChange(wait, *seen); err != nil && wait.Err() == nil {
				return api.JobDetail{}, err
			}
		}
		v, err := d.Show(ctx, at.workflowID, at.taskID)
		if err != nil {
			return api.JobDetail{}, err
		}
		seen = &v
		return api.DetailOf(v), nil
	}
}

func (d viaTemporal) view(ctx context.Context, at place) (starter.View, error) {
	return d.Show(ctx, at.workflowID, at.taskID)
}

func (d viaTemporal) list(ctx context.Context, machine string, limit int) ([]api.JobView, error) {
	views, err := d.List(ctx, strings.ToLower(machine), limit)
	out := make([]api.JobView, 0, len(views))
	for _, v := range views {
		out = append(out, api.ViewOf(v))
	}
	return out, err
}

func (d viaTemporal) loans(ctx context.Context) (map[string]workflows.LoanReading, error) {
	return d.Loans(ctx)
}

func (d viaTemporal) cancel(ctx context.Context, at place) error {
	return d.Cancel(ctx, at.workflowID, at.taskID)
}

func (d viaTemporal) machines(context.Context) ([]config.Name, error) {
	if d.inventory == nil {
		return nil, nil
	}
	var all []config.Name
	for _, m := range d.inventory().Machines() {
		all = append(all, m.Name)
	}
	return all, nil
}

// running is a job's state as Temporal calls it.
const running = "Running"

// viaAPI is the door to the API.
type viaAPI struct{ *api.Client }

func (r viaAPI) start(ctx context.Context, request starter.Request) (place, string, error) {
	job, err := r.Start(ctx, request)
	at := place{machine: config.Name{WorkerID: job.WorkerID, WorkerGroup: job.WorkerGroup}, taskID: job.TaskID}
	return at, "started or joined: " + job.TaskID, err
}

// find asks for the machine's newest job where no run is named.
func (r viaAPI) find(ctx context.Context, workflowID, runID string) (place, error) {
	parts := strings.Split(workflowID, "/")
	if parts[0] == "read" && len(parts) == 5 {
		parts = append([]string{"machine"}, parts[2:4]...)
		if runID == "" {
			return place{}, usage("--run must name the run of a read: the API knows jobs by their machine and task_id")
		}
	}
	if len(parts) != 3 || parts[0] != "machine" || len(config.ValidateName(parts[2], parts[1])) > 0 {
		return place{}, usage("%q: the API shows jobs of machines, like machine/mdc1/ms1-10", workflowID)
	}
	at := place{machine: config.Name{WorkerID: parts[2], WorkerGroup: parts[1]}, workflowID: workflowID, taskID: runID}
	if runID != "" {
		return at, nil
	}
	jobs, err := r.Jobs(ctx, at.machine, "", mostListed)
	for _, j := range jobs {
		if err == nil && strings.EqualFold(j.WorkflowID, workflowID) {
			at.taskID = j.TaskID
			return at, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("%w under %s", starter.ErrNoJob, workflowID)
	}
	return at, err
}

// mostListed is the longest page of the API's.
const mostListed = 100

// lookWait is how long the API is asked to wait for a change.
const lookWait = 10 * time.Second

// lookLeast is the least time from one look to the next: where many others wait, or a
// proxy changes the tags of states, the API does not let this one wait.
const lookLeast = time.Second

func (r viaAPI) watch(at place) func(context.Context) (api.JobDetail, error) {
	var seen api.Seen
	var last time.Time
	return func(ctx context.Context) (api.JobDetail, error) {
		pause(ctx, lookLeast-time.Since(last))
		last = time.Now()
		now, err := r.Job(ctx, at.machine, at.taskID, seen, lookWait)
		if err == nil {
			seen = now
		}
		return now.JobDetail, err
	}
}

func (r viaAPI) view(ctx context.Context, at place) (starter.View, error) {
	seen, err := r.Job(ctx, at.machine, at.taskID, api.Seen{}, 0)
	return asView(seen.JobDetail), err
}

// asView is a job of the API's as Temporal would have shown it.
func asView(j api.JobDetail) starter.View {
	v := starter.View{
		Job:     starter.Job{Task: j.TaskName, TaskID: j.TaskID, WorkflowID: j.WorkflowID},
		Machine: j.WorkerGroup + "/" + j.WorkerID, Status: strings.ToUpper(j.State[:min(1, len(j.State))]) + j.State[min(1, len(j.State)):],
		Outcome: string(j.Outcome), Rung: j.Rung, Off: j.Off, ClientID: j.ClientID,
		StartedAt: j.StartedAt, ClosedAt: j.EndedAt, Live: j.Live, Cancelling: j.Cancelling,
	}
	if j.Outcome == "" || j.State == stateRunning && !j.Live && len(j.Attempts) == 0 {
		return v // there is no record
	}
	v.Result = &workflows.Result{
		Task: j.TaskName, WorkerID: j.WorkerID, WorkerGroup: j.WorkerGroup, Outcome: j.Outcome, Off: j.Off != "", Why: j.Why,
		Attempts: j.Attempts, Bug: j.Bug, Text: j.Text, Now: j.Now, Next: j.Next, Loan: j.OnLoan,
	}
	return v
}

func (r viaAPI) list(ctx context.Context, machine string, limit int) ([]api.JobView, error) {
	group, id, ok := strings.Cut(machine, "/")
	if ok {
		return r.Jobs(ctx, config.Name{WorkerID: id, WorkerGroup: group}, "", min(limit, mostListed))
	}
	workers, err := r.Workers(ctx, false)
	var out []api.JobView
	for _, w := range workers {
		if w.LastJob != nil {
			out = append(out, *w.LastJob)
		}
	}
	slices.SortStableFunc(out, func(a, b api.JobView) int { return b.StartedAt.Compare(a.StartedAt) })
	return out[:min(limit, len(out))], err
}

func (r viaAPI) loans(ctx context.Context) (map[string]workflows.LoanReading, error) {
	workers, err := r.Workers(ctx, true)
	all := map[string]workflows.LoanReading{}
	for _, w := range workers {
		all[w.WorkerGroup+"/"+w.WorkerID] = *w.OnLoan
	}
	return all, err
}

func (r viaAPI) cancel(ctx context.Context, at place) error {
	_, err := r.Cancel(ctx, at.machine, at.taskID)
	return err
}

func (r viaAPI) machines(ctx context.Context) ([]config.Name, error) {
	workers, err := r.Workers(ctx, false)
	var all []config.Name
	for _, w := range workers {
		all = append(all, config.Name{WorkerID: w.WorkerID, WorkerGroup: w.WorkerGroup})
	}
	return all, err
}
