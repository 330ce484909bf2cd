package workflows

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// The server hangs the error of the attempt before on a timeout as its cause
// (server 1.29.1, mutable_state_impl.go:3786). A worker lost in its second
// attempt is "may have been sent", whatever the first one said.
func lostAfterNotSent() error {
	return temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT,
		temporal.NewApplicationError("no route", string(activities.NotSent)),
		activities.Progress{Phase: activities.Sending, Baseline: activities.Baseline{Up: true}})
}

func TestTimeoutAfterNotSentIsUnknown(t *testing.T) {
	t.Parallel()
	_, nothing := nothingSent(lostAfterNotSent())
	require.False(t, nothing)
	require.Contains(t, reason(lostAfterNotSent()), "lost")
}

// lostIn is the end of an attempt whose worker vanished, as it arrives.
func lostIn(phase activities.Phase) error {
	return lostSaying(activities.Progress{Phase: phase, Baseline: activities.Baseline{Up: true}})
}

func lostSaying(details any) error {
	wire := temporal.GetDefaultFailureConverter()
	return wire.FailureToError(wire.ErrorToFailure(temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil, details)))
}

// Promise 2: a worker lost before its command was about to go out has sent
// nothing, also one that was lost (frozen, say) before it said anything. Everything
// else counts as sent.
func TestLostUnsent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    error
		unsent bool
	}{
		"while it set up a session":      {lostIn(activities.Preparing), true},
		"while it sent":                  {lostIn(activities.Sending), false},
		"while it watched":               {lostIn(activities.Watching), false},
		"before any word of it":          {temporal.NewHeartbeatTimeoutError(), true},
		"with a word that says no phase": {lostSaying("?"), false},
		"not lost":                       {temporal.NewApplicationError("x", string(activities.Unknown), activities.Progress{Phase: activities.Preparing}), false},
	} {
		require.Equal(t, test.unsent, lostUnsent(test.err), name)
		outcome, nothing := nothingSent(test.err)
		require.Equal(t, test.unsent, nothing, name)
		require.Equal(t, test.unsent, outcome == NotSent, name)
		require.Equal(t, test.unsent && name != "before any word of it", strings.Contains(reason(test.err), "before it sent anything"), name)
	}
}

// Promises 2 and 4: the rung of an off whose workers were all lost before they
// sent it is over: nothing was switched off, no on follows, and no bug says that
// the machine is off.
func TestOffWhoseWorkersWereLostBeforeItWasSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay", "file_bugzilla_bug")
	for range 100 { // the suite plays lost workers as errors that may be retried
		w.answers = append(w.answers, answer{err: lostIn(activities.Preparing)})
	}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.NotContains(t, actions(w.commands), activities.On)
	require.Equal(t, []Outcome{NotSent}, outcomes(r))
	require.False(t, r.Off)
	require.Len(t, w.bugs, 1)
	require.False(t, w.bugs[0].Off)
}

// A worker that was lost before it sent anything has spent no rung: another one
// begins anew, but not for ever.
func TestLostUnsentIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ends  []error // of the attempts; after the last one it is sent
		tries int
		err   bool
	}{
		"sent at once":          {nil, 1, false},
		"lost before it, once":  {[]error{lostIn(activities.Preparing)}, 2, false},
		"lost before it, twice": {[]error{lostIn(activities.Preparing), lostIn(activities.Preparing)}, 3, false},
		"a command that kills":  {[]error{lostIn(activities.Preparing), lostIn(activities.Preparing), lostIn(activities.Preparing)}, 3, true},
		"lost while it sent":    {[]error{lostIn(activities.Sending)}, 1, true},
		"lost, then refused":    {[]error{lostIn(activities.Preparing), refusedIt.err}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var suite testsuite.WorkflowTestSuite
			env := newEnvironment(&suite)
			tries := 0
			env.RegisterActivityWithOptions(func(context.Context, activities.Command) (activities.CommandResult, error) {
				if tries++; tries <= len(test.ends) {
					return activities.CommandResult{}, test.ends[tries-1]
				}
				return activities.CommandResult{Sent: "off"}, nil
			}, activity.RegisterOptions{Name: "act"})
			env.ExecuteWorkflow(func(ctx workflow.Context) error {
				ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
					StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
				})
				var out activities.CommandResult
				err := carryOut(ctx, "act", activities.Command{}, &out)
				if err == nil && out.Sent == "" {
					return errors.New("no result")
				}
				return err
			})
			require.Equal(t, test.tries, tries)
			require.Equal(t, test.err, env.GetWorkflowError() != nil, "%v", env.GetWorkflowError())
		})
	}
}

