package activities

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
)

// turnstile is Turns of one process, which tells what was done with it.
type turnstile struct {
	mu     sync.Mutex
	asks   []TurnAsk
	events []string // "take bmc/x", "release bmc/x"
	closed bool     // nobody has a turn
	began  time.Time
}

func (s *turnstile) Take(ctx context.Context, ask TurnAsk) (Turn, error) {
	s.mu.Lock()
	closed := s.closed
	s.asks = append(s.asks, ask)
	s.mu.Unlock()
	if closed {
		<-ctx.Done()
		return Turn{}, ctx.Err()
	}
	s.note("take " + ask.Device.String())
	began := s.began
	if began.IsZero() {
		began = time.Now()
	}
	var once sync.Once
	return Turn{Began: began, Release: func() { once.Do(func() { s.note("release " + ask.Device.String()) }) }}, nil
}

func (s *turnstile) note(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

// lined is a bench whose fake device is spoken to in turns.
func lined(t *testing.T, record string, s *turnstile) *rig {
	t.Helper()
	r := bench(t, record)
	m := r.entry(t)
	m.IPMI = &config.IPMI{Host: "bmc.example", Port: 623}
	inventory := config.NewInventory(m)
	r.Inventory = func() *config.Inventory { return inventory }
	r.Turns = s
	return r
}

// inLine carries out a command of a fake device whose doings are noted too.
func (r *rig) inLine(s *turnstile, f *fakeDevice) func(context.Context, Command) (CommandResult, error) {
	return func(ctx context.Context, in Command) (CommandResult, error) {
		d := f.deed()
		d.protocol = "ipmi"
		d.actions = append(d.actions, Reset)
		send, power := d.send, d.power
		d.send = func(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
			what, err := send(ctx, m, action, ready)
			if err == nil {
				s.note("send")
			}
			return what, err
		}
		d.power = func(ctx context.Context, m config.Machine) (string, error) {
			s.note("read")
			return power(ctx, m)
		}
		res, err := r.Activities.command(ctx, in, d)
		return res, fail(err)
	}
}

func (r *rig) toBMC(action Action, down config.Duration) Command {
	in := r.command(action, down)
	in.Target = Target{BMC: &TargetBMC{Host: "bmc.example", Port: 623}}
	return in
}

// Promise 7: a turn is held for the dialogue, and for nothing else.
func TestATurnIsHeldForTheDialogueOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action Action
		down   config.Duration
		powers []string
		want   []string
	}{
		"a reset, then its watch":          {Reset, rigWatch, nil, []string{"probe", "take", "send", "release", "probe"}},
		"off with its two readings":        {Off, 0, []string{"on", "off"}, []string{"take", "read", "send", "read", "release"}},
		"off in a ladder":                  {Off, rigWatch, []string{"off"}, []string{"probe", "take", "send", "read", "release", "probe"}},
		"on, which is on already":          {On, 0, []string{"on"}, []string{"take", "read", "release"}},
		"a device that acts in a while":    {Off, 0, []string{"on", "on", "off"}, []string{"take", "read", "send", "read", "release"}},
		"an outlet that is slower than so": {Off, 0, slowOutlet(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &turnstile{}
			r := lined(t, "", s)
			r.Prober = &script{record: ".xxx", then: func(int) { s.note("probe") }}
			f := &fakeDevice{powers: c.powers, verify: time.Minute}
			_, err := execute(t, r.inLine(s, f), r.toBMC(c.action, c.down), call{})
			require.NoError(t, err)
			if c.want == nil { // later readings take a turn each
				require.Equal(t, []string{"release", "take", "read", "release"}, words(s.events)[len(s.events)-4:])
				return
			}
			require.Equal(t, c.want, slices.Compact(words(s.events)))
			require.Contains(t, s.events, "take bmc/bmc.example")
			require.Equal(t, r.Config.Devices.BMCInterval.D(), s.asks[0].Interval)
			d := r.Config.Devices
			require.Greater(t, s.asks[0].Lease, d.IPMISession.D()+d.IPMITimeout.D(), "longer than any command in it")
		})
	}
}

// slowOutlet reads as off only after its turn is over.
func slowOutlet() []string {
	var readings []string
	for range 6 { // 0.1, 0.2, 0.4, 0.8, 1.6 s after the first one
		readings = append(readings, "on")
	}
	return append(readings, "off")
}

