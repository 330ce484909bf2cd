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
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

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

func TestLadder(t *testing.T) {
	t.Parallel()
	full := []string{"ssh_reboot", "ipmi_reset", "snmp_reboot", "file_bugzilla_bug"}
	tests := map[string]struct {
		rungs    []string
		answers  []answer
		ups      []activities.Sight
		downs    []activities.Sight
		outcome  Outcome
		attempts []Outcome
		bugs     int
	}{
		"back after the first rung": {
			rungs: full, answers: []answer{wentDown}, ups: []activities.Sight{up},
			outcome: Back, attempts: []Outcome{Back},
		},
		"ssh ignored, back after IPMI": {
			rungs: full, answers: []answer{ignored, wentDown}, ups: []activities.Sight{up},
			outcome: Back, attempts: []Outcome{NoEffect, Back},
		},
		"not sent and refused go to the next rung, and nothing is awaited": {
			rungs: full, answers: []answer{notSent, refusedIt, wentDown}, ups: []activities.Sight{up},
			outcome: Back, attempts: []Outcome{NotSent, Refused, Back},
		},
		"a machine that was dark did not go down, and may come up": {
			rungs: full, answers: []answer{notSent, wasDark}, ups: []activities.Sight{up},
			outcome: Back, attempts: []Outcome{NotSent, Back},
		},
		"nothing helps: one bug": {
			rungs: full, answers: []answer{ignored, wentDown, wasDark}, ups: []activities.Sight{stayed, stayed},
			outcome: BugFiled, attempts: []Outcome{NoEffect, NotBack, NotBack}, bugs: 1,
		},
		"a machine that came back between two rungs is sent nothing more": {
			rungs:   full,
			answers: []answer{wentDown, {result: activities.CommandResult{Back: "it answers again"}}},
			ups:     []activities.Sight{stayed},
			outcome: Back, attempts: []Outcome{NotBack, Back},
		},
		"it is looked for once more before the bug, where something was tried since": {
			rungs: full, answers: []answer{wentDown, notSent, notSent}, ups: []activities.Sight{stayed, up},
			outcome: Back, attempts: []Outcome{NotBack, NotSent, NotSent, Back},
		},
		"a fast reboot that only its identity shows": {
			rungs: full, answers: []answer{{result: activities.CommandResult{
				Sent: "x", Baseline: wasUp,
				Watch: activities.Sight{Done: true, Rebooted: true, Up: true},
			}}},
			ups:     []activities.Sight{up},
			outcome: Back, attempts: []Outcome{Back},
		},
		"silent for a while with the same boot: not a reboot": {
			rungs: full, answers: []answer{wentDown, wentDown},
			ups:     []activities.Sight{{Done: true, Up: true, SameBoot: true}, up},
			outcome: Back, attempts: []Outcome{NoEffect, Back},
		},
		"a worker that stopped while watching: another goes on": {
			rungs:   full,
			answers: []answer{{result: activities.CommandResult{Sent: "x", Baseline: wasUp}}},
			downs:   []activities.Sight{{Done: true, Down: true}}, ups: []activities.Sight{up},
			outcome: Back, attempts: []Outcome{Back},
		},
		"an error that nobody understood counts as sent: down and up are awaited first": {
			rungs:   full,
			answers: []answer{{err: temporal.NewNonRetryableApplicationError("?", string(activities.Unknown), nil)}},
			downs:   []activities.Sight{{Done: true, Down: true}}, ups: []activities.Sight{up},
			outcome: Back, attempts: []Outcome{Back},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot", test.rungs...)
			w.answers, w.ups, w.downs = test.answers, test.ups, test.downs
			r, err := w.run(t, "reboot")
			require.NoError(t, err)
			require.Equal(t, test.outcome, r.Outcome)
			require.Equal(t, test.attempts, outcomes(r))
			require.Len(t, w.bugs, test.bugs)
			require.Empty(t, w.answers, "every answer was asked for")
			require.Empty(t, w.ups)
			require.Empty(t, w.downs)
		})
	}
}

// Promise 3: a worker lost in mid-command leaves in its heartbeat how the machine
// was before. (That a lost worker ends the attempt is the server's part, which
// the test suite does not play: lab/e2e kills workers.)
func TestLostWorkersBaseline(t *testing.T) {
	t.Parallel()
	lost := temporal.NewHeartbeatTimeoutError(activities.Progress{Phase: activities.Sending, Baseline: activities.Baseline{BootID: "b1"}})
	require.Equal(t, activities.Baseline{BootID: "b1"}, lastBaseline(lost))
	require.Equal(t, activities.Baseline{Up: true}, lastBaseline(temporal.NewHeartbeatTimeoutError()),
		"without any word of it, the machine must be seen going down")
}

