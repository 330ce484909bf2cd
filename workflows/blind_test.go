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

// blindWorld is a world whose pauses take a time and end as told.
type blindWorld struct {
	*world
	pauses []activities.Pause
	shown  []Result // as the progress query has it in each pause
	sights []activities.Sight
	sites  []activities.SiteBug
	offs   []string // each Off and On, and each pause, in order
}

const pauseTime = 10 * time.Minute

func newBlindWorld(t *testing.T, rungs ...string) *blindWorld {
	t.Helper()
	w := &blindWorld{world: newWorld(t, "reboot", rungs...)}
	w.plan.Site, w.plan.Timing.Blind = "mdc1", config.Duration(time.Hour)
	w.env.OnActivity(a.AwaitSight, mock.Anything, mock.Anything).Return(
		func(_ context.Context, in activities.Pause) (activities.Sight, error) {
			w.pauses = append(w.pauses, in)
			w.offs = append(w.offs, "pause")
			value, err := w.env.QueryWorkflow(ProgressQuery)
			if err != nil {
				return activities.Sight{}, err
			}
			var r Result
			if err := value.Get(&r); err != nil {
				return activities.Sight{}, err
			}
			w.shown = append(w.shown, r)
			next := w.sights[0]
			w.sights = w.sights[1:]
			return next, nil
		}).After(pauseTime).Maybe()
	w.env.OnActivity(a.BugzillaFileSite, mock.Anything, mock.Anything).Return(
		func(_ context.Context, in activities.SiteBug) (activities.BugResult, error) {
			w.sites = append(w.sites, in)
			return activities.BugResult{ID: 9, URL: "https://bugzilla.example/show_bug.cgi?id=9", Created: true}, nil
		}).AfterFn(w.taking("BugzillaFileSite")).Maybe()
	w.during = func(c activities.Command) { w.offs = append(w.offs, string(c.Action)) }
	return w
}

const blindText = "none of mdc1's canaries answers"

var (
	sendsNothing = answer{err: temporal.NewNonRetryableApplicationError(blindText, string(activities.Blind), nil)}
	seesNothing  = activities.Sight{Done: true, Blind: true, Evidence: blindText}
	sentBlindly  = answer{result: activities.CommandResult{Sent: "x", Baseline: wasUp, Watch: seesNothing}}
	sightIsBack  = activities.Sight{Done: true}
)

func TestBlindness(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rungs    []string
		answers  []answer
		downs    []activities.Sight
		ups      []activities.Sight
		sights   []activities.Sight
		attempts []Outcome
		settles  []config.Duration // asked of each pause
		commands int
	}{
		"before the command: the same rung again": {
			answers: []answer{sendsNothing, wentDown}, sights: []activities.Sight{sightIsBack}, ups: []activities.Sight{up},
			attempts: []Outcome{Back}, settles: []config.Duration{0}, commands: 2,
		},
		"twice before the command: sight must last": {
			answers: []answer{sendsNothing, sendsNothing, wentDown}, sights: []activities.Sight{sightIsBack, sightIsBack}, ups: []activities.Sight{up},
			attempts: []Outcome{Back}, settles: []config.Duration{0, settleSight}, commands: 3,
		},
		"after the command: looked for, not sent again": {
			answers: []answer{sentBlindly}, sights: []activities.Sight{sightIsBack},
			downs: []activities.Sight{{Done: true, Rebooted: true}}, ups: []activities.Sight{up},
			attempts: []Outcome{Back}, settles: []config.Duration{0}, commands: 1,
		},
		"after the command, and it never went down": {
			answers: []answer{sentBlindly, wentDown}, sights: []activities.Sight{sightIsBack},
			downs: []activities.Sight{{Done: true}}, ups: []activities.Sight{up},
			attempts: []Outcome{NoEffect, Back}, settles: []config.Duration{0}, commands: 2,
		},
		"while it boots": {
			answers: []answer{wentDown}, sights: []activities.Sight{sightIsBack}, ups: []activities.Sight{seesNothing, up},
			attempts: []Outcome{Back}, settles: []config.Duration{0}, commands: 1,
		},
		"a machine that is up is up, blind or not": {
			answers: []answer{wentDown}, ups: []activities.Sight{{Done: true, Up: true, Blind: true}},
			attempts: []Outcome{Back}, commands: 1,
		},
		"in the last look": {
			rungs:   []string{"ipmi_reset", "ipmi_cycle", "file_bugzilla_bug"},
			answers: []answer{wentDown, notSent}, sights: []activities.Sight{sightIsBack}, ups: []activities.Sight{stayed, seesNothing, up},
			attempts: []Outcome{NotBack, NotSent, Back}, settles: []config.Duration{0}, commands: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.rungs == nil {
				c.rungs = []string{"ssh_reboot", "ipmi_reset", "file_bugzilla_bug"}
			}
			w := newBlindWorld(t, c.rungs...)
			w.answers, w.downs, w.ups, w.sights = c.answers, c.downs, c.ups, c.sights
			r, err := w.run(t, "reboot")
			require.NoError(t, err)
			require.Equal(t, Back, r.Outcome)
			require.Equal(t, c.attempts, outcomes(r))
			require.Len(t, w.commands, c.commands)
			require.Empty(t, w.answers)
			require.Empty(t, w.downs)
			require.Empty(t, w.sites)
			require.Empty(t, w.bugs)
			var settles []config.Duration
			for i, p := range w.pauses {
				require.Equal(t, ms1, p.Machine)
				settles = append(settles, p.Settle)
				require.Regexp(t, `^blind: none of mdc1's canaries answers; paused since \d\d:\d\d:\d\d UTC, goes on when they do, gives up at \d\d:\d\d:\d\d UTC$`, w.shown[i].Now)
				require.Equal(t, Running, w.shown[i].Outcome)
			}
			require.Equal(t, c.settles, settles)
		})
	}
}

