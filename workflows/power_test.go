package workflows

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
)

var (
	isOff = answer{result: activities.CommandResult{Sent: "off", Power: "off", Baseline: wasUp, Watch: activities.Sight{Done: true, Down: true}}}
	isOn  = answer{result: activities.CommandResult{Sent: "on", Power: "on"}}
)

func actions(commands []activities.Command) []activities.Action {
	var out []activities.Action
	for _, c := range commands {
		out = append(out, c.Action)
	}
	return out
}

func TestOffWaitOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay")
	w.answers, w.ups = []answer{isOff, isOn}, []activities.Sight{up}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.False(t, r.Off)
	require.Equal(t, []activities.Action{activities.Off, activities.On}, actions(w.commands))
	require.GreaterOrEqual(t, r.EndedAt.Sub(r.StartedAt), 60*time.Second, "the wait is the PDU's delay")
}

// The plan says that one command cannot do it on this machine: then snmp_reboot
// is off, a wait of this run's own, and on.
func TestRebootByOffAndOn(t *testing.T) {
	t.Parallel()
	for _, task := range []string{"reboot", "snmp_reboot"} {
		w := newWorld(t, task, "snmp_reboot")
		w.plan.Rungs[0].OffOn = true
		w.answers, w.ups = []answer{isOff, isOn}, []activities.Sight{up}
		r, err := w.run(t, task)
		require.NoError(t, err)
		require.Equal(t, Back, r.Outcome)
		require.Equal(t, []activities.Action{activities.Off, activities.On}, actions(w.commands))
		took := r.EndedAt.Sub(r.StartedAt)
		require.True(t, took >= 5*time.Second && took < 60*time.Second, "the wait is the short one: %s", took)
	}
}

// Promise 4: whatever the off ended with, unless it is known that nothing was
// switched off, on follows.
func TestOnFollowsEveryOffThatMayHaveHappened(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		off answer
		on  bool
	}{
		"acknowledged": {isOff, true},
		"not read back": {answer{result: activities.CommandResult{
			Sent: "off", Power: "on", Unknown: "still on", Baseline: wasUp,
			Watch: activities.Sight{Done: true, Up: true},
		}}, true},
		"unknown":  {answer{err: temporal.NewNonRetryableApplicationError("?", string(activities.Unknown), nil)}, true},
		"not sent": {notSent, false},
		"refused":  {refusedIt, false},
		"skipped":  {answer{result: activities.CommandResult{Skipped: "x"}}, false},
		"back":     {answer{result: activities.CommandResult{Back: "x"}}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot", "snmp_rebootdelay")
			w.answers = []answer{test.off}
			if test.on {
				w.answers = append(w.answers, isOn)
			}
			w.downs, w.ups = []activities.Sight{{Done: true, Down: true}}, []activities.Sight{up}
			r, _ := w.run(t, "reboot")
			require.False(t, r.Off)
			require.Empty(t, w.answers, "on was sent if and only if it had to be")
		})
	}
}

// An outlet that reads off while the machine answers on is not the machine's,
// or not its only one: that must not look like a machine that came back.
func TestOffThatDoesNotDarkenTheMachineIsNoReboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay", "file_bugzilla_bug")
	w.answers = []answer{{result: activities.CommandResult{
		Sent: "off", Power: "off", Baseline: wasUp,
		Watch: activities.Sight{Done: true, Up: true},
	}}, isOn}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, BugFiled, r.Outcome)
	require.Equal(t, []Outcome{NoEffect}, outcomes(r))
}

// Promises 4 and 10: cancelled between off and on, the machine is powered on first.
func TestCancelBetweenOffAndOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay")
	w.answers = []answer{isOff, isOn}
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, 10*time.Second)
	r, err := w.run(t, "reboot")
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	require.Equal(t, []activities.Action{activities.Off, activities.On}, actions(w.commands))
	require.Equal(t, Cancelled, r.Outcome)
	require.False(t, r.Off)
	require.Less(t, r.EndedAt.Sub(r.StartedAt), 30*time.Second, "a cancel does not wait for the delay")
}

