package activities

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// script is a prober that answers as recorded; the last letter holds for ever.
// See play for the letters.
type script struct {
	mu     sync.Mutex
	record string
	asked  int
	then   func(asked int) // called for each probe
}

var errNoSocket = errors.New("no socket for probes")

func (s *script) Probe(context.Context, config.Machine) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.record[min(s.asked, len(s.record)-1)]
	s.asked++
	if s.then != nil {
		s.then(s.asked)
	}
	if c == 'e' {
		return false, errNoSocket
	}
	return c == '.', nil
}

func (r *rig) watchFor(timeout time.Duration, b Baseline) Watch {
	return Watch{Machine: r.name, Baseline: b, Timeout: config.Duration(timeout)}
}

func TestAwaitDown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		record  string
		wasDown bool
		want    Sight
	}{
		"goes down":         {record: "..x", want: Sight{Done: true, Down: true, Evidence: "3 probes in a row unanswered"}},
		"one lost packet":   {record: "..x.", want: Sight{Done: true}},
		"already down":      {record: "x", wasDown: true, want: Sight{Done: true}},
		"comes up":          {record: "xx.", wasDown: true, want: Sight{Done: true, Up: true, Evidence: "was down before, answers now"}},
		"no probe for once": {record: ".e.", want: Sight{Done: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoSSH: true, NoBMC: true, NoOutlet: true})
			r.Prober = &script{record: c.record}
			timeout := time.Minute // these end by what they see
			if !c.want.Down && !c.want.Up {
				timeout = 600 * time.Millisecond
			}
			sight, err := execute(t, r.AwaitDown, r.watchFor(timeout, Baseline{Up: !c.wasDown}), call{})
			require.NoError(t, err)
			require.Equal(t, c.want.Down, !sight.DownAt.IsZero())
			require.Equal(t, c.want.Up, !sight.UpAt.IsZero())
			sight.DownAt, sight.UpAt = time.Time{}, time.Time{}
			if c.want.Evidence == "" {
				require.NotEmpty(t, sight.Evidence)
				c.want.Evidence = sight.Evidence
			}
			require.Equal(t, c.want, sight)
		})
	}
}

// A prober that cannot probe says nothing about the machine.
func TestAwaitWithoutProber(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
	r.Prober = &script{record: "e"}
	in := r.watchFor(200*time.Millisecond, Baseline{Up: true})
	_, err := execute(t, r.AwaitDown, in, call{})
	require.Contains(t, requireMeaning(t, err, NotSent, false), errNoSocket.Error())
	_, err = execute(t, r.AwaitUp, in, call{})
	require.Contains(t, requireMeaning(t, err, NotSent, false), errNoSocket.Error())
}

// A reboot too fast for any probe is proven by the boot ID, or by the held
// connection where there is none. Three machines that no probe has seen down.
func TestRebootThatNoProbeSaw(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec     lab.Spec
		rebooted bool
		evidence string
	}{
		"held connection":  {lab.Spec{Faults: lab.Faults{TooFast: true}}, true, evidenceReset},
		"boot id":          {lab.Spec{Faults: lab.Faults{TooFast: true}, SSHBootID: true}, true, "boot id changed"},
		"ignored, boot id": {lab.Spec{Faults: lab.Faults{IgnoreSSH: true}, SSHBootID: true}, false, "boot id unchanged"},
		"ignored":          {lab.Spec{Faults: lab.Faults{IgnoreSSH: true}}, false, "probes unanswered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.spec)
			r.Prober = &script{record: "."}
			timeout := rigWatch
			if !c.rebooted {
				timeout = config.Duration(time.Second)
			}
			res, err := execute(t, r.SSHReboot, r.command(Reboot, timeout), call{})
			require.NoError(t, err)
			require.Equal(t, "reboot", res.Sent)
			require.True(t, res.Watch.Done)
			require.False(t, res.Watch.Down)
			require.Equal(t, c.rebooted, res.Watch.Rebooted)
			require.Contains(t, res.Watch.Evidence, c.evidence)
			require.Equal(t, c.spec.SSHBootID, res.Baseline.BootID != "")
		})
	}
}

// peer is a listener in the place of the machine's sshd.
func (r *rig) peer(t *testing.T, serve func(*net.TCPConn)) config.Machine {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(c.(*net.TCPConn)) })
		}
	})
	m := r.entry(t)
	ssh := *m.SSH
	m.SSH = &ssh
	host, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	m.Addr = host
	m.SSH.Port, err = strconv.Atoi(port)
	require.NoError(t, err)
	return m
}

func TestHeldConnection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   func(*net.TCPConn)
		reset bool
	}{
		"reset": {func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, true},
		"fin":   {func(c *net.TCPConn) { _ = c.Close() }, false},
		"fin, then reset": {func(c *net.TCPConn) {
			_ = c.CloseWrite()
			_ = c.SetLinger(0)
			_ = c.Close()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
			greeted := make(chan string, 1)
			m := r.peer(t, func(conn *net.TCPConn) {
				b := make([]byte, 3)
				for i := range b {
					_, _ = conn.Read(b[i : i+1])
				}
				greeted <- string(b)
				c.end(conn)
			})
			h := r.hold(t.Context(), m)
			require.NotNil(t, h)
			defer h.close()
			require.True(t, h.alive())
			for range 3 {
				h.ask()
			}
			require.Equal(t, "SSH", <-greeted)
			<-h.done
			require.False(t, h.alive())
			select {
			case <-h.wasReset():
				require.True(t, c.reset)
			default:
				require.False(t, c.reset)
			}
		})
	}
}