// Promise 8: a rung whose data is missing is skipped, and the result says so.
func TestSkippedRung(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot", "ipmi_reset")
	w.plan.Rungs[0].Skip = "no ssh entry"
	w.answers, w.ups = []answer{wentDown}, []activities.Sight{up}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Attempt{
		Rung: "ssh_reboot", Outcome: Skipped, Why: "no ssh entry",
		StartedAt: r.Attempts[0].StartedAt, EndedAt: r.Attempts[0].EndedAt,
	}, r.Attempts[0])
	require.Len(t, w.commands, 1)
}

// A prober that cannot probe (DNS is down) kills no job silently: it ends with
// its bug, which says why.
func TestNobodyCouldLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot", "ipmi_reset", "file_bugzilla_bug")
	w.answers = []answer{wentDown, notSent} // the waits fail: no sight is expected
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, BugFiled, r.Outcome)
	require.Equal(t, []Outcome{NotBack, NotSent, NotBack}, outcomes(r))
	require.Contains(t, r.Attempts[0].Why, "could not be looked at")
}

// A machine that leaves the inventory under a running job was not sent anything.
func TestMachineLeavesTheInventory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot", "file_bugzilla_bug")
	w.answers = []answer{{err: temporal.NewNonRetryableApplicationError("gone", string(activities.UnknownMachine), nil)}}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, []Outcome{Skipped}, outcomes(r))
	require.Empty(t, w.watches)
}

func TestLadderWithoutBugFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot")
	w.answers = []answer{ignored}
	r, err := w.run(t, "reboot")
	e, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok)
	require.Equal(t, NotBackError, e.Type())
	require.Equal(t, NotBack, r.Outcome)
}

// Promise 9: Bugzilla down does not hold the job; it ends naming the bug's run.
func TestBugPendingNamesItsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot", "file_bugzilla_bug")
	w.answers = []answer{ignored}
	w.bugErr = temporal.NewApplicationError("bugzilla is down", string(activities.NotSent))
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, BugPending, r.Outcome)
	require.Equal(t, BugID(ms1), r.Bug.WorkflowID)
	require.NotEmpty(t, r.Bug.RunID)
	require.Less(t, r.EndedAt.Sub(r.StartedAt), 5*time.Minute)
}

// A single step that does not help fails, and says what was seen.
func TestSingleStepFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ipmi_reset")
	w.answers = []answer{refusedIt}
	r, err := w.run(t, "ipmi_reset")
	e, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok)
	require.Equal(t, string(Refused), e.Type())
	require.Equal(t, Refused, r.Outcome)
	require.Contains(t, r.Why, "wrong password")
	require.Empty(t, w.bugs)
}

func TestPowerState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ipmi_on")
	w.answers = []answer{{result: activities.CommandResult{Sent: "chassis power on", Power: "on"}}}
	r, err := w.run(t, "ipmi_on")
	require.NoError(t, err)
	require.Equal(t, Done, r.Outcome)
	require.Zero(t, w.commands[0].DownTimeout, "the machine is not watched")

	w = newWorld(t, "ipmi_off")
	w.answers = []answer{{result: activities.CommandResult{Sent: "chassis power off", Power: "on", Unknown: "still on"}}}
	_, err = w.run(t, "ipmi_off")
	require.Error(t, err, "an off that is not read back is no success")
}

// Promise 1: a run under any other ID touches nothing itself.
func TestForeignIDRunsAsChild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot")
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "random", TaskQueue: TaskQueue})
	w.answers, w.ups = []answer{wentDown}, []activities.Sight{up}
	var childID string
	w.env.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
		childID = info.WorkflowExecution.ID
	})
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, MachineID(ms1), childID)
	require.Equal(t, Back, r.Outcome)
	require.Len(t, w.commands, 1)
}

// A workflow's type may be the other spelling of its task, as people type it:
// under a random ID the child has the task's one name, and under the machine's own
// the record has.
func TestOtherSpelling(t *testing.T) {
	t.Parallel()
	for id, child := range map[string]string{"random": "xenapi_reboot", MachineID(ms1): ""} {
		w := newWorld(t, "xenapi_reboot")
		w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id, TaskQueue: TaskQueue})
		w.answers, w.ups = []answer{isOff, isOn}, []activities.Sight{up}
		var ran string
		w.env.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
			ran = info.WorkflowType.Name
		})
		r, err := w.run(t, "xen_reboot")
		require.NoError(t, err)
		require.Equal(t, Back, r.Outcome)
		require.Equal(t, "xenapi_reboot", r.Task)
		require.Equal(t, child, ran)
	}
}
