package activities

import (
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
)

func portText(port uint32) string { return strconv.FormatUint(uint64(port), 10) }

// quiet drops what is written after so many writes.
type quiet struct {
	net.Conn
	left atomic.Int32
}

func muted(c net.Conn, writes int32) net.Conn {
	q := &quiet{Conn: c}
	q.left.Store(writes)
	return q
}

func (q *quiet) Write(b []byte) (int, error) {
	if q.left.Add(-1) < 0 {
		return len(b), nil
	}
	return q.Conn.Write(b)
}

// sayAndHang writes once and then waits for the client to go; it serves nothing.
func sayAndHang(text string) func(net.Conn) net.Conn {
	return func(c net.Conn) net.Conn {
		_, _ = c.Write([]byte(text))
		for buf := make([]byte, 1<<10); ; {
			if _, err := c.Read(buf); err != nil {
				return nil
			}
		}
	}
}

func sayAndClose(text string) func(net.Conn) net.Conn {
	return func(c net.Conn) net.Conn {
		_, _ = c.Write([]byte(text))
		_ = c.(*net.TCPConn).CloseWrite()
		return sayAndHang("")(c)
	}
}

// stages are the ways in which a server can fail a client, stage by stage.
func stages(t *testing.T) map[string]struct {
	shape   shape
	meaning Meaning
	silent  bool
	ran     []string
} {
	end := t.Context().Done()
	publicKey := func(answer func(ssh.ConnMetadata) error) *ssh.ServerConfig {
		return &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, _ ssh.PublicKey) (*ssh.Permissions, error) {
			return nil, answer(c)
		}}
	}
	return map[string]struct {
		shape   shape
		meaning Meaning
		silent  bool
		ran     []string
	}{
		"no banner":           {shape: shape{conn: sayAndHang("")}, meaning: NotSent, silent: true},
		"half a banner":       {shape: shape{conn: sayAndHang("SSH-2.")}, meaning: NotSent, silent: true},
		"after the banner":    {shape: shape{conn: sayAndHang("SSH-2.0-x\r\n")}, meaning: NotSent, silent: true},
		"in the key exchange": {shape: shape{conn: func(c net.Conn) net.Conn { return muted(c, 2) }}, meaning: NotSent, silent: true},
		"in authentication": {shape: shape{cfg: publicKey(func(ssh.ConnMetadata) error {
			<-end
			return nil
		})}, meaning: NotSent, silent: true},
		"in channel open":   {shape: shape{open: func(net.Conn, ssh.NewChannel) {}}, meaning: NotSent, silent: true},
		"in the exec reply": {shape: shape{exec: func(net.Conn, *ssh.Request) {}}, meaning: Unknown, ran: []string{"reboot"}},

		"closed before the banner": {shape: shape{conn: sayAndClose("")}, meaning: NotSent},
		"closed after the banner":  {shape: shape{conn: sayAndClose("SSH-2.0-x\r\n")}, meaning: NotSent},
		"closed in channel open":   {shape: shape{open: func(c net.Conn, _ ssh.NewChannel) { _ = c.Close() }}, meaning: NotSent},
		"closed in the exec reply": {shape: shape{exec: func(c net.Conn, _ *ssh.Request) { _ = c.Close() }}, meaning: Unknown, ran: []string{"reboot"}},
		"garbage for a banner":     {shape: shape{conn: sayAndClose("220 smtp\r\n")}, meaning: NotSent},
		"garbage without an end":   {shape: shape{conn: sayAndClose(strings.Repeat("x", 1<<16))}, meaning: NotSent},
		"garbage after the banner": {shape: shape{conn: sayAndClose("SSH-2.0-x\r\n" + strings.Repeat("x", 1<<10))}, meaning: NotSent},
		"another version":          {shape: shape{conn: sayAndClose("SSH-1.5-x\r\n")}, meaning: NotSent},
		"refuses the key":          {shape: shape{cfg: publicKey(func(ssh.ConnMetadata) error { return net.ErrClosed })}, meaning: Refused},
		"refuses sessions":         {shape: shape{open: func(_ net.Conn, ch ssh.NewChannel) { _ = ch.Reject(ssh.Prohibited, "no") }}, meaning: Refused},
	}
}

// stageTimeout is short where it is waited for.
func stageTimeout(silent bool) config.Duration {
	if silent {
		return config.Duration(500 * time.Millisecond)
	}
	return config.Duration(3 * time.Second)
}

// A server that hangs, ends or talks nonsense, at each stage: whoever waits for
// it gives up in time, and says rightly whether anything was sent.
func TestSSHStages(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"directly", "by a bastion"} {
		for name := range stages(t) {
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				c := stages(t)[name] // with this test's context
				r := newSSHRig(t)
				r.Config.Devices.SSHTimeout = stageTimeout(c.silent)
				p := newSSHPeer(t, r, c.shape)
				lines := []string{p.known()}
				if way != "directly" {
					lines = append(lines, throughBastion(t, r, p))
				}
				r.knows(t, lines...)
				began := time.Now()
				_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
				require.Error(t, err)
				require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
				if c.silent {
					require.ErrorIs(t, err, errSilent)
				}
				require.ElementsMatch(t, c.ran, p.commands())
				require.Less(t, time.Since(began), 20*time.Second, "it did not end in time")
			})
		}
	}
}