// A machine that was dark before the first command and answers before the
// next one has come back: the workflow's last look must be had too.
func TestDarkMachineIsLookedForBeforeTheBug(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ipmi_reset", "snmp_reboot", "file_bugzilla_bug")
	w.answers, w.ups = []answer{wasDark, notSent}, []activities.Sight{stayed, up}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.Empty(t, w.bugs)
}

// A cancel while the off is known not to have been sent: no on, no bug that
// says OFF, and no job that lives for ON_LIMIT more.
func TestCancelOfAnOffThatWasNotSent(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]error{
		"before it was sent":   temporal.NewCanceledError(activities.CommandResult{}),
		"between two attempts": temporal.NewCanceledError("ACTIVITY_ID_NOT_STARTED"),
		"not sent":             temporal.NewNonRetryableApplicationError("unreachable", string(activities.NotSent), nil),
		"refused":              temporal.NewNonRetryableApplicationError("wrong community", string(activities.Refused), nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot", "snmp_rebootdelay", "file_bugzilla_bug")
			dead := answer{err: temporal.NewNonRetryableApplicationError("dead pdu", string(activities.NotSent), nil)}
			w.answers = []answer{{err: off}}
			for range 400 {
				w.answers = append(w.answers, dead)
			}
			w.during = func(in activities.Command) {
				if in.Action == activities.Off {
					w.env.CancelWorkflow()
				}
			}
			r, err := w.run(t, "reboot")
			require.True(t, temporal.IsCanceledError(err), "%v", err)
			require.Equal(t, []activities.Action{activities.Off}, actions(w.commands))
			require.False(t, r.Off)
			require.Empty(t, w.bugs)
			require.Less(t, r.EndedAt.Sub(r.StartedAt), time.Minute)
		})
	}
}

// ipmi_off cancelled after it was sent: the record says so.
func TestCancelledPowerStepSaysWhatWasSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ipmi_off")
	w.answers = []answer{{err: temporal.NewCanceledError(activities.CommandResult{Sent: "chassis power off", Power: "off"})}}
	r, err := w.run(t, "ipmi_off")
	require.True(t, temporal.IsCanceledError(err))
	require.Equal(t, "chassis power off", r.Attempts[0].Sent)
}

// A ladder that is cancelled says what is not known of its last command.
func TestCancelledCommandSaysThatItIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ipmi_reset", "file_bugzilla_bug")
	w.answers = []answer{{err: temporal.NewCanceledError(activities.CommandResult{Sent: "chassis power reset", Unknown: "no reply"})}}
	r, err := w.run(t, "reboot")
	require.True(t, temporal.IsCanceledError(err))
	require.Equal(t, Cancelled, r.Attempts[0].Outcome)
	require.Equal(t, "no reply", r.Attempts[0].Why)
}

// power_on and restore started by hand, or for another spelling, hold the
// machine's own ID or do nothing.
func TestPowerOnUnderAForeignIDTouchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, PowerOnType, "snmp_rebootdelay")
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "random", TaskQueue: TaskQueue})
	w.answers = []answer{isOn}
	w.env.ExecuteWorkflow(PowerOnType, LeftOff{Machine: config.Name{WorkerID: "MS1-10", WorkerGroup: "none"}, Rung: "snmp_rebootdelay"})
	require.True(t, w.env.IsWorkflowCompleted())
	require.Empty(t, w.commands)
	require.Error(t, w.env.GetWorkflowError())
}

// A job under a foreign ID that is cancelled before its child has started,
// and one whose child was terminated, do not end with a record that says running.
func TestForeignIDNeverEndsRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot")
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "random", TaskQueue: TaskQueue})
	w.env.SetOnActivityStartedListener(func(*activity.Info, context.Context, converter.EncodedValues) { w.env.CancelWorkflow() })
	r, err := w.run(t, "reboot")
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	require.Equal(t, Cancelled, r.Outcome)
	require.Empty(t, w.commands)

	err = surface(errors.New("child workflow execution error: terminated"), Result{Outcome: Running})
	e, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "its record travels as details")
	require.NoError(t, e.Details(&r))
	require.Equal(t, Failed, r.Outcome)
}

