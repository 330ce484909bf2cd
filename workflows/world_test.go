package workflows

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

var ms1 = config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}

// world is what the activities of one test do, rung by rung, and what they were asked.
type world struct {
	env      *testsuite.TestWorkflowEnvironment
	plan     activities.Plan
	commands []activities.Command
	answers  []answer // in the order in which commands are sent
	ups      []activities.Sight
	downs    []activities.Sight
	watches  []activities.Watch
	bugs     []activities.Bug
	bugErr   error
	during   func(activities.Command) // called while a command is under way
	// takes is how long an activity takes, by its name; none otherwise.
	takes    map[string]time.Duration
	recalled activities.RecalledOff // what else is known of what a closed run left off
}

type answer struct {
	result activities.CommandResult
	err    error
}

// newEnvironment is one whose limits by the wall clock, of three seconds for all and
// one between two yields, are no matter of how busy the machine is.
func newEnvironment(suite *testsuite.WorkflowTestSuite) *testsuite.TestWorkflowEnvironment {
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute})
	return env
}

// newWorld is an environment in which the job has the machine's own ID.
func newWorld(t *testing.T, task string, rungs ...string) *world {
	t.Helper()
	return newWorldOf(t, &testsuite.WorkflowTestSuite{}, task, rungs...)
}

func newWorldOf(t *testing.T, suite *testsuite.WorkflowTestSuite, task string, rungs ...string) *world {
	t.Helper()
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	w := &world{env: newEnvironment(suite)}
	Register(w.env)
	w.env.RegisterActivity(&activities.Activities{})
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: MachineID(ms1), TaskQueue: TaskQueue})
	second := config.Duration(time.Second)
	w.plan = activities.Plan{Machine: ms1, FQDN: "ms1-10.test.releng.mdc1.mozilla.com", Timing: activities.Timing{
		Down: 60 * second, Up: 300 * second, RungRetry: 60 * second, OffDelay: 5 * second, PDUDelay: 60 * second,
		OnAlarm: 300 * second, OnLimit: config.Duration(24 * time.Hour), BugWait: 20 * second,
		BugLimit: config.Duration(24 * time.Hour), BugRetry: 600 * second, OnRetry: 300 * second,
		Command: 180 * second, Retry: 5 * second, LastLook: 15 * second, Heartbeat: 60 * second,
	}}
	if len(rungs) == 0 {
		rungs = []string{task}
	}
	for _, r := range rungs {
		w.plan.Rungs = append(w.plan.Rungs, activities.Rung{Name: r, Target: targetOf(r)})
	}
	w.mock()
	return w
}

// targetOf is a device of a rung's own.
func targetOf(rung string) activities.Target {
	return activities.Target{VM: &activities.TargetVM{UUID: rung}}
}

// taking is for how long an activity is under way before it does what it does.
func (w *world) taking(name string) func() time.Duration {
	return func() time.Duration { return w.takes[name] }
}

func (w *world) mock() {
	w.env.OnActivity(a.RecallOff, mock.Anything, mock.Anything).Return(
		func(context.Context, activities.LeftOff) (activities.RecalledOff, error) {
			off := activities.Command{Machine: ms1, Action: activities.Off, Target: targetOf("recalled")}
			out := w.recalled
			out.Off, out.Timing = off, w.plan.Timing
			return out, nil
		}).Maybe()
	w.env.OnActivity(a.ResolveJob, mock.Anything, mock.Anything).Return(
		func(context.Context, activities.ResolveInput) (activities.Plan, error) { return w.plan, nil }).AfterFn(w.taking("ResolveJob")).Maybe()
	command := func(_ context.Context, in activities.Command) (activities.CommandResult, error) {
		w.commands = append(w.commands, in)
		if w.during != nil {
			w.during(in)
		}
		if len(w.answers) == 0 {
			return activities.CommandResult{}, errors.New("a command that this test did not expect")
		}
		next := w.answers[0]
		w.answers = w.answers[1:]
		return next.result, next.err
	}
	for _, f := range []any{a.SSHReboot, a.IPMIPower, a.IPMIReboot, a.SNMPOutlet, a.XenPower, a.Reimage} {
		w.env.OnActivity(f, mock.Anything, mock.Anything).Return(command).Maybe()
	}
	w.env.OnActivity(a.AwaitUp, mock.Anything, mock.Anything).Return(w.sight(&w.ups)).AfterFn(w.taking("AwaitUp")).Maybe()
	w.env.OnActivity(a.AwaitInstalled, mock.Anything, mock.Anything).Return(w.sight(&w.ups)).AfterFn(w.taking("AwaitInstalled")).Maybe()
	w.env.OnActivity(a.AwaitDown, mock.Anything, mock.Anything).Return(w.sight(&w.downs)).AfterFn(w.taking("AwaitDown")).Maybe()
	w.env.OnActivity(a.BugzillaFile, mock.Anything, mock.Anything).Return(
		func(_ context.Context, in activities.Bug) (activities.BugResult, error) {
			w.bugs = append(w.bugs, in)
			return activities.BugResult{ID: 7, URL: "https://bugzilla.example/show_bug.cgi?id=7", Created: true}, w.bugErr
		}).AfterFn(w.taking("BugzillaFile")).Maybe()
}

func (w *world) sight(from *[]activities.Sight) func(context.Context, activities.Watch) (activities.Sight, error) {
	return func(_ context.Context, in activities.Watch) (activities.Sight, error) {
		w.watches = append(w.watches, in)
		if len(*from) == 0 {
			return activities.Sight{}, temporal.NewNonRetryableApplicationError("a wait that this test did not expect", "unexpected", nil)
		}
		next := (*from)[0]
		*from = (*from)[1:]
		return next, nil
	}
}

func (w *world) run(t *testing.T, task string) (Result, error) {
	t.Helper()
	w.env.ExecuteWorkflow(task, Job{WorkerID: "MS1-10", WorkerGroup: "none"})
	require.True(t, w.env.IsWorkflowCompleted())
	var r Result
	err := w.env.GetWorkflowError()
	if err == nil {
		require.NoError(t, w.env.GetWorkflowResult(&r))
		return r, nil
	}
	if e, ok := errors.AsType[*temporal.ApplicationError](err); ok && e.HasDetails() {
		require.NoError(t, e.Details(&r))
	}
	if e, ok := errors.AsType[*temporal.CanceledError](err); ok && e.HasDetails() {
		require.NoError(t, e.Details(&r))
	}
	return r, err
}

var (
	wasUp     = activities.Baseline{Up: true, At: time.Unix(1, 0)}
	wentDown  = answer{result: activities.CommandResult{Sent: "x", Baseline: wasUp, Watch: activities.Sight{Done: true, Down: true}}}
	ignored   = answer{result: activities.CommandResult{Sent: "x", Baseline: wasUp, Watch: activities.Sight{Done: true, Up: true}}}
	wasDark   = answer{result: activities.CommandResult{Sent: "x", Watch: activities.Sight{Done: true}}}
	notSent   = answer{err: temporal.NewNonRetryableApplicationError("unreachable", string(activities.NotSent), nil)}
	refusedIt = answer{err: temporal.NewNonRetryableApplicationError("wrong password", string(activities.Refused), nil)}
	up        = activities.Sight{Done: true, Up: true}
	stayed    = activities.Sight{Done: true}
)

func outcomes(r Result) []Outcome {
	var out []Outcome
	for _, at := range r.Attempts {
		out = append(out, at.Outcome)
	}
	return out
}