func words(events []string) []string {
	var out []string
	for _, e := range events {
		if i := len("take"); len(e) > i && e[:i] == "take" {
			e = "take"
		} else if i := len("release"); len(e) > i {
			e = "release"
		}
		out = append(out, e)
	}
	return out
}

// Promises 2 and 7: no turn in time is NotSent, tried again soon, and the wait is
// not taken from the time for retries.
func TestNoTurnInTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		asked time.Duration
		retry bool
	}{
		"long after RUNG_RETRY": {-10 * time.Minute, true},
		"after TURN_LIMIT":      {-2 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &turnstile{closed: true}
			r := lined(t, ".", s)
			r.Config.Ladder.TurnWait = config.Duration(2 * tellAfter)
			f := &fakeDevice{}
			in := r.toBMC(Reset, rigWatch)
			in.RungRetry = config.Duration(time.Minute)
			first := time.Now().Add(c.asked)
			var said []Progress
			_, err := execute(t, r.inLine(s, f), in, call{
				details: Progress{Phase: Preparing, FirstTry: first, Asked: first},
				onBeat: func(v converter.EncodedValues) {
					var p Progress
					require.NoError(t, v.Get(&p))
					said = append(said, p)
				},
			})
			text := requireMeaning(t, err, NotSent, c.retry)
			require.Contains(t, text, "no turn at bmc/bmc.example within 2s")
			require.Zero(t, f.sent)
			if app, ok := errors.AsType[*temporal.ApplicationError](err); c.retry {
				require.True(t, ok)
				require.Equal(t, turnAgain, app.NextRetryDelay())
			}
			require.True(t, slices.ContainsFunc(said, func(p Progress) bool { return p.Waiting == "bmc/bmc.example" }), "people see what it waits for")
			last := said[len(said)-1]
			require.Empty(t, last.Waiting)
			require.True(t, last.Asked.Equal(first), "the next attempt goes on waiting")
		})
	}
}

// The time of a wait that is over does not count.
func TestWaitsDoNotCountAsTries(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := Progress{FirstTry: now.Add(-10 * time.Minute), Asked: now.Add(-10*time.Minute + 20*time.Second)}
	p.served()
	require.WithinDuration(t, now.Add(-20*time.Second), p.FirstTry, 5*time.Second)
	busy := notSent("busy")
	require.True(t, mayTryAgain(p.inTime(busy, time.Minute, time.Hour)))
	p.FirstTry = p.FirstTry.Add(-time.Minute)
	require.False(t, mayTryAgain(p.inTime(busy, time.Minute, time.Hour)))
}

// Promise 10: a cancel while waiting ends the wait at once, with nothing sent; a
// worker that stops hands it over.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	t.Run("cancel", func(t *testing.T) {
		t.Parallel()
		s := &turnstile{closed: true}
		r := lined(t, ".", s)
		f := &fakeDevice{}
		_, err := execute(t, r.inLine(s, f), r.toBMC(Reset, rigWatch), call{wrap: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancelCause(ctx)
			go func() {
				for s.asked() == 0 {
					pause(ctx, time.Millisecond)
				}
				cancel(temporal.NewCanceledError())
			}()
			return ctx
		}})
		require.True(t, temporal.IsCanceledError(err), "%v", err)
		require.Zero(t, f.sent)
	})
	t.Run("cancel while it has the device", func(t *testing.T) {
		t.Parallel()
		s := &turnstile{}
		r := lined(t, ".", s)
		var cancel context.CancelCauseFunc
		f := &fakeDevice{before: func() { cancel(temporal.NewCanceledError()) }}
		_, err := execute(t, r.inLine(s, f), r.toBMC(Reset, rigWatch), call{wrap: func(ctx context.Context) context.Context {
			ctx, cancel = context.WithCancelCause(ctx)
			return ctx
		}})
		require.True(t, temporal.IsCanceledError(err), "%v", err)
		require.Zero(t, f.sent)
		require.Equal(t, []string{"take", "release"}, words(s.events))
	})
	t.Run("stop", func(t *testing.T) {
		t.Parallel()
		s := &turnstile{closed: true}
		r := lined(t, ".", s)
		stop := make(chan struct{})
		go func() {
			for s.asked() == 0 {
				pause(t.Context(), time.Millisecond)
			}
			close(stop)
		}()
		_, err := execute(t, r.inLine(s, &fakeDevice{}), r.toBMC(Reset, rigWatch), call{stop: stop})
		requireMeaning(t, err, Handover, true)
	})
}

func (s *turnstile) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asks)
}

