package workflows

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// newInstall is a world with a device that says how it finds network boot at the end.
func newInstall(t *testing.T, found activities.NetbootCleared, clearErr error) (w *world, cleared *[]activities.Command) {
	t.Helper()
	w = newWorld(t, "reimage")
	w.plan.Timing.Reimage, w.plan.Timing.ReimageSettle = config.Duration(2*time.Hour), config.Duration(2*time.Minute)
	cleared = &[]activities.Command{}
	w.env.OnActivity(a.ClearNetboot, mock.Anything, mock.Anything).Return(
		func(_ context.Context, in activities.Command) (activities.NetbootCleared, error) {
			*cleared = append(*cleared, in)
			return found, clearErr
		}).AfterFn(w.taking("ClearNetboot")).Maybe()
	return w, cleared
}

var (
	unset    = activities.NetbootCleared{Was: activities.NetbootUnset}
	stillSet = activities.NetbootCleared{Was: activities.NetbootSet, Cleared: true}
	wasOn    = answer{result: activities.CommandResult{Power: "on"}} // nothing to send
	cycled   = answer{result: activities.CommandResult{Sent: "netboot, cycle", Baseline: wasUp, Watch: activities.Sight{Done: true, Down: true, Evidence: "3 probes"}}}
	installd = activities.Sight{Done: true, Up: true, Evidence: "answers probes and ssh"}
)

func TestReimage(t *testing.T) {
	t.Parallel()
	silent := temporal.NewNonRetryableApplicationError("the device is silent", string(activities.NotSent), nil)
	left := answer{err: temporal.NewNonRetryableApplicationError("no", string(activities.Refused), nil, activities.CommandResult{NetbootLeft: true})}
	for name, c := range map[string]struct {
		answers  []answer // of the netboot, and of each look at the power
		downs    []activities.Sight
		ups      []activities.Sight
		found    activities.NetbootCleared
		clearErr error
		outcome  Outcome
		says     string
		clears   int
	}{
		"installed": {
			answers: []answer{cycled, wasOn}, ups: []activities.Sight{installd}, found: unset,
			outcome: Back, says: "3 probes; answers probes and ssh", clears: 1,
		},
		"its old system": {
			answers: []answer{cycled, wasOn}, ups: []activities.Sight{installd}, found: stillSet,
			outcome: Back, says: "3 probes; answers probes and ssh; network boot was still set, and is cleared: it may have booted its old system", clears: 1,
		},
		"left off by the cycle": {
			answers: []answer{cycled, isOn}, ups: []activities.Sight{installd}, found: unset,
			outcome: Back, says: "the power-cycle left it off: it was powered on; 3 probes; answers probes and ssh", clears: 1,
		},
		"refused": {answers: []answer{refusedIt}, outcome: Refused, says: "wrong password"},
		"not sent": {
			answers: []answer{notSent}, outcome: NotSent, says: "unreachable",
		},
		"refused, and network boot left set": {
			answers: []answer{left}, found: stillSet,
			outcome: Refused, says: "no; network boot was still set, and is cleared", clears: 1,
		},
		"refused, and it cannot be cleared": {
			answers: []answer{left}, clearErr: silent,
			outcome: Refused, says: "no; a network boot may still be set, and the next restart would erase the machine: the device is silent", clears: 1,
		},
		"the cycle did nothing": {
			answers: []answer{ignored, wasOn}, found: stillSet,
			outcome: NoEffect, says: "the machine did not go down within 1m0s; network boot was still set, and is cleared", clears: 1,
		},
		"it never comes back": {
			answers: []answer{cycled, wasOn, wasOn}, ups: []activities.Sight{{Done: true, Evidence: "all lost"}}, found: unset,
			outcome: NotBack, says: "3 probes; not installed and up within 2h0m0s; all lost; look at its console: the installation may be under way still", clears: 1,
		},
		"the same boot": {
			answers: []answer{cycled, wasOn, wasOn}, ups: []activities.Sight{{Done: true, Up: true, SameBoot: true}}, found: unset,
			outcome: NoEffect, says: "3 probes; it fell silent but did not restart", clears: 1,
		},
		"dark before": {
			answers: []answer{wasDark, wasOn}, ups: []activities.Sight{installd}, found: unset,
			outcome: Back, says: "answers probes and ssh", clears: 1,
		},
		"a lost reply is looked after": {
			answers: []answer{{err: temporal.NewNonRetryableApplicationError("?", string(activities.Unknown), nil)}, wasOn},
			downs:   []activities.Sight{{Done: true, Down: true}}, ups: []activities.Sight{installd}, found: unset,
			outcome: Back, says: "?; it may have been sent; answers probes and ssh", clears: 1,
		},
		"a lost reply, and nothing happened": {
			answers: []answer{{err: temporal.NewNonRetryableApplicationError("?", string(activities.Unknown), nil)}, wasOn},
			downs:   []activities.Sight{{Done: true, Up: true}}, found: stillSet,
			outcome: NoEffect, says: "?; it may have been sent; the machine did not go down within 1m0s; network boot was still set, and is cleared", clears: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, cleared := newInstall(t, c.found, c.clearErr)
			w.answers, w.downs, w.ups = c.answers, c.downs, c.ups
			r, err := w.run(t, "reimage")
			require.Len(t, r.Attempts, 1)
			require.Equal(t, c.outcome, r.Attempts[0].Outcome)
			require.Equal(t, c.says, r.Attempts[0].Why)
			require.Equal(t, c.outcome, r.Outcome)
			require.False(t, r.Off)
			require.Empty(t, w.bugs, "a single step files no bug")
			require.Empty(t, w.answers, "all that was expected was asked")
			require.Len(t, *cleared, c.clears)
			if c.outcome == Back {
				require.NoError(t, err)
				return
			}
			e, ok := errors.AsType[*temporal.ApplicationError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, string(c.outcome), e.Type())
			require.Equal(t, "reimage: "+c.says, e.Message())
		})
	}
}

