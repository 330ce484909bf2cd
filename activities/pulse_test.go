package activities

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/mozilla-platform-ops/roller/config"
)

// server is what hears heartbeats: all it was told, and how it answers.
type server struct {
	told   []Phase
	answer func(Progress) error // nil: it takes every one
}

func (s *server) record(_ context.Context, p Progress) error {
	s.told = append(s.told, p.Phase)
	if s.answer == nil {
		return nil
	}
	return s.answer(p)
}

// aboutToSend is an attempt that has come to its command.
func aboutToSend(s *server) *try {
	progress := Progress{Phase: Preparing}
	return &try{
		in: Command{Action: On}, progress: progress, place: &place{},
		pulse: &pulse{record: s.record, details: progress, fence: fence{start: time.Now(), wall: time.Now(), limit: time.Minute}},
	}
}

var errRestarting = serviceerror.NewUnavailable("the server is being restarted")

// Promise 2: nothing is sent before the server knows that it is about to be, so
// that a lost attempt which had only prepared is known to have sent nothing.
func TestTheServerKnowsBeforeTheDevice(t *testing.T) {
	t.Parallel()
	s := &server{}
	a := aboutToSend(s)
	a.res.Baseline = Baseline{Up: true, BootID: "b1"}
	require.NoError(t, a.ready(t.Context()))
	require.Equal(t, []Phase{Sending}, s.told)
	require.Equal(t, a.res.Baseline, a.pulse.details.Baseline)
	require.NoError(t, a.ready(t.Context()), "a second command of the same attempt")
	require.Len(t, s.told, 1, "is known already")

	s = &server{answer: func(Progress) error { return errRestarting }}
	err := aboutToSend(s).ready(t.Context())
	require.Equal(t, NotSent, MeaningOf(err))
	require.ErrorContains(t, err, "about to be sent")
}

// What is over within a moment costs Temporal's database no write that it was begun.
func TestTheFirstHeartbeatWaits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lasts time.Duration
		told  []Phase
	}{
		"shorter than a moment": {tellAfter - time.Millisecond, nil},
		"longer":                {tellAfter + time.Millisecond, []Phase{Preparing}},
		"until the second":      {tellAfter + cancelWithin + time.Millisecond, []Phase{Preparing, Preparing}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				stop := (&Activities{}).keepBeating(t.Context(), aboutToSend(s).pulse, ClickRank)
				pause(t.Context(), test.lasts)
				stop()
				require.Equal(t, test.told, s.told)
			})
		})
	}
}

// A heartbeat of "preparing" whose answer is missing may reach the server after
// that of "sending": the attempt ends without having sent anything.
func TestALostHeartbeatForbidsTheCommand(t *testing.T) {
	t.Parallel()
	s := &server{answer: func(Progress) error { return errRestarting }}
	a := aboutToSend(s)
	a.pulse.beat(t.Context())
	s.answer = nil
	a.pulse.beat(t.Context())
	require.ErrorContains(t, a.ready(t.Context()), "restarted", "a later heartbeat mends nothing")
	require.NotContains(t, s.told, Sending)
}