// The bastion itself may be what fails.
func TestSSHBastionStages(t *testing.T) {
	t.Parallel()
	for name, c := range stages(t) {
		if c.meaning == Unknown {
			continue // commands are not for the bastion
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := stages(t)[name]
			r := newSSHRig(t)
			r.Config.Devices.SSHTimeout = stageTimeout(c.silent)
			p := newSSHPeer(t, r, shape{})
			bastion := newSSHPeer(t, r, c.shape)
			bastion.FQDN = bastion.Addr
			p.SSH.Jump = jumpTo(p, bastion)
			r.knows(t, p.known(), bastion.known())
			_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
			require.Error(t, err)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.Empty(t, p.commands())
			require.False(t, r.sshBanner(t.Context(), p.Machine))
		})
	}
}

// The second command, for Windows, is tried too where the first hung before it
// was sent, over a connection of its own.
func TestSSHSecondCommandAfterATimeout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first   func(net.Conn) net.Conn
		exec    func(net.Conn, *ssh.Request)
		sent    string
		meaning Meaning
	}{
		"the second works":      {first: sayAndHang("SSH-2.0-x\r\n"), sent: "shutdown -f -t 3 -r"},
		"the second is refused": {first: sayAndHang(""), exec: func(_ net.Conn, r *ssh.Request) { _ = r.Reply(false, nil) }, meaning: NotSent},
		"the second is lost":    {first: sayAndHang(""), exec: func(c net.Conn, _ *ssh.Request) { _ = c.Close() }, sent: "shutdown -f -t 3 -r", meaning: Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSSHRig(t)
			r.Config.Devices.SSHTimeout = config.Duration(2 * time.Second)
			var conns atomic.Int32
			p := newSSHPeer(t, r, shape{exec: c.exec, conn: func(conn net.Conn) net.Conn {
				if conns.Add(1) == 1 {
					return c.first(conn)
				}
				return conn
			}})
			r.knows(t, p.known())
			sent, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
			require.Equal(t, c.sent, sent)
			require.Equal(t, []string{"shutdown -f -t 3 -r"}, p.commands())
			if c.meaning == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
		})
	}
}

// A fence that closes between the two ends the call.
func TestSSHFenceBeforeTheSecondCommand(t *testing.T) {
	t.Parallel()
	r := newSSHRig(t)
	p := newSSHPeer(t, r, shape{exec: func(_ net.Conn, req *ssh.Request) { _ = req.Reply(false, nil) }})
	r.knows(t, p.known())
	asked := 0
	_, err := r.sshReboot(t.Context(), p.Machine, Reboot, func() error {
		if asked++; asked > 1 {
			return notSent("too late")
		}
		return nil
	})
	require.ErrorContains(t, err, "too late")
	require.Equal(t, []string{"reboot"}, p.commands())
}

// The reboot goes over the baseline's login, where the server takes a second session
// over it, and over a new one where it does not: nothing has been sent by then.
func TestSSHOneLogin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		second  func(c net.Conn, ch ssh.NewChannel) // in place of taking the baseline's second session
		exec    func(c net.Conn, r *ssh.Request)    // in place of taking the reboot
		late    time.Duration                       // from the baseline to the command
		conns   int32
		meaning Meaning
	}{
		"one login":          {conns: 1},
		"it refuses":         {second: func(_ net.Conn, ch ssh.NewChannel) { _ = ch.Reject(ssh.Prohibited, "no more sessions") }, conns: 2},
		"it closes":          {second: func(c net.Conn, _ ssh.NewChannel) { _ = c.Close() }, conns: 2},
		"it hangs":           {second: func(net.Conn, ssh.NewChannel) {}, conns: 2},
		"its time is over":   {late: 1500 * time.Millisecond, conns: 2},
		"it has time again":  {late: 700 * time.Millisecond, exec: func(_ net.Conn, r *ssh.Request) { <-time.After(700 * time.Millisecond); _ = r.Reply(true, nil) }, conns: 1},
		"the answer is lost": {exec: func(c net.Conn, _ *ssh.Request) { _ = c.Close() }, conns: 1, meaning: Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSSHRig(t)
			r.Config.Devices.SSHTimeout = config.Duration(time.Second)
			var conns, sessions atomic.Int32
			var p *sshPeer
			p = newSSHPeer(t, r, shape{
				conn: func(c net.Conn) net.Conn { conns.Add(1); return c },
				open: func(conn net.Conn, ch ssh.NewChannel) {
					if sessions.Add(1) == 2 && c.second != nil {
						c.second(conn, ch)
						return
					}
					exec := shape{}
					if sessions.Load() > 1 {
						exec.exec = c.exec
					}
					p.session(conn, ch, exec)
				},
			})
			r.knows(t, p.known())
			p.SSH.BootID = true
			reboot := &rebooting{a: r.Activities}
			defer reboot.hangUp()
			require.Equal(t, "boot-1", r.bootID(t.Context(), p.Machine, reboot.keep))
			pause(t.Context(), c.late)
			sent, err := reboot.send(t.Context(), p.Machine, Reboot, always)
			require.Equal(t, "reboot", sent)
			require.Equal(t, []string{"boot_id", "reboot"}, p.commands())
			require.Equal(t, c.conns, conns.Load())
			if c.meaning != "" {
				require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			require.Nil(t, reboot.client, "nothing holds the login while the machine restarts")
		})
	}
}
