package workflows

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// A job that is to drain sends nothing before the worker is quarantined and its task
// over; one that cannot be quarantined does nothing at all.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		input   Job
		plan    activities.Drain // by the inventory
		answer  *Quarantined     // of the run that holds the quarantine; nil: none comes
		waitErr error
		sends   int
		drain   Outcome
		why     string
	}{
		"not asked for":            {answer: nil, sends: 1},
		"drained":                  {input: Job{Drain: new(true), ProvisionerID: "p", WorkerType: "w"}, answer: &Quarantined{}, sends: 1, drain: Done, why: "quarantined; its task is over"},
		"an unknown worker":        {input: Job{Drain: new(true), ProvisionerID: "p", WorkerType: "w"}, answer: &Quarantined{Unknown: true}, sends: 1, drain: Skipped, why: "does not know"},
		"refused":                  {input: Job{Drain: new(true), ProvisionerID: "p", WorkerType: "w"}, answer: &Quarantined{Failed: "no scope"}, drain: Failed, why: "no scope"},
		"no answer":                {input: Job{Drain: new(true), ProvisionerID: "p", WorkerType: "w"}, drain: Failed, why: "did not answer within 5m"},
		"no worker type":           {input: Job{Drain: new(true), ProvisionerID: "p"}, drain: Failed, why: "are needed"},
		"by the inventory":         {plan: activities.Drain{Always: true, ProvisionerID: "p", WorkerType: "w"}, answer: &Quarantined{}, sends: 1, drain: Done, why: "quarantined; its task is over"},
		"the request knows better": {input: Job{Drain: new(false)}, plan: activities.Drain{Always: true, ProvisionerID: "p", WorkerType: "w"}, sends: 1},
		"of the inventory's queue": {input: Job{Drain: new(true)}, plan: activities.Drain{ProvisionerID: "p", WorkerType: "w"}, answer: &Quarantined{}, sends: 1, drain: Done, why: "quarantined"},
		"of the request's queue":   {input: Job{Drain: new(true), ProvisionerID: "p", WorkerType: "w"}, plan: activities.Drain{ProvisionerID: "x", WorkerType: "y"}, answer: &Quarantined{}, sends: 1, drain: Done, why: "quarantined"},
		"the wait itself fails":    {input: Job{Drain: new(true), ProvisionerID: "p", WorkerType: "w"}, answer: &Quarantined{}, waitErr: temporal.NewNonRetryableApplicationError("lost", "x", nil), sends: 1, drain: Done, why: "not waited for: lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot", "ssh_reboot")
			w.plan.Drain = test.plan
			w.answers, w.ups = []answer{wentDown}, []activities.Sight{up}
			w.env.OnWorkflow(QuarantineType, mock.Anything, mock.Anything).Return(func(ctx workflow.Context, in QuarantineInput) error {
				require.Equal(t, activities.TaskWorker{ProvisionerID: "p", WorkerType: "w", WorkerGroup: "mdc1", WorkerID: "ms1-10"}, in.Worker)
				if test.answer != nil {
					_ = workflow.SignalExternalWorkflow(ctx, in.Job.WorkflowID, in.Job.RunID, QuarantinedSignal, *test.answer).Get(ctx, nil)
				}
				return workflow.Sleep(ctx, 48*time.Hour)
			}).Maybe()
			w.env.OnActivity(a.AwaitDrained, mock.Anything, mock.Anything).Return(func(context.Context, activities.Draining) (activities.Drained, error) {
				require.Empty(t, w.commands, "nothing is sent before")
				return activities.Drained{Why: "its task is over"}, test.waitErr
			}).Maybe()
			test.input.WorkerID, test.input.WorkerGroup = "ms1-10", "mdc1"
			w.env.ExecuteWorkflow("reboot", test.input)
			require.True(t, w.env.IsWorkflowCompleted())
			require.Len(t, w.commands, test.sends)
			value, err := w.env.QueryWorkflow(ProgressQuery)
			require.NoError(t, err)
			var r Result
			require.NoError(t, value.Get(&r))
			if test.drain == "" {
				require.Empty(t, slices.DeleteFunc(r.Attempts, func(at Attempt) bool { return at.Rung != "drain" }))
			} else {
				require.Equal(t, "drain", r.Attempts[0].Rung)
				require.Equal(t, test.drain, r.Attempts[0].Outcome)
				require.Contains(t, r.Attempts[0].Why, test.why)
			}
			if test.sends > 0 {
				require.NoError(t, w.env.GetWorkflowError())
			} else {
				require.ErrorContains(t, w.env.GetWorkflowError(), NotDrainedError)
			}
		})
	}
}