// One netboot, for the device of the plan, whatever job came before; after it only
// looks at the power; and the machine may take two hours and must stay up.
func TestReimageCommands(t *testing.T) {
	t.Parallel()
	w, cleared := newInstall(t, unset, nil)
	w.answers, w.ups = []answer{cycled, wasOn}, []activities.Sight{installd}
	_, err := w.run(t, "reimage")
	require.NoError(t, err)
	require.Equal(t, []activities.Action{activities.Netboot, activities.On}, actions(w.commands))
	require.Nil(t, w.commands[0].Since, "a machine that is back already is installed all the same")
	for _, command := range append(w.commands, *cleared...) {
		require.Equal(t, targetOf("reimage"), command.Target)
	}
	require.Len(t, w.watches, 1)
	require.Equal(t, config.Duration(2*time.Hour)-config.Duration(offActs), w.watches[0].Timeout)
	require.Equal(t, config.Duration(2*time.Minute), w.watches[0].Settle)
}

// Cancelled in the middle, it clears what was not used and sees that the machine
// has power, before it ends.
func TestReimageCancelled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		power    answer
		found    activities.NetbootCleared
		clearErr error
		says     string
	}{
		"used":    {power: wasOn, found: unset},
		"not yet": {power: wasOn, found: stillSet, says: "network boot was still set, and is cleared"},
		"off":     {power: isOn, found: unset, says: "the power-cycle left it off: it was powered on"},
		"unreachable": {
			power: notSent, clearErr: temporal.NewNonRetryableApplicationError("silent", string(activities.NotSent), nil),
			says: "a network boot may still be set, and the next restart would erase the machine: silent; whether it has power cannot be read: unreachable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, cleared := newInstall(t, c.found, c.clearErr)
			w.answers = []answer{cycled, c.power}
			w.env.RegisterDelayedCallback(w.env.CancelWorkflow, 5*time.Second) // while the cycle has its time
			r, err := w.run(t, "reimage")
			require.True(t, temporal.IsCanceledError(err), "%v", err)
			require.Equal(t, Cancelled, r.Outcome)
			require.Equal(t, Cancelled, r.Attempts[0].Outcome)
			require.Equal(t, c.says, r.Attempts[0].Why)
			require.Equal(t, "netboot, cycle", r.Attempts[0].Sent)
			require.Len(t, *cleared, 1)
			require.Empty(t, w.answers)
		})
	}
}

