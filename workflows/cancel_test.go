package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// long is more than a person waits for a cancel, and less than the shortest limit
// of what takes it.
const long = 50 * time.Second

// soon is how long after its cancel a job may be open by the workflow's clock,
// where it has nothing to power on.
const soon = 5 * time.Second

// cancelled is a job that is cancelled at one step.
type cancelledAt struct {
	task    string // reboot
	rungs   []string
	id      string // the machine's
	takes   string // the activity during which the cancel comes
	after   time.Duration
	answers []answer
	downs   []activities.Sight
	ups     []activities.Sight
	sent    []activities.Action
	within  time.Duration // soon
	bugs    int
	set     func(*blindWorld)
}

var (
	sentAndStopped = answer{result: activities.CommandResult{Sent: "x", Baseline: wasUp}} // its worker stopped before it had watched
	offUnread      = answer{result: activities.CommandResult{Sent: "off", Power: "on", Unknown: "still on", Baseline: wasUp, Watch: activities.Sight{Done: true, Down: true}}}
)

func everyStep() map[string]cancelledAt {
	reset, off, on := activities.Reset, activities.Off, activities.On
	bugLast := []string{"ipmi_reset", "file_bugzilla_bug"}
	install := func(w *blindWorld) {
		w.plan.Timing.Reimage = config.Duration(2 * time.Hour)
		w.env.OnActivity(a.ClearNetboot, mock.Anything, mock.Anything).Return(unset, nil).Once()
	}
	return map[string]cancelledAt{
		"looking the machine up":            {takes: "ResolveJob", rungs: bugLast},
		"the same, under another ID":        {takes: "ResolveJob", rungs: bugLast, id: "random"},
		"watching for down":                 {takes: "AwaitDown", rungs: bugLast, answers: []answer{sentAndStopped}, sent: []activities.Action{reset}},
		"awaiting up":                       {takes: "AwaitUp", rungs: bugLast, answers: []answer{wentDown}, sent: []activities.Action{reset}},
		"the same, as a child":              {takes: "AwaitUp", rungs: bugLast, id: "random", answers: []answer{wentDown}, sent: []activities.Action{reset}},
		"the last look":                     {takes: "AwaitUp", after: 400 * time.Second, rungs: []string{"ipmi_reset", "ipmi_cycle", "file_bugzilla_bug"}, answers: []answer{wentDown, notSent}, ups: []activities.Sight{stayed, up}, sent: []activities.Action{reset, activities.Cycle}, set: func(w *blindWorld) { w.takes["AwaitUp"] = 300 * time.Second }},
		"blind before the command":          {after: long, rungs: bugLast, answers: []answer{sendsNothing}, sent: []activities.Action{reset}},
		"blind before the off":              {after: long, rungs: []string{"snmp_rebootdelay", "file_bugzilla_bug"}, answers: []answer{sendsNothing}, sent: []activities.Action{off}},
		"blind while watching":              {after: long, rungs: bugLast, answers: []answer{sentBlindly}, sent: []activities.Action{reset}},
		"blind while it boots":              {after: long, rungs: bugLast, answers: []answer{wentDown}, ups: []activities.Sight{seesNothing}, sent: []activities.Action{reset}},
		"filing the site's bug":             {after: pauseTime + long, rungs: bugLast, answers: []answer{sendsNothing}, sent: []activities.Action{reset}, set: siteBugTakes},
		"watching for down after an off":    {takes: "AwaitDown", rungs: []string{"snmp_rebootdelay"}, answers: []answer{offWatchedByNobody, isOn}, sent: []activities.Action{off, on}, within: soon},
		"between off and on":                {after: long, rungs: []string{"snmp_rebootdelay"}, answers: []answer{isOff, isOn}, sent: []activities.Action{off, on}},
		"between an off not read and on":    {after: long, rungs: []string{"snmp_rebootdelay"}, answers: []answer{offUnread, isOn}, sent: []activities.Action{off, on}, within: offActs + soon},
		"between two tries to power on":     {after: 100 * time.Second, rungs: []string{"snmp_rebootdelay"}, answers: []answer{isOff, refusedIt, isOn}, sent: []activities.Action{off, on, on}, within: 300 * time.Second, bugs: 2},
		"awaiting up after off and on":      {takes: "AwaitUp", after: 90 * time.Second, rungs: []string{"snmp_rebootdelay"}, answers: []answer{isOff, isOn}, sent: []activities.Action{off, on}},
		"filing the bug":                    {takes: "BugzillaFile", after: 10 * time.Second, rungs: bugLast, answers: []answer{ignored}, sent: []activities.Action{reset}, bugs: 1},
		"filing the bug, as a task":         {takes: "BugzillaFile", after: 10 * time.Second, task: "file_bugzilla_bug", bugs: 1},
		"a read":                            {takes: "Ping", task: "ping"},
		"a machine that is being installed": {takes: "AwaitInstalled", task: "reimage", answers: []answer{cycled, wasOn, wasOn}, sent: []activities.Action{activities.Netboot, on, on}, set: install},
		"an installation's power-cycle":     {after: 10 * time.Second, task: "reimage", answers: []answer{cycled, wasOn}, sent: []activities.Action{activities.Netboot, on}, set: install},
	}
}