// What a pause took is not taken from the machine's time to come up, and all
// pauses for one thing share BLIND_LIMIT.
func TestBlindTimes(t *testing.T) {
	t.Parallel()
	w := newBlindWorld(t, "ipmi_reset", "file_bugzilla_bug")
	w.answers, w.sights = []answer{wentDown}, []activities.Sight{sightIsBack, sightIsBack}
	w.ups = []activities.Sight{seesNothing, seesNothing, up}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	require.Equal(t, config.Duration(time.Hour), w.pauses[0].Timeout)
	require.Equal(t, config.Duration(time.Hour-pauseTime), w.pauses[1].Timeout)
	for _, watch := range w.watches {
		require.Equal(t, w.plan.Timing.Up, watch.Timeout, "here the waits themselves took no time")
	}
}

// A job that stays blind ends so, with its site's bug and none of its own.
func TestEndsBlind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rungs   []string
		answers []answer
		ups     []activities.Sight
		order   []string
		sent    string
		noBug   string
	}{
		"before anything was sent": {answers: []answer{sendsNothing}, order: []string{"reboot", "pause"}},
		"after the command":        {answers: []answer{sentBlindly}, order: []string{"reboot", "pause"}, sent: "x"},
		"while it boots":           {answers: []answer{wentDown}, ups: []activities.Sight{seesNothing}, order: []string{"reboot", "pause"}, sent: "x"},
		"no bug can be filed":      {answers: []answer{sendsNothing}, order: []string{"reboot", "pause"}, noBug: "BUGZILLA_URL is not set"},
		"nothing was switched off": {rungs: []string{"ipmi_reboot"}, answers: []answer{sendsNothing}, order: []string{"off", "pause"}},
		"off, and on all the same": {
			rungs:   []string{"ipmi_reboot"},
			answers: []answer{sentBlindly, {result: activities.CommandResult{Power: "on"}}},
			order:   []string{"off", "on", "pause"}, sent: "x",
		},
		"off was read, so that it need not be seen": {
			rungs: []string{"ipmi_reboot"},
			answers: []answer{
				{result: activities.CommandResult{Sent: "x", Power: "off", Baseline: wasUp, Watch: seesNothing}},
				{result: activities.CommandResult{Power: "on"}},
			},
			ups:   []activities.Sight{seesNothing},
			order: []string{"off", "on", "pause"}, sent: "x",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.rungs == nil {
				c.rungs = []string{"ssh_reboot", "ipmi_reset"}
			}
			w := newBlindWorld(t, append(c.rungs, "file_bugzilla_bug")...)
			w.plan.NoBug = c.noBug
			w.answers, w.ups, w.sights = c.answers, c.ups, []activities.Sight{seesNothing}
			r, err := w.run(t, "reboot")
			e := (*temporal.ApplicationError)(nil)
			require.ErrorAs(t, err, &e)
			require.Equal(t, BlindError, e.Type())
			require.Equal(t, Blind, r.Outcome)
			require.Equal(t, []Outcome{Blind}, outcomes(r), "no other rung was tried")
			require.Equal(t, c.sent, r.Attempts[0].Sent)
			require.Equal(t, c.order, w.offs)
			require.False(t, r.Off)
			require.False(t, w.shown[0].Off, "nothing is off in a pause")
			require.Contains(t, r.Why, blindText+" since ")
			require.Empty(t, w.bugs, "of the machine nothing is known")
			if c.noBug != "" {
				require.Contains(t, r.Why, "no bug: "+c.noBug)
				require.Nil(t, r.Bug)
				return
			}
			require.Len(t, w.sites, 1)
			require.Equal(t, "mdc1", w.sites[0].Site)
			require.Equal(t, SiteBugID("mdc1"), r.Bug.WorkflowID)
			require.Equal(t, 9, r.Bug.ID)
		})
	}
}

// A cancel ends a pause at once, and nothing has been done.
func TestCancelWhileBlind(t *testing.T) {
	t.Parallel()
	for _, rung := range []string{"ssh_reboot", "ipmi_reboot"} {
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			w := newBlindWorld(t, rung, "file_bugzilla_bug")
			w.answers, w.sights = []answer{sendsNothing}, []activities.Sight{sightIsBack}
			w.env.RegisterDelayedCallback(w.env.CancelWorkflow, pauseTime/2)
			began := w.env.Now()
			r, err := w.run(t, "reboot")
			require.True(t, temporal.IsCanceledError(err), "%v", err)
			require.Equal(t, Cancelled, r.Outcome)
			require.False(t, r.Off)
			require.Len(t, w.commands, 1)
			require.Empty(t, w.sites)
			require.WithinDuration(t, began.Add(pauseTime/2), r.EndedAt, time.Second)
		})
	}
}

// A site's bug is filed under one ID, so that two runs cannot file two.
func TestSiteBugHasItsID(t *testing.T) {
	t.Parallel()
	for id, ok := range map[string]bool{SiteBugID("mdc1"): true, "bug/mine": false} {
		w := newBlindWorld(t, "ssh_reboot")
		w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id, TaskQueue: TaskQueue})
		w.env.ExecuteWorkflow(BugType, BugInput{Site: &activities.SiteBug{Site: "mdc1"}, Limit: config.Duration(time.Hour), Retry: config.Duration(time.Minute)})
		require.True(t, w.env.IsWorkflowCompleted())
		if ok {
			require.NoError(t, w.env.GetWorkflowError())
			require.Len(t, w.sites, 1)
			continue
		}
		require.ErrorContains(t, w.env.GetWorkflowError(), ConflictError)
		require.Empty(t, w.sites)
	}
}
