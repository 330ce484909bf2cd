package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// Without Since no rung can find that the machine is back.
func TestSinceIsHandedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot", "ipmi_reset", "snmp_rebootdelay")
	w.answers = []answer{wentDown, notSent, {result: activities.CommandResult{Back: "x"}}}
	w.ups = []activities.Sight{stayed}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.Nil(t, w.commands[0].Since)
	for _, c := range w.commands[1:] {
		require.NotNil(t, c.Since, c.Action)
		require.True(t, c.Since.Down && c.Since.Up, c.Action)
	}
}

// A cancelled job under a foreign ID ends after its child has
// powered the machine on, and with the child's record.
func TestForeignIDWaitsForItsCancelledChild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "snmp_rebootdelay")
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "random", TaskQueue: TaskQueue})
	w.answers = []answer{isOff, isOn}
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, 10*time.Second)
	r, err := w.run(t, "reboot")
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	require.Equal(t, []activities.Action{activities.Off, activities.On}, actions(w.commands))
	require.Equal(t, Cancelled, r.Outcome)
	require.Len(t, r.Attempts, 1)
}

// RollerOff is set before the off and unset after the on,
// or as soon as nothing is known to have been sent.
func TestRollerOff(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]answer{"off and on": isOff, "not sent": notSent, "refused": refusedIt, "cancelled": {err: temporal.NewCanceledError(activities.CommandResult{})}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot", "snmp_rebootdelay")
			w.answers = []answer{off}
			if name == "off and on" {
				w.answers = append(w.answers, isOn)
			}
			w.ups = []activities.Sight{up}
			var seen []string
			w.during = func(c activities.Command) { seen = append(seen, string(c.Action)) }
			w.noteOff(&seen)
			_, _ = w.run(t, "reboot")
			want := []string{"set snmp_rebootdelay", "off", "unset"}
			if name == "off and on" {
				want = []string{"set snmp_rebootdelay", "off", "on", "unset"}
			}
			require.Equal(t, want, seen)
		})
	}
}

// noteOff notes when RollerOff is set and unset.
func (w *world) noteOff(seen *[]string) {
	w.env.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) {
		attrs := args.Get(0).(temporal.SearchAttributes)
		if rung, ok := attrs.GetKeyword(AttrOff); ok {
			*seen = append(*seen, "set "+rung)
		} else if attrs.Size() == 0 { // the test suite drops what is unset
			*seen = append(*seen, "unset")
		}
	}).Return(nil).Maybe()
}

// A restore waits for the job that has the machine.
func TestRestoreWaitsForTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, RestoreType, "snmp_rebootdelay")
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: RestoreID("x"), TaskQueue: TaskQueue})
	w.env.OnWorkflow(PowerOnType, mock.Anything, mock.Anything).Return(testsuite.ErrMockStartChildWorkflowFailed).Times(3)
	w.env.OnWorkflow(PowerOnType, mock.Anything, mock.Anything).Return(Result{}, nil).Once()
	begun := w.env.Now()
	w.env.ExecuteWorkflow(RestoreType, LeftOff{Machine: ms1, Rung: "snmp_rebootdelay", RunID: "x"})
	require.NoError(t, w.env.GetWorkflowError())
	require.GreaterOrEqual(t, w.env.Now().Sub(begun), 3*restoreEvery)
	w.env.AssertExpectations(t)
}

// Promise 4: what the sweep powers on, the bug that calls it off is told; what it
// cannot power on, the bug says first, once for all tries. Where no bug can be
// filed none is tried.
func TestRestoreTellsTheBug(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []answer
		noBugs  bool
		want    []string
	}{
		"on at once":             {answers: []answer{isOn}, want: []string{"on"}},
		"a device that was dead": {answers: []answer{refusedIt, refusedIt, refusedIt, isOn}, want: []string{"off", "on"}},
		"no Bugzilla":            {answers: []answer{refusedIt, isOn}, noBugs: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, RestoreType)
			w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: RestoreID("x"), TaskQueue: TaskQueue})
			w.recalled = activities.RecalledOff{FQDN: w.plan.FQDN, Bugs: !c.noBugs}
			w.answers = c.answers
			w.env.ExecuteWorkflow(RestoreType, LeftOff{Machine: ms1, Rung: "snmp_rebootdelay", RunID: "x", WorkflowID: MachineID(ms1)})
			require.NoError(t, w.env.GetWorkflowError())
			require.Empty(t, w.answers)
			var said []string
			for _, b := range w.bugs {
				require.Equal(t, ms1, b.Machine)
				require.NotEqual(t, b.Off, b.On)
				said = append(said, map[bool]string{true: "off", false: "on"}[b.Off])
			}
			require.Equal(t, c.want, said)
		})
	}
}

// What Bugzilla refused is asked again within the limit.
func TestRefusedBugIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, BugType)
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: BugID(ms1), TaskQueue: TaskQueue})
	w.bugErr = temporal.NewNonRetryableApplicationError("bad key", string(activities.Refused), nil)
	w.env.RegisterDelayedCallback(func() { w.bugErr = nil }, 15*time.Minute)
	w.env.ExecuteWorkflow(BugType, BugInput{Bug: activities.Bug{Machine: ms1}, Limit: w.plan.Timing.BugLimit, Retry: w.plan.Timing.BugRetry})
	require.NoError(t, w.env.GetWorkflowError())
	require.Greater(t, len(w.bugs), 1)
}

// All of a machine's jobs file by one run.
func TestBugHasTheMachinesID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ssh_reboot", "file_bugzilla_bug")
	w.answers = []answer{ignored}
	var ids []string
	w.env.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
		ids = append(ids, info.WorkflowExecution.ID)
	})
	_, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, []string{BugID(ms1)}, ids)
}