var offWatchedByNobody = answer{result: activities.CommandResult{Sent: "off", Power: "off", Baseline: wasUp}}

func siteBugTakes(w *blindWorld) {
	w.takes["BugzillaFileSite"] = 24 * time.Hour
	w.plan.Timing.BugWait = w.plan.Timing.Up
	w.sights = []activities.Sight{seesNothing}
}

// Promise 10: cancelled at any step a job ends at once, or as soon as it has
// powered on what it powered off, with a record that says so.
func TestCancelAtEveryStep(t *testing.T) {
	t.Parallel()
	for name, c := range everyStep() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := c.world(t)
			after := c.after
			if after == 0 {
				after = long
			}
			begun := w.env.Now()
			w.env.RegisterDelayedCallback(w.env.CancelWorkflow, after)
			r, err := w.run(t, c.name())
			require.True(t, temporal.IsCanceledError(err), "%v", err)
			require.Equal(t, Cancelled, r.Outcome)
			require.False(t, r.Off)
			require.Empty(t, r.Now)
			for _, at := range r.Attempts {
				require.NotEqual(t, Running, at.Outcome, "%+v", at)
			}
			within := c.within
			if within == 0 {
				within = soon
			}
			require.LessOrEqual(t, r.EndedAt.Sub(begun), after+within)
			require.GreaterOrEqual(t, r.EndedAt.Sub(begun), after, "it had not ended before")
			require.Equal(t, c.sent, actions(w.commands))
			require.Empty(t, w.answers)
			require.Len(t, w.bugs, c.bugs)
		})
	}
}

func (c cancelledAt) name() string {
	if c.task == "" {
		return "reboot"
	}
	return c.task
}

func (c cancelledAt) world(t *testing.T) *blindWorld {
	t.Helper()
	w := newBlindWorld(t, c.rungs...)
	if c.task != "" {
		w.plan.Rungs = []activities.Rung{{Name: c.task, Target: targetOf(c.task)}}
	}
	if c.id != "" {
		w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: c.id, TaskQueue: TaskQueue})
	}
	w.takes = map[string]time.Duration{c.takes: 24 * time.Hour}
	w.answers, w.downs, w.ups = c.answers, c.downs, c.ups
	w.env.OnActivity(a.Ping, mock.Anything, mock.Anything).Return(
		func(context.Context, activities.Read) (activities.ReadResult, error) {
			return activities.ReadResult{}, nil
		}).
		AfterFn(w.taking("Ping")).Maybe()
	if c.set != nil {
		c.set(w)
	}
	return w
}

// Promise 4: all jobs of a site are cancelled, and with them the run that powers on
// what a lost one left off. It goes on.
func TestCancelledPowerOnGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, PowerOnType, "snmp_rebootdelay")
	w.answers = []answer{{err: temporal.NewApplicationError("unreachable", string(activities.NotSent))}, isOn}
	w.during = func(activities.Command) { w.env.CancelWorkflow() }
	w.env.ExecuteWorkflow(PowerOnType, LeftOff{Machine: ms1, Rung: "snmp_rebootdelay", WorkflowID: MachineID(ms1), RunID: "x"})
	require.NoError(t, w.env.GetWorkflowError())
	var r Result
	require.NoError(t, w.env.GetWorkflowResult(&r))
	require.Equal(t, Done, r.Outcome)
	require.Equal(t, []activities.Action{activities.On, activities.On}, actions(w.commands))
}