// Cancelled before anything was sent, there is nothing to see to.
func TestReimageCancelledBeforeItBegan(t *testing.T) {
	t.Parallel()
	w, cleared := newInstall(t, unset, nil)
	w.answers = []answer{{err: temporal.NewCanceledError(activities.CommandResult{})}}
	w.during = func(activities.Command) { w.env.CancelWorkflow() }
	r, err := w.run(t, "reimage")
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	require.Equal(t, Cancelled, r.Attempts[0].Outcome)
	require.Empty(t, *cleared)
	require.Len(t, w.commands, 1)
}

// Promise 4: a machine that the power-cycle left off and that does not come on is
// what roller left off: it keeps trying, and the bug says so.
func TestReimageThatLeavesTheMachineOff(t *testing.T) {
	t.Parallel()
	dark := answer{err: temporal.NewNonRetryableApplicationError("not seen to be on", string(activities.Unknown), nil)}
	for name, last := range map[string]answer{"comes on at last": isOn, "never": dark} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newInstall(t, unset, nil)
			w.plan.Timing.OnLimit = config.Duration(time.Minute)
			w.answers = []answer{cycled, dark, dark, dark, last, last, last}
			w.ups = []activities.Sight{{Done: true, Evidence: "all lost"}}
			r, err := w.run(t, "reimage")
			e, ok := errors.AsType[*temporal.ApplicationError](err)
			require.True(t, ok)
			require.NotEmpty(t, w.bugs)
			require.True(t, w.bugs[0].Off)
			require.Equal(t, name == "never", len(w.bugs) == 1, "the bug is told when the power is back")
			if name == "never" {
				require.Equal(t, string(StillOff), e.Type())
				require.True(t, r.Off)
				require.Equal(t, StillOff, r.Outcome)
				return
			}
			require.Equal(t, NotBackError, e.Type())
			require.False(t, r.Off)
			require.Contains(t, r.Attempts[0].Why, "the power-cycle left it off: it was powered on")
		})
	}
}

// Promise 4: a power-cycle may leave the machine off. From before it until the
// power was read as on, or it is known that nothing was sent, the run carries
// RollerOff; where it cannot be read, the sweep goes on asking.
func TestReimageIsFoundByTheSweep(t *testing.T) {
	t.Parallel()
	never := []activities.Sight{{Done: true, Evidence: "all lost"}}
	for name, c := range map[string]struct {
		answers []answer
		ups     []activities.Sight
		want    []string
	}{
		"installed":                    {[]answer{cycled, wasOn}, []activities.Sight{installd}, []string{"netboot", "on", "unset"}},
		"left off":                     {[]answer{cycled, isOn}, []activities.Sight{installd}, []string{"netboot", "on", "unset"}},
		"refused":                      {[]answer{refusedIt}, nil, []string{"netboot", "unset"}},
		"not sent":                     {[]answer{notSent}, nil, []string{"netboot", "unset"}},
		"silent, but it is back":       {[]answer{cycled, notSent}, []activities.Sight{installd}, []string{"netboot", "on", "unset"}},
		"silent, and on at the end":    {[]answer{cycled, notSent, wasOn}, never, []string{"netboot", "on", "on", "unset"}},
		"silent, and never to be read": {[]answer{cycled, notSent, notSent}, never, []string{"netboot", "on", "on"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newInstall(t, unset, nil)
			w.answers, w.ups = c.answers, c.ups
			var seen []string
			w.during = func(c activities.Command) { seen = append(seen, string(c.Action)) }
			w.noteOff(&seen)
			_, _ = w.run(t, "reimage")
			require.Equal(t, append([]string{"set reimage"}, c.want...), seen)
		})
	}
}