// A heartbeat that is under way is waited for: what it says is older.
func TestHeartbeatsDoNotOvertakeEachOther(t *testing.T) {
	t.Parallel()
	s, arrived, goOn := &server{}, make(chan struct{}), make(chan struct{})
	s.answer = func(p Progress) error {
		if p.Phase == Preparing {
			close(arrived)
			<-goOn
		}
		return nil
	}
	a := aboutToSend(s)
	beaten := make(chan struct{})
	go func() { a.pulse.beat(context.Background()); close(beaten) }()
	<-arrived
	ready := make(chan error)
	go func() { ready <- a.ready(context.Background()) }()
	select {
	case <-ready:
		t.Fatal("the command goes out while an older heartbeat is under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	<-beaten
	require.NoError(t, <-ready)
	require.Equal(t, []Phase{Preparing, Sending}, s.told)
}

// A worker that was frozen for longer than the server waits for its heartbeat
// must not send, even if its heartbeat goes on before the command does; and one
// that is frozen while it tells the server must not either.
func TestPulseRemembersThatItStalled(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), &server{}
	a := aboutToSend(s)
	a.pulse.fence.start = time.Now().Add(-time.Hour)
	a.pulse.beat(ctx)
	require.ErrorContains(t, a.ready(ctx), "held up")
	a.pulse.beat(ctx)
	require.ErrorContains(t, a.ready(ctx), "held up", "a later heartbeat in time mends nothing")

	fresh := aboutToSend(s)
	fresh.pulse.beat(ctx)
	require.NoError(t, fresh.ready(ctx))

	frozen := aboutToSend(&server{})
	frozen.pulse.record = func(context.Context, Progress) error {
		frozen.place.devices = []config.Device{{Kind: config.BMC, Name: "b"}} // whose turn was over meanwhile
		return nil
	}
	require.Equal(t, NotSent, MeaningOf(frozen.ready(ctx)))
}

// What was announced and then not sent is taken back, so that the next attempt
// sends it: a server that is being restarted hears of it when it is back.
func TestWhatWasNotSentIsTakenBack(t *testing.T) {
	t.Parallel()
	s := &server{}
	a := aboutToSend(s)
	require.NoError(t, a.ready(t.Context()))
	asked := 0
	s.answer = func(Progress) error {
		if asked++; asked < 3 {
			return errRestarting
		}
		return nil
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel() // the attempt's own time is over
	a.withdraw(gone)
	require.Equal(t, []Phase{Sending, Preparing, Preparing, Preparing}, s.told)

	over := &server{}
	b := aboutToSend(over)
	require.NoError(t, b.ready(t.Context()))
	over.answer = func(Progress) error { return serviceerror.NewNotFound("this attempt is over") }
	b.withdraw(t.Context())
	require.Len(t, over.told, 2, "nobody listens any more")
}

// That a command was sent costs no heartbeat: the next one says so.
func TestThatItWatchesIsSaidWithTheNextHeartbeat(t *testing.T) {
	t.Parallel()
	s := &server{}
	a := aboutToSend(s)
	require.NoError(t, a.ready(t.Context()))
	a.progress.Phase = Watching
	a.pulse.note(a.progress)
	require.Equal(t, []Phase{Sending}, s.told)
	a.pulse.beat(t.Context())
	require.Equal(t, []Phase{Sending, Watching}, s.told)
}

// In Temporal's own environment: heartbeats go to the server in order, the first
// one at once, and what they say is what the next attempt and the workflow read.
func TestHeartbeatsOfACommand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want []Phase
	}{
		"sent":     {nil, []Phase{Preparing, Sending}},
		"not sent": {notSent("busy"), []Phase{Preparing, Sending, Preparing}},
		"unknown":  {errors.New("what is this"), []Phase{Preparing, Sending}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, ".xxx")
			var phases []Phase // in a row, each once
			first := make(chan struct{})
			f := &fakeDevice{err: c.err, before: func() { <-first }}
			_, _ = execute(t, r.fake(f), r.command(Reboot, rigWatch), call{onBeat: func(v converter.EncodedValues) {
				var p Progress
				require.NoError(t, v.Get(&p))
				if len(phases) == 0 {
					close(first)
				}
				if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
					phases = append(phases, p.Phase)
				}
			}})
			require.Equal(t, c.want, phases)
		})
	}
}

// Promise 10: a bulk job learns of a cancel as soon as a person's, unless its worker
// has so many that Temporal would have to write for nothing else.
func TestHowOftenACommandBeats(t *testing.T) {
	t.Parallel()
	const needed = 15 * time.Second // of a HEARTBEAT_TIMEOUT of 60 s
	for name, c := range map[string]struct {
		rank Rank
		bulk int
		want time.Duration
	}{
		"a person's":                 {ClickRank, 0, 3 * time.Second},
		"a person's beside many":     {ClickRank, 5000, 3 * time.Second},
		"one bulk job":               {BulkRank, 1, 3 * time.Second},
		"racks of them":              {BulkRank, 450, 3 * time.Second},
		"all Macs and cartridges":    {BulkRank, 1068, 7120 * time.Millisecond},
		"as many as there are slots": {BulkRank, 5000, needed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all crowd
			for range c.bulk {
				t.Cleanup(all.join(BulkRank))
			}
			all.join(c.rank)()
			require.Equal(t, c.want, all.every(needed, c.rank))
			require.Equal(t, time.Second, all.every(time.Second, ClickRank), "a shorter HEARTBEAT_TIMEOUT needs more")
		})
	}
}

// A command whose reply is waited for after its cancel is not lost: its heartbeats go
// on. Those of an attempt that ends otherwise do not: its worker stops, or the server
// has given it up.
func TestHeartbeatsGoOnAfterACancel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cause error
		beats bool
	}{
		"cancelled":        {temporal.NewCanceledError(), true},
		"its worker stops": {worker.ErrWorkerShutdown, false},
		"given up":         {context.DeadlineExceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, ".")
			var cancel context.CancelCauseFunc
			var beats atomic.Int32
			f := &fakeDevice{after: func() {
				cancel(c.cause)
				before := beats.Load()
				more := func() bool { return beats.Load() >= before+2 }
				if c.beats {
					require.Eventually(t, more, time.Minute, 10*time.Millisecond)
				} else {
					require.Never(t, more, 2*cancelWithin, 100*time.Millisecond)
				}
			}}
			_, _ = execute(t, r.fake(f), r.command(Reboot, rigWatch), call{
				onBeat: func(converter.EncodedValues) { beats.Add(1) },
				wrap: func(ctx context.Context) context.Context {
					ctx, cancel = context.WithCancelCause(ctx)
					return ctx
				},
			})
			require.Equal(t, 1, f.sent)
		})
	}
}
