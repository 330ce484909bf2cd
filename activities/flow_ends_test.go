package activities

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
)

// A worker that was held up past its heartbeat must not send: another attempt
// may be under way.
func TestFence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start, wall time.Duration // ago, when the test runs
		limit       time.Duration
		ok          bool
	}{
		"in time":                      {limit: time.Minute, ok: true},
		"no heartbeat timeout":         {start: time.Hour, ok: true},
		"held up":                      {start: time.Hour, limit: time.Minute},
		"only the wall clock shows it": {wall: time.Hour, limit: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			err := fence{start: now.Add(-c.start), wall: now.Add(-c.wall), limit: c.limit}.check(t.Context())
			if c.ok {
				require.NoError(t, err)
			} else {
				require.Equal(t, NotSent, MeaningOf(err))
			}
		})
	}
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithDeadline(context.WithoutCancel(t.Context()), time.Now().Add(-time.Second))
		defer cancel()
		require.Error(t, fence{start: time.Now()}.check(ctx))
	})
}

func TestCommandCanceled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		atProbe int // of the prober, whose first one is the baseline
		atSend  bool
		torn    bool // the protocol has not had the reply, because of the cancel
		sent    bool
	}{
		"before it is sent": {atSend: true},
		"in the middle":     {torn: true, sent: true},
		"while watching":    {atProbe: 3, sent: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, "")
			var cancel context.CancelCauseFunc
			stop := func() { cancel(temporal.NewCanceledError()) }
			f := &fakeDevice{}
			if c.atSend {
				f.before = stop
			}
			if c.torn {
				f.after, f.err = stop, unknown("after the first outlet: %w", temporal.NewCanceledError())
			}
			r.Prober = &script{record: ".", then: func(asked int) {
				if asked == c.atProbe {
					stop()
				}
			}}
			_, err := execute(t, r.fake(f), r.command(Reboot, rigWatch), call{wrap: func(ctx context.Context) context.Context {
				ctx, cancel = context.WithCancelCause(ctx)
				return ctx
			}})
			canceled, ok := errors.AsType[*temporal.CanceledError](err)
			require.True(t, ok, "%v", err)
			var res CommandResult
			require.NoError(t, canceled.Details(&res))
			require.Equal(t, c.sent, res.Sent != "")
			require.Equal(t, c.sent, f.sent == 1)
			require.Equal(t, c.torn, res.Unknown != "")
			require.False(t, res.Watch.Done)
		})
	}
}

// An attempt that ends because the worker goes down is no cancel, and must not
// look like one: the SDK would have it tried, and sent, again.
func TestCommandOnADyingWorker(t *testing.T) {
	t.Parallel()
	r := bench(t, "")
	var cancel context.CancelCauseFunc
	f := &fakeDevice{}
	r.Prober = &script{record: ".", then: func(asked int) {
		if asked == 3 {
			cancel(errors.New("worker is shutting down"))
		}
	}}
	res, err := execute(t, r.fake(f), r.command(Reboot, rigWatch), call{wrap: func(ctx context.Context) context.Context {
		ctx, cancel = context.WithCancelCause(ctx)
		return ctx
	}})
	require.NoError(t, err)
	require.Equal(t, "fake reboot", res.Sent)
	require.False(t, res.Watch.Done)
}

func TestCommandOnAStoppingWorker(t *testing.T) {
	t.Parallel()
	t.Run("while watching", func(t *testing.T) {
		t.Parallel()
		r := bench(t, "")
		stop := make(chan struct{})
		r.Prober = &script{record: ".", then: func(asked int) {
			if asked == 3 {
				close(stop)
			}
		}}
		res, err := execute(t, r.fake(&fakeDevice{}), r.command(Reboot, rigWatch), call{stop: stop})
		require.NoError(t, err)
		require.Equal(t, "fake reboot", res.Sent)
		require.False(t, res.Watch.Done)
	})
	t.Run("before it is sent", func(t *testing.T) {
		t.Parallel()
		r := bench(t, ".")
		stop := make(chan struct{})
		close(stop)
		f := &fakeDevice{}
		_, err := execute(t, r.fake(f), r.command(Reboot, rigWatch), call{stop: stop})
		requireMeaning(t, err, Handover, true)
		require.Zero(t, f.sent)
	})
}

// A prober that breaks after the command leaves the watch to another one: it
// has not seen a machine that stayed up.
func TestCommandWithoutEyes(t *testing.T) {
	t.Parallel()
	r := bench(t, ".e")
	res, err := execute(t, r.fake(&fakeDevice{}), r.command(Reboot, config.Duration(200*time.Millisecond)), call{})
	require.NoError(t, err)
	require.Equal(t, "fake reboot", res.Sent)
	require.False(t, res.Watch.Done)
	require.Contains(t, res.Watch.Evidence, errNoSocket.Error())
}

// The command line runs the same code without Temporal.
func TestCommandOutsideTemporal(t *testing.T) {
	t.Parallel()
	r := bench(t, ".xxx")
	res, err := r.fake(&fakeDevice{})(t.Context(), r.command(Reboot, rigWatch))
	require.NoError(t, err)
	require.True(t, res.Watch.Down)

	ctx, cancel := context.WithCancel(t.Context())
	r.Prober = &script{record: ".", then: func(asked int) {
		if asked == 3 {
			cancel()
		}
	}}
	_, err = r.fake(&fakeDevice{})(ctx, r.command(Reboot, rigWatch))
	require.True(t, temporal.IsCanceledError(err), "%v", err)
}
