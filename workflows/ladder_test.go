package workflows

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

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
