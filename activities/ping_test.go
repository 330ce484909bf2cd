package activities

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

func TestProbeTCP(t *testing.T) {
	t.Parallel()
	open, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = open.Close() })
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for name, c := range map[string]struct {
		host     string
		listener net.Listener
		answered bool
		err      string
	}{
		"accepted": {host: "127.0.0.1", listener: open, answered: true},
		"by name":  {host: "localhost", listener: open, answered: true},
		"refused":  {host: "127.0.0.1", listener: closed},
		"no name":  {host: "no..name", listener: open, err: "look up no..name in DNS"}, // no name at all, so no question leaves this machine
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, port, err := net.SplitHostPort(c.listener.Addr().String())
			require.NoError(t, err)
			n, err := strconv.Atoi(port)
			require.NoError(t, err)
			m := config.Machine{Addr: c.host, Probe: config.Probe{Network: "tcp", Port: n}}
			answered, err := NewProber(time.Minute).Probe(t.Context(), m)
			require.Equal(t, c.answered, answered)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
		})
	}
}

// A probe whose time is over is unanswered; a cancel is no answer at all.
func TestProbeTimeout(t *testing.T) {
	t.Parallel()
	m := config.Machine{Addr: "127.0.0.1", Probe: config.Probe{Network: "tcp", Port: 9}}
	answered, err := NewProber(time.Nanosecond).Probe(t.Context(), m)
	require.NoError(t, err)
	require.False(t, answered)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = NewProber(time.Minute).Probe(ctx, m)
	require.ErrorIs(t, err, context.Canceled)
}

// timed tells how long each answer took: a clock may see no time pass.
type timed struct {
	Prober
	rtt time.Duration
}

func (p timed) Echo(ctx context.Context, m config.Machine) (Echo, error) {
	answered, err := p.Probe(ctx, m)
	return Echo{Answered: answered, RTT: p.rtt}, err
}

func TestPing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		record   string
		count    int
		deadline time.Duration
		rtt      time.Duration
		text     string
		says     string
	}{
		"all answered":    {record: ".", count: 2, deadline: time.Minute, rtt: 2 * time.Millisecond, text: "2ms"},
		"at once":         {record: ".", count: 1, deadline: time.Minute, text: "1µs"},
		"one lost":        {record: "x.", count: 2, deadline: time.Minute, says: "1 of 2 probes answered"},
		"none answered":   {record: "x", count: 1, deadline: time.Minute, says: "0 of 1 probes answered"},
		"no probe":        {record: "e", count: 2, deadline: time.Minute, says: errNoSocket.Error()},
		"not all in time": {record: ".", count: 1000, deadline: 100 * time.Millisecond, says: "of 1000 probes answered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, c.record)
			r.Prober = timed{r.Prober, c.rtt}
			res, err := execute(t, r.Ping, PingInput{Machine: r.name, Count: c.count, Deadline: config.Duration(c.deadline)}, call{})
			if c.says == "" {
				require.NoError(t, err)
				require.Equal(t, c.count, res.Sent)
				require.Equal(t, c.count, res.Received)
				require.Equal(t, c.text, res.RTT.String())
				require.True(t, strings.HasSuffix(res.Text, "mean round trip "+c.text), res.Text)
				return
			}
			require.Contains(t, requireMeaning(t, err, NoAnswer, false), c.says)
		})
	}
	t.Run("a machine", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{})
		res, err := execute(t, r.Ping, PingInput{Machine: r.name, Count: 1}, call{})
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(res.Probe, "tcp:"))
		r.machine.Kill()
		_, err = execute(t, r.Ping, PingInput{Machine: r.name, Count: 1}, call{})
		requireMeaning(t, err, NoAnswer, false)
	})
	t.Run("a name that DNS does not know", func(t *testing.T) {
		t.Parallel()
		r := bench(t, "")
		_, err := r.PingEach(t.Context(), config.Machine{FQDN: "no..name", Addr: "no..name", Probe: config.Probe{Network: "icmp"}}, 1, time.Minute, func(Echo) {})
		require.Equal(t, NoAnswer, MeaningOf(err))
		require.ErrorContains(t, err, "look up no..name in DNS")
		_, isDNS := errors.AsType[*net.DNSError](err)
		require.True(t, isDNS)
		_, lost := errors.AsType[*Unanswered](err)
		require.False(t, lost, "a probe that could not be made is not one that was lost")
	})
	t.Run("each is told", func(t *testing.T) {
		t.Parallel()
		r := bench(t, "x.")
		var told []bool
		_, err := r.PingEach(t.Context(), r.entry(t), 2, time.Minute, func(e Echo) {
			require.Equal(t, len(told)+1, e.Seq)
			told = append(told, e.Answered)
		})
		require.Equal(t, []bool{false, true}, told)
		_, lost := errors.AsType[*Unanswered](err)
		require.True(t, lost, "%v", err)
	})
	t.Run("unknown machine", func(t *testing.T) {
		t.Parallel()
		r := bench(t, ".")
		_, err := execute(t, r.Ping, PingInput{Machine: config.Name{WorkerID: "x", WorkerGroup: "y"}}, call{})
		requireMeaning(t, err, UnknownMachine, false)
	})
}
