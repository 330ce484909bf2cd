package activities

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// fakeDevice is a protocol whose answers are chosen. It has no machine behind it.
type fakeDevice struct {
	sent    int
	err     error    // of send, after the fence
	before  func()   // called by send before the fence
	after   func()   // called by send after it
	powers  []string // successive readings; the last holds; "!" is an error
	reads   int
	missing string
	needsUp bool
	verify  time.Duration // 300ms if zero
}

func (f *fakeDevice) deed() deed {
	return deed{
		actions: []Action{Reboot, Off, On},
		missing: func(config.Machine) string { return f.missing },
		needsUp: f.needsUp,
		send: func(_ context.Context, _ config.Machine, action Action, ready func() error) (string, error) {
			if f.before != nil {
				f.before()
			}
			if err := ready(); err != nil {
				return "", err
			}
			if f.after != nil {
				f.after()
			}
			f.sent++
			return "fake " + string(action), f.err
		},
		power: func(context.Context, config.Machine) (string, error) {
			p := f.powers[min(f.reads, len(f.powers)-1)]
			f.reads++
			if p == "!" {
				return "", notSent("the device is silent")
			}
			return p, nil
		},
		verify: cmp.Or(f.verify, 300*time.Millisecond),
	}
}

// bench is a worker without any simulated device.
func bench(t *testing.T, record string) *rig {
	t.Helper()
	r := newRig(t, lab.Spec{NoSSH: true, NoBMC: true})
	if record != "" {
		r.Prober = &script{record: record}
	}
	return r
}

func (r *rig) fake(f *fakeDevice) func(context.Context, Command) (CommandResult, error) {
	return func(ctx context.Context, in Command) (CommandResult, error) {
		res, err := r.Activities.command(ctx, in, f.deed())
		return res, fail(err)
	}
}

func TestCommandMeanings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err     error
		meaning Meaning // "" is a result
		retry   bool
		unknown bool
	}{
		"acknowledged": {},
		"unknown":      {err: unknown("lost"), unknown: true},
		"unforeseen":   {err: errors.New("what is this"), unknown: true},
		"not sent":     {err: notSent("busy"), meaning: NotSent, retry: true},
		"refused":      {err: refused("wrong password"), meaning: Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, ".xxx")
			f := &fakeDevice{err: c.err}
			in := r.command(Reboot, rigWatch)
			in.RungRetry = config.Duration(time.Hour)
			res, err := execute(t, r.fake(f), in, call{})
			require.Equal(t, 1, f.sent)
			if c.meaning != "" {
				requireMeaning(t, err, c.meaning, c.retry)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "fake reboot", res.Sent)
			require.Equal(t, c.unknown, res.Unknown != "")
			require.True(t, res.Watch.Down, "it is watched whether the reply came or not")
			require.True(t, res.Baseline.Down)
		})
	}
}

// NotSent is tried again for RUNG_RETRY from the first try, on any worker.
func TestCommandStopsTryingAfterRungRetry(t *testing.T) {
	t.Parallel()
	r := bench(t, ".")
	f := &fakeDevice{err: notSent("busy")}
	in := r.command(Reboot, rigWatch)
	in.RungRetry = config.Duration(time.Minute)
	for name, c := range map[string]struct {
		first time.Duration
		retry bool
	}{
		"within": {-30 * time.Second, true},
		"over":   {-61 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := Progress{Phase: Preparing, FirstTry: time.Now().Add(c.first)}
			var last Progress
			_, err := execute(t, r.fake(f), in, call{details: before, onBeat: func(v converter.EncodedValues) {
				require.NoError(t, v.Get(&last))
			}})
			requireMeaning(t, err, NotSent, c.retry)
			// What the next attempt finds: this one is not lost in mid-command.
			require.Equal(t, Preparing, last.Phase)
			require.WithinDuration(t, before.FirstTry, last.FirstTry, 0)
		})
	}
}

// Promise 2: after an attempt that vanished while it was sending, nothing is
// sent again; the machine is watched.
func TestCommandDoesNotRepeatALostAttempt(t *testing.T) {
	t.Parallel()
	for name, phase := range map[string]Phase{"sending": Sending, "watching": Watching} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, ".x")
			f := &fakeDevice{}
			base := Baseline{At: time.Unix(5, 0).UTC(), Up: true, BootID: "abc"}
			res, err := execute(t, r.fake(f), r.command(Reboot, rigWatch), call{details: Progress{Phase: phase, Baseline: base}})
			require.NoError(t, err)
			require.Zero(t, f.sent)
			require.NotEmpty(t, res.Unknown)
			require.True(t, res.Watch.Down)
			base.Down = true
			require.Equal(t, base, res.Baseline)
		})
	}
}

// The caller of a worker that is killed has the baseline from its heartbeat. What
// comes before the command counts as preparing: a device that is silent while a
// session is set up has been sent nothing.
func TestCommandTellsTheBaselineBeforeItSends(t *testing.T) {
	t.Parallel()
	r := bench(t, ".xxx")
	var mu sync.Mutex
	var told Progress
	last := func() Progress { mu.Lock(); defer mu.Unlock(); return told }
	f := &fakeDevice{}
	var setUp, sent Progress
	f.before = func() { setUp = last() }
	f.after = func() { sent = last() }
	_, err := execute(t, r.fake(f), r.command(Reboot, rigWatch), call{onBeat: func(v converter.EncodedValues) {
		mu.Lock()
		defer mu.Unlock()
		require.NoError(t, v.Get(&told))
	}})
	require.NoError(t, err)
	require.NotEqual(t, Sending, setUp.Phase)
	require.Equal(t, Sending, sent.Phase)
	require.True(t, sent.Baseline.Up)
	require.False(t, sent.FirstTry.IsZero())
}