// Promise 4: a PDU that died between off and on. The bug says first that the
// machine is off, and roller goes on until it is on.
func TestOnThatFailsForHours(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay")
	w.answers = []answer{isOff}
	for range 3 {
		w.answers = append(w.answers, refusedIt)
	}
	w.answers = append(w.answers, isOn)
	w.ups = []activities.Sight{up}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.Len(t, w.bugs, 2)
	require.True(t, w.bugs[0].Off && !w.bugs[0].On)
	require.True(t, w.bugs[1].On && !w.bugs[1].Off, "the bug says that it is on again")
	require.False(t, r.Off)
}

func TestOnThatNeverSucceedsEndsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay", "file_bugzilla_bug")
	w.plan.Timing.OnLimit = w.plan.Timing.OnAlarm
	w.answers = []answer{isOff, refusedIt, refusedIt, refusedIt, refusedIt}
	r, err := w.run(t, "reboot")
	e, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok)
	require.Equal(t, string(StillOff), e.Type())
	require.True(t, r.Off)
	require.Equal(t, StillOff, r.Outcome)
	require.Len(t, w.bugs, 1)
	require.Contains(t, r.Markdown(), "**OFF:")
}

func TestIPMIOffAsARungPowersOnAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ipmi_off")
	w.answers, w.ups = []answer{isOff, isOn}, []activities.Sight{up}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.Equal(t, []activities.Action{activities.Off, activities.On}, actions(w.commands))
}

// Promise 4: a PDU that is dead for most of a day. The job says off, first of
// all, all that time, and the machine is on in the end. The second rung's off is
// reported like the first one's.
func TestOnThatFailsForADay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ipmi_off", "snmp_rebootdelay")
	w.answers = []answer{{result: activities.CommandResult{Sent: "off", Power: "off", Baseline: wasUp, Watch: activities.Sight{Done: true, Up: true}}}, refusedIt, isOn, isOff}
	for range 250 { // with ON_RETRY of 5 minutes: more than 20 hours
		w.answers = append(w.answers, refusedIt)
	}
	w.answers = append(w.answers, isOn)
	w.ups = []activities.Sight{up}
	w.env.RegisterDelayedCallback(func() {
		value, err := w.env.QueryWorkflow(ProgressQuery)
		require.NoError(t, err)
		var r Result
		require.NoError(t, value.Get(&r))
		require.True(t, r.Off)
		require.Regexp(t, `\A\*\*OFF:`, r.Markdown(), "the first line")
		require.NotNil(t, r.Bug)
	}, 12*time.Hour)
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.Greater(t, r.EndedAt.Sub(r.StartedAt), 20*time.Hour)
	require.Empty(t, w.answers)
	var said []string
	for _, b := range w.bugs {
		said = append(said, map[bool]string{true: "off"}[b.Off]+map[bool]string{true: "on"}[b.On])
	}
	require.Equal(t, []string{"off", "on", "off", "on"}, said)
}

// A bug that could not be filed while the machine was off says that it is on
// again as soon as it is filed.
func TestBugIsToldOfThePowerWhileItIsFiled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, BugType)
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: BugID(ms1), TaskQueue: TaskQueue})
	w.bugErr = temporal.NewNonRetryableApplicationError("bad key", string(activities.Refused), nil)
	w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(PowerOnSignal, nil) }, time.Minute)
	w.env.RegisterDelayedCallback(func() { w.bugErr = nil }, 15*time.Minute)
	w.env.ExecuteWorkflow(BugType, BugInput{Bug: activities.Bug{Machine: ms1, Off: true}, Limit: w.plan.Timing.BugLimit, Retry: w.plan.Timing.BugRetry})
	require.NoError(t, w.env.GetWorkflowError())
	last := w.bugs[len(w.bugs)-1]
	require.True(t, last.On && !last.Off)
	require.True(t, w.bugs[len(w.bugs)-2].Off)
}