// A closed installation that left the machine off: its network boot is cleared
// first, because nobody waits for an installed machine any more.
func TestReimageIsRestored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		found activities.NetbootCleared
		err   error
		says  string
	}{
		"set":       {found: stillSet, says: "network boot is cleared"},
		"used":      {found: unset, says: "had left it off"},
		"no answer": {err: temporal.NewNonRetryableApplicationError("silent", string(activities.NotSent), nil), says: "a network boot may still be set: silent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, cleared := newInstall(t, c.found, c.err)
			w.answers = []answer{isOn}
			w.during = func(activities.Command) { require.Len(t, *cleared, 1, "before the power comes") }
			w.env.ExecuteWorkflow(PowerOnType, LeftOff{Machine: ms1, Rung: "reimage", RunID: "x"})
			require.NoError(t, w.env.GetWorkflowError())
			require.Equal(t, []activities.Action{activities.On}, actions(w.commands))
			require.Equal(t, targetOf("recalled"), (*cleared)[0].Target)
			var r Result
			require.NoError(t, w.env.GetWorkflowResult(&r))
			require.Contains(t, r.Why, c.says)
		})
	}
}

// An installation is no rung: a ladder never erases a machine.
func TestReimageIsNoRung(t *testing.T) {
	t.Parallel()
	require.NotContains(t, config.Rungs(), "reimage")
	_, err := config.Load([]string{"REBOOT_METHODS=ssh_reboot,reimage"})
	require.ErrorContains(t, err, "REBOOT_METHODS")
	for _, configuration := range []string{config.Dev, config.Prod, config.Test} {
		cfg, err := config.Load([]string{"ROLLER_CONFIGURATION=" + configuration, "PUBLIC_URL=https://roller.example"})
		require.NoError(t, err)
		require.NotContains(t, cfg.API.TaskNames, "reimage")
	}
}

// A machine whose site cannot be seen is told nothing: the job pauses, and begins
// anew when it can. Where it ends blind, or is cancelled in the pause, nothing was
// sent that must be made good, but for a network boot that the device would not
// give back.
func TestReimageBlind(t *testing.T) {
	t.Parallel()
	leftSet := answer{err: temporal.NewNonRetryableApplicationError(blindText, string(activities.Blind), nil, activities.CommandResult{NetbootLeft: true})}
	for name, c := range map[string]struct {
		answers []answer
		sights  []activities.Sight
		cancel  bool
		outcome Outcome
		clears  int
	}{
		"sees again":                        {answers: []answer{sendsNothing, cycled, wasOn}, sights: []activities.Sight{sightIsBack}, outcome: Back, clears: 1},
		"ends blind":                        {answers: []answer{sendsNothing}, sights: []activities.Sight{seesNothing}, outcome: Blind},
		"ends blind, network boot left set": {answers: []answer{leftSet, sendsNothing}, sights: []activities.Sight{sightIsBack, seesNothing}, outcome: Blind, clears: 1},
		"cancelled in the pause":            {answers: []answer{sendsNothing}, cancel: true, outcome: Cancelled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newBlindWorld(t)
			w.plan.Rungs = []activities.Rung{{Name: "reimage", Target: targetOf("reimage")}}
			w.plan.Timing.Reimage = config.Duration(2 * time.Hour)
			clears := 0
			w.env.OnActivity(a.ClearNetboot, mock.Anything, mock.Anything).Return(func(context.Context, activities.Command) (activities.NetbootCleared, error) {
				clears++
				return unset, nil
			}).Maybe()
			w.answers, w.ups, w.sights = c.answers, []activities.Sight{installd}, c.sights
			if c.cancel {
				w.env.RegisterDelayedCallback(w.env.CancelWorkflow, time.Minute)
			}
			r, _ := w.run(t, "reimage")
			require.Equal(t, c.outcome, r.Outcome)
			require.Equal(t, c.outcome, r.Attempts[0].Outcome)
			require.Equal(t, c.clears, clears)
			require.Empty(t, w.answers)
		})
	}
}