// A firewall that loses its state resets the connection too: where there is a
// boot ID, it decides.
func TestResetDoesNotOutweighBootID(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{SSHBootID: true})
	r.Prober = &script{record: "."}
	cut := r.peer(t, func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)); _ = c.SetLinger(0); _ = c.Close() })
	h := r.hold(t.Context(), cut)
	require.NotNil(t, h)
	defer h.close()
	h.ask()
	<-h.wasReset()
	m := r.entry(t)
	base := Baseline{Up: true, BootID: r.machine.State().BootID}
	sight, err := r.watch(t.Context(), m, base, h, nil, time.Now().Add(time.Second), func() {})
	require.NoError(t, err)
	require.False(t, sight.Rebooted)
	require.Contains(t, sight.Evidence, "boot id unchanged")
}

func TestAwaitUp(t *testing.T) {
	t.Parallel()
	t.Run("is up", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{})
		sight, err := execute(t, r.AwaitUp, r.watchFor(time.Minute, Baseline{}), call{})
		require.NoError(t, err)
		require.True(t, sight.Done && sight.Up && !sight.UpAt.IsZero())
		require.False(t, sight.Rebooted)
		require.Equal(t, "answers probes and ssh", sight.Evidence)
	})
	t.Run("is told of once it is not up at once", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{NoSSH: true})
		for record, beats := range map[string]bool{".": false, "xx.": true} {
			r.Prober = &script{record: record}
			r.Config.Ladder.DownProbes = 1
			told := false
			_, err := execute(t, r.AwaitUp, r.watchFor(time.Minute, Baseline{}), call{onBeat: func(v converter.EncodedValues) {
				var p waitProgress
				require.NoError(t, v.Get(&p))
				told = !p.Until.IsZero()
			}})
			require.NoError(t, err)
			require.Equal(t, beats, told, record)
		}
	})
	t.Run("comes back with another boot id", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{SSHBootID: true})
		base := Baseline{Up: true, BootID: r.machine.State().BootID}
		r.machine.PressPower()
		r.machine.PressPower()
		sight, err := execute(t, r.AwaitUp, r.watchFor(time.Minute, base), call{})
		require.NoError(t, err)
		require.True(t, sight.Up && sight.Rebooted, "%+v", sight)
	})
	t.Run("lost probes, same boot id", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{SSHBootID: true})
		r.Prober = &script{record: "xxx."}
		sight, err := execute(t, r.AwaitUp, r.watchFor(time.Minute, Baseline{Up: true, BootID: r.machine.State().BootID}), call{})
		require.NoError(t, err)
		require.True(t, sight.Up)
		require.False(t, sight.Rebooted)
		require.Contains(t, sight.Evidence, "boot id unchanged")
	})
	t.Run("probes are answered but ssh is not", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{Faults: lab.Faults{Hung: true}})
		r.Prober = &script{record: "."}
		sight, err := execute(t, r.AwaitUp, r.watchFor(300*time.Millisecond, Baseline{}), call{})
		require.NoError(t, err)
		require.True(t, sight.Done)
		require.False(t, sight.Up)
		require.Equal(t, "answers probes, but shows no ssh banner", sight.Evidence)
	})
	t.Run("stays down", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{})
		r.machine.Kill()
		sight, err := execute(t, r.AwaitUp, r.watchFor(300*time.Millisecond, Baseline{}), call{})
		require.NoError(t, err)
		require.True(t, sight.Done)
		require.False(t, sight.Up)
		require.Contains(t, sight.Evidence, "probes unanswered")
	})
}

// The time of a wait goes on over its attempts.
func TestWaitsKeepTheirDeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{})
	r.machine.Kill()
	past := waitProgress{Until: time.Now().Add(-time.Second)}
	in := r.watchFor(time.Hour, Baseline{})
	up, err := execute(t, r.AwaitUp, in, call{details: past})
	require.NoError(t, err)
	require.True(t, up.Done)
	down, err := execute(t, r.AwaitDown, in, call{details: past})
	require.NoError(t, err)
	require.True(t, down.Done)
}

func TestWaitsAreHandedOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoSSH: true})
	in := r.watchFor(time.Hour, Baseline{Up: true})
	for name, c := range map[string]struct {
		wait   func(context.Context, Watch) (Sight, error)
		record string
	}{
		"down": {r.AwaitDown, "."},
		"up":   {r.AwaitUp, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			r.Prober = &script{record: c.record, then: func(asked int) {
				if asked == 2 {
					close(stop)
				}
			}}
			_, err := execute(t, c.wait, in, call{stop: stop})
			requireMeaning(t, err, Handover, true)

			r.Prober = &script{record: c.record}
			canceled := func(ctx context.Context) context.Context {
				ctx, cancel := context.WithCancelCause(ctx)
				cancel(temporal.NewCanceledError())
				return ctx
			}
			_, err = execute(t, c.wait, in, call{wrap: canceled})
			require.True(t, temporal.IsCanceledError(err), "%v", err)
		})
	}
}