// A cancel ends the job at each step of the drain, and nothing is sent: the run that
// holds the quarantine sees that the job has closed.
func TestDrainIsCancelled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		task   string
		answer *Quarantined // of the run that holds the quarantine
		after  time.Duration
	}{
		"while it is set":                           {task: "reboot", after: 15 * time.Second},
		"while the task is waited for":              {task: "reboot", answer: &Quarantined{}, after: 15 * time.Second},
		"of a single command":                       {task: "ipmi_off", answer: &Quarantined{}, after: 15 * time.Second},
		"of a bug, which no cancel would keep back": {task: "file_bugzilla_bug", answer: &Quarantined{}, after: 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.task, test.task)
			w.takes = map[string]time.Duration{"AwaitDrained": time.Hour}
			w.env.OnWorkflow(QuarantineType, mock.Anything, mock.Anything).Return(func(ctx workflow.Context, in QuarantineInput) error {
				if test.answer != nil {
					_ = workflow.SignalExternalWorkflow(ctx, in.Job.WorkflowID, in.Job.RunID, QuarantinedSignal, *test.answer).Get(ctx, nil)
				}
				return nil
			}).Maybe()
			w.env.OnActivity(a.AwaitDrained, mock.Anything, mock.Anything).Return(activities.Drained{Why: "over"}, nil).AfterFn(w.taking("AwaitDrained")).Maybe()
			w.env.RegisterDelayedCallback(w.env.CancelWorkflow, test.after)
			w.env.ExecuteWorkflow(test.task, Job{WorkerID: "ms1-10", WorkerGroup: "mdc1", Drain: new(true), ProvisionerID: "p", WorkerType: "w"})
			require.True(t, temporal.IsCanceledError(w.env.GetWorkflowError()), "%v", w.env.GetWorkflowError())
			require.Empty(t, w.commands)
			require.Empty(t, w.bugs)
			value, err := w.env.QueryWorkflow(ProgressQuery)
			require.NoError(t, err)
			var r Result
			require.NoError(t, value.Get(&r))
			require.Equal(t, Cancelled, r.Outcome)
			require.Equal(t, []Outcome{Cancelled}, outcomes(r))
			require.Equal(t, test.after, r.EndedAt.Sub(r.StartedAt).Round(time.Second), "at once")
		})
	}
}

// What was there before is read before anything is set, and put back whatever
// becomes of the job, of the setting, and of the run itself.
func TestHoldQuarantine(t *testing.T) {
	t.Parallel()
	before := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	for name, test := range map[string]struct {
		known     bool
		until     time.Time
		setErr    error
		closedErr error
		cancel    bool
		sets      int
		lifts     int
		told      Quarantined
	}{
		"the job closes":          {known: true, until: before, sets: 1, lifts: 1},
		"an unknown worker":       {told: Quarantined{Unknown: true}},
		"somebody's, for longer":  {known: true, until: before.AddDate(1000, 0, 0)},
		"it may have been set":    {known: true, until: before, setErr: temporal.NewNonRetryableApplicationError("no scope", "x", nil), sets: 1, lifts: 1, told: Quarantined{Failed: "no scope"}},
		"the job is not known":    {known: true, until: before, closedErr: temporal.NewNonRetryableApplicationError("gone", "x", nil), sets: 1, lifts: 1},
		"this run is cancelled":   {known: true, until: before, cancel: true, sets: 1, lifts: 1},
		"there was no quarantine": {known: true, sets: 1, lifts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot")
			var order []string
			var ours time.Time
			w.env.OnActivity(a.QuarantineRead, mock.Anything, mock.Anything).Return(func(context.Context, activities.TaskWorker) (activities.Quarantine, error) {
				order = append(order, "read")
				return activities.Quarantine{Known: test.known, Until: test.until}, nil
			})
			w.env.OnActivity(a.QuarantineSet, mock.Anything, mock.Anything).Return(func(_ context.Context, c activities.QuarantineChange) error {
				order, ours = append(order, "set"), c.Until
				return test.setErr
			}).Maybe()
			w.env.OnActivity(a.QuarantineLift, mock.Anything, mock.Anything).Return(func(_ context.Context, c activities.QuarantineChange) error {
				order = append(order, "lift")
				require.True(t, test.until.Equal(c.Until), "exactly what was there")
				require.True(t, ours.Equal(c.Ours))
				return nil
			}).Maybe()
			w.env.OnActivity(a.AwaitClosed, mock.Anything, mock.Anything).Return(func(ctx context.Context, _ activities.RunRef) (activities.Closed, error) {
				if test.cancel {
					w.env.CancelWorkflow()
					<-ctx.Done()
					return activities.Closed{}, ctx.Err()
				}
				return activities.Closed{How: "terminated"}, test.closedErr
			}).Maybe()
			var told []Quarantined
			w.env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, QuarantinedSignal, mock.Anything).Return(
				func(_, _, _, _ string, q any) error {
					value, ok := q.(Quarantined)
					require.True(t, ok)
					told = append(told, value)
					return nil
				})
			w.env.ExecuteWorkflow(QuarantineType, QuarantineInput{
				Worker: activities.TaskWorker{WorkerID: "ms1-10"}, Job: activities.RunRef{WorkflowID: "machine/mdc1/another-than-this", RunID: "r"},
				For: config.Duration(13 * time.Hour), Heartbeat: config.Duration(time.Minute),
			})
			require.True(t, w.env.IsWorkflowCompleted())
			want := []string{"read"}
			for range test.sets {
				want = append(want, "set")
			}
			for range test.lifts {
				want = append(want, "lift")
			}
			require.Equal(t, want, order)
			require.Equal(t, []Quarantined{test.told}, told)
		})
	}
}