// A worker that was frozen past its turn sends nothing: another has the device.
func TestNothingIsSentAfterTheTurn(t *testing.T) {
	t.Parallel()
	s := &turnstile{began: time.Now().Add(-time.Hour)}
	r := lined(t, ".", s)
	f := &fakeDevice{}
	in := r.toBMC(Reset, rigWatch)
	in.RungRetry = config.Duration(time.Hour)
	_, err := execute(t, r.inLine(s, f), in, call{})
	require.Contains(t, requireMeaning(t, err, NotSent, true), "the turn at bmc/bmc.example was over")
	require.Zero(t, f.sent)
	require.Equal(t, []string{"take", "release"}, words(s.events))
}

// A machine that came back while its job waited for the device is not hit, and
// one that was dark all the time is.
func TestWaitIsFollowedByALook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		record string
		back   bool
	}{
		"it came back":                         {"xxx.", true},
		"it came back after more silent looks": {"xxxxx.", true},
		"it stays dark":                        {"x", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &late{turnstile: &turnstile{}, by: fresh + 100*time.Millisecond}
			r := lined(t, c.record, s.turnstile)
			r.Turns = s
			r.Config.Ladder.ProbeTimeout = config.Duration(time.Minute) // a silence of the vigil stays news
			f := &fakeDevice{}
			in := r.toBMC(Reset, rigWatch)
			in.Since = &Baseline{Up: true, Down: true}
			res, err := execute(t, r.inLine(s.turnstile, f), in, call{})
			require.NoError(t, err)
			require.Equal(t, c.back, res.Back != "", res.Back)
			require.Equal(t, c.back, f.sent == 0)
		})
	}
}

// A device is not held for as long as a dark machine's probe takes to go unanswered.
func TestADarkMachineIsLookedAtBeforeItsTurn(t *testing.T) {
	t.Parallel()
	s := &late{turnstile: &turnstile{}, by: fresh + 100*time.Millisecond}
	r := lined(t, "x", s.turnstile)
	r.Turns, r.Prober = s, telling{r.Prober, s.turnstile}
	_, err := execute(t, r.inLine(s.turnstile, &fakeDevice{}), r.toBMC(Reset, rigWatch), call{})
	require.NoError(t, err)
	events := words(s.events)
	taken := slices.Index(events, "take")
	require.Contains(t, events[:taken], "probe")
	require.Equal(t, []string{"take", "send"}, events[taken:taken+2])
}

// telling notes each probe.
type telling struct {
	Prober
	s *turnstile
}

func (n telling) Probe(ctx context.Context, m config.Machine) (bool, error) {
	n.s.note("probe")
	return n.Prober.Probe(ctx, m)
}

// late gives turns after a while.
type late struct {
	*turnstile
	by time.Duration
}

func (l *late) Take(ctx context.Context, ask TurnAsk) (Turn, error) {
	pause(ctx, l.by)
	return l.turnstile.Take(ctx, ask)
}

// A wait for the machine in the middle of a dialogue lets others have the device;
// where no turn follows, nothing more may be sent.
func TestAside(t *testing.T) {
	t.Parallel()
	s := &turnstile{}
	p := &place{
		turns: s, devices: []config.Device{{Kind: config.Chassis, Name: "c"}, {Kind: config.PDU, Name: "p"}}, wait: 100 * time.Millisecond, hold: time.Minute,
		every: func(config.DeviceKind) config.Duration { return 0 }, progress: &Progress{}, tell: func() {},
	}
	ctx := withPlace(t.Context(), p)
	require.NoError(t, p.take(ctx))
	require.NoError(t, p.take(ctx), "it has them already")
	require.NoError(t, p.ready())
	require.NoError(t, aside(ctx, func() { s.note("wait") }))
	require.NoError(t, p.ready())
	require.Equal(t, []string{
		"take chassis/c", "take pdu/p", "release chassis/c", "release pdu/p", "wait", "take chassis/c", "take pdu/p",
	}, s.events)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := aside(ctx, func() {})
	require.True(t, isNoTurn(err), "%v", err)
	require.Equal(t, NotSent, MeaningOf(p.ready()))
}

func TestRanks(t *testing.T) {
	t.Parallel()
	require.Equal(t, DarkRank, rankOf(t.Context(), On))
	require.Equal(t, ClickRank, rankOf(t.Context(), Reset))
	require.True(t, DarkRank < ClickRank && ClickRank < BulkRank)
}