func TestCommandSkips(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		device  fakeDevice
		record  string
		action  Action
		meaning Meaning
		skipped string
	}{
		"no entry":               {device: fakeDevice{missing: "no entry"}, record: ".", action: Reboot, skipped: "no entry"},
		"no entry to power on":   {device: fakeDevice{missing: "no entry"}, record: ".", action: On, meaning: NoRung},
		"unknown action":         {record: ".", action: Cycle, meaning: Refused},
		"does not answer":        {device: fakeDevice{needsUp: true}, record: "x", action: Reboot, skipped: "the machine does not answer probes"},
		"no baseline can be had": {record: "e", action: Reboot, meaning: NotSent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, c.record)
			res, err := execute(t, r.fake(&c.device), r.command(c.action, rigWatch), call{})
			require.Zero(t, c.device.sent)
			if c.meaning != "" {
				requireMeaning(t, err, c.meaning, false)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.skipped, res.Skipped)
		})
	}
	t.Run("no such machine", func(t *testing.T) {
		t.Parallel()
		r := bench(t, ".")
		in := r.command(Reboot, rigWatch)
		in.Machine.WorkerID = "ms9-99"
		_, err := execute(t, r.fake(&fakeDevice{}), in, call{})
		requireMeaning(t, err, UnknownMachine, false)
	})
}

// One lost packet before the command is no machine that was down.
func TestBaselineTakesAFewProbes(t *testing.T) {
	t.Parallel()
	r := bench(t, "xx.xxx")
	res, err := execute(t, r.fake(&fakeDevice{needsUp: true}), r.command(Reboot, rigWatch), call{})
	require.NoError(t, err)
	require.True(t, res.Baseline.Up)
	require.True(t, res.Watch.Down)
}

// Promise 3: what came back from an earlier command is not rebooted again.
func TestCommandFindsTheMachineBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		since  Baseline
		record string
		bootID bool
		banner bool
		back   string
	}{
		"was down, is up":                  {since: Baseline{Up: true, Down: true}, record: ".", banner: true, back: "was seen down since"},
		"was down, still is":               {since: Baseline{Up: true, Down: true}, record: "x"},
		"was never down":                   {since: Baseline{Up: true}, record: ".x", banner: true},
		"was down, answers without ssh":    {since: Baseline{Up: true, Down: true}, record: ".x"},
		"another boot id":                  {since: Baseline{Up: true, BootID: "old"}, record: ".", bootID: true, banner: true, back: "boot id changed"},
		"lost probes, the same boot id":    {since: Baseline{Up: true, Down: true, BootID: "same"}, record: ".x", bootID: true, banner: true},
		"was down, boot id cannot be read": {since: Baseline{Up: true, Down: true, BootID: "old"}, record: ".", banner: true, back: "was seen down since"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true, SSHBootID: c.bootID, Faults: lab.Faults{Hung: !c.banner}})
			r.Config.Devices.SSHTimeout = config.Duration(time.Second)
			r.Prober = &script{record: c.record}
			if c.since.BootID == "same" {
				c.since.BootID = r.machine.State().BootID
			}
			f := &fakeDevice{}
			in := r.command(Reboot, config.Duration(300*time.Millisecond))
			in.Since = &c.since
			res, err := execute(t, r.fake(f), in, call{})
			require.NoError(t, err)
			require.Contains(t, res.Back, c.back)
			require.Equal(t, c.back != "", res.Back != "")
			require.Equal(t, c.back == "", f.sent == 1)
		})
	}
}

func TestPowerIsReadBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action  Action
		err     error
		powers  []string
		sent    int
		power   string
		unknown bool
		meaning Meaning
		retry   bool
	}{
		"off":                         {action: Off, powers: []string{"on", "on", "off"}, sent: 1, power: "off"},
		"off, is off":                 {action: Off, powers: []string{"off"}, power: "off"},
		"off, reply lost, but is off": {action: Off, err: unknown("lost"), powers: []string{"on", "off"}, sent: 1, power: "off"},
		"off, stays on":               {action: Off, powers: []string{"on"}, sent: 1, power: "on", unknown: true},
		"off, then silence":           {action: Off, powers: []string{"on", "!"}, sent: 1, unknown: true},
		"off, silence":                {action: Off, powers: []string{"!"}, meaning: NotSent},
		"off, refused":                {action: Off, err: refused("no"), powers: []string{"on"}, sent: 1, meaning: Refused},
		"on":                          {action: On, powers: []string{"off", "off", "on"}, sent: 1, power: "on"},
		"on, is on":                   {action: On, powers: []string{"on"}, power: "on"},
		"on, reply lost, but is on":   {action: On, err: unknown("lost"), powers: []string{"off", "on"}, sent: 1, power: "on"},
		"on, stays off":               {action: On, powers: []string{"off"}, sent: 1, meaning: Unknown, retry: true},
		"on, reply lost, stays off":   {action: On, err: unknown("lost"), powers: []string{"off"}, sent: 1, meaning: Unknown, retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &script{record: "x"}
			r := bench(t, "")
			r.Prober = p
			f := &fakeDevice{err: c.err, powers: c.powers}
			res, err := execute(t, r.fake(f), r.command(c.action, 0), call{})
			require.Equal(t, c.sent, f.sent)
			require.Zero(t, p.asked, "the machine itself is not probed")
			if c.meaning != "" {
				requireMeaning(t, err, c.meaning, c.retry)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.power, res.Power)
			require.Equal(t, c.unknown, res.Unknown != "")
			require.Equal(t, c.sent == 1, res.Sent != "")
		})
	}
}