// A run started by hand under another machine's ID must not hold that machine.
func TestAnotherMachinesIDIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot")
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "machine/mdc1/ms1-11", TaskQueue: TaskQueue})
	w.answers, w.ups = []answer{wentDown}, []activities.Sight{up}
	_, err := w.run(t, "reboot")
	require.Error(t, err, "its own job would be joined to a reboot of another machine")
	require.Empty(t, w.commands)
}

// A job terminated while its off is under way: the activity may send it a
// little later, so a machine that reads on at once is looked at again.
func TestRestoreOutlivesTheLostOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, RestoreType, "snmp_rebootdelay")
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: RestoreID("x"), TaskQueue: TaskQueue})
	begun := w.env.Now()
	var last time.Time
	w.answers = []answer{isOn, isOn, isOn}
	w.during = func(activities.Command) { last = w.env.Now() }
	w.env.ExecuteWorkflow(RestoreType, LeftOff{Machine: ms1, Rung: "snmp_rebootdelay", WorkflowID: MachineID(ms1), RunID: "x", ClosedAt: begun})
	require.NoError(t, w.env.GetWorkflowError())
	require.GreaterOrEqual(t, last.Sub(begun), 4*time.Minute, "the off's activity can live that long")
}

// A job whose worker was lost still ends with a record.
func TestLostPowerStepHasARecord(t *testing.T) {
	t.Parallel()
	r := &run{result: Result{Outcome: Failed}}
	var suite testsuite.WorkflowTestSuite
	env := newEnvironment(&suite)
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		_, err := r.end(ctx, lostAfterNotSent())
		return err
	})
	e, ok := errors.AsType[*temporal.ApplicationError](env.GetWorkflowError())
	require.True(t, ok)
	require.True(t, e.HasDetails())
	require.NotEqual(t, string(activities.NotSent), e.Type())
}

// The bug's ID is taken by an earlier job's run that Bugzilla holds up. It
// does not say that the machine is off; the next try to file it must.
func TestOffIsReportedAfterAnEarlierBugRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay")
	w.answers = []answer{isOff, refusedIt, refusedIt, isOn}
	w.ups = []activities.Sight{up}
	w.env.OnWorkflow(BugType, mock.Anything, mock.Anything).Return(activities.BugResult{}, testsuite.ErrMockStartChildWorkflowFailed).Once()
	var off, on []bool
	w.env.OnWorkflow(BugType, mock.Anything, mock.Anything).Return(func(_ workflow.Context, in BugInput) (activities.BugResult, error) {
		off = append(off, in.Bug.Off)
		on = append(on, in.Bug.On)
		return activities.BugResult{ID: 7, URL: "u"}, nil
	}).Maybe()
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.Equal(t, []bool{true, false}, off)
	require.Equal(t, []bool{false, true}, on, "and then that it is on again")
}

// Without the suite (which cuts a cancelled activity off without waiting for
// its answer): what a cancelled command's end says.
func TestNeverSent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err   error
		never bool
	}{
		"the activity had not sent it": {temporal.NewCanceledError(activities.CommandResult{}), true},
		"no attempt was under way":     {temporal.NewCanceledError("ACTIVITY_ID_NOT_STARTED"), true},
		"it was never scheduled":       {temporal.NewCanceledError(), true},
		"sent":                         {temporal.NewCanceledError(activities.CommandResult{Sent: "off"}), false},
		"unknown":                      {temporal.NewCanceledError(activities.CommandResult{Unknown: "lost"}), false},
		"its worker was lost":          {lostAfterNotSent(), false},
		"not understood":               {temporal.NewCanceledError(7), false},
	} {
		wire := temporal.GetDefaultFailureConverter()
		err := wire.FailureToError(wire.ErrorToFailure(test.err)) // as it arrives
		require.Equal(t, test.never, neverSent(err, activities.CommandResult{}), name)
	}
}
