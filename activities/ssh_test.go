package activities

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

func TestSSHReboot(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{SSHBootID: true})
	before := r.machine.State().BootID
	res, err := execute(t, r.SSHReboot, r.command(Reboot, rigWatch), call{})
	require.NoError(t, err)
	require.Equal(t, "reboot", res.Sent)
	require.Empty(t, res.Unknown)
	require.Equal(t, before, res.Baseline.BootID)
	require.True(t, res.Watch.Done)
	require.True(t, res.Watch.Down || res.Watch.Rebooted)
	require.Len(t, r.lab.Controls(""), 1)

	sight, err := execute(t, r.AwaitUp, Watch{Machine: r.name, Baseline: res.Baseline, Timeout: rigWatch}, call{})
	require.NoError(t, err)
	require.True(t, sight.Up && sight.Rebooted, "%+v", sight)
}

// An account whose ForceCommand is not known to be roller's is asked nothing
// but to reboot: it may reboot whatever it is asked.
func TestBootIDIsAskedOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{})
	res, err := execute(t, r.SSHReboot, r.command(Reboot, rigWatch), call{})
	require.NoError(t, err)
	require.Empty(t, res.Baseline.BootID)
	sight, err := execute(t, r.AwaitUp, Watch{Machine: r.name, Baseline: Baseline{Up: true, BootID: "x"}, Timeout: rigWatch}, call{})
	require.NoError(t, err)
	require.True(t, sight.Up)
	require.Contains(t, sight.Evidence, "its identity cannot be read")
	require.Equal(t, 1, r.lab.Count("", func(e lab.Entry) bool { return e.Device == lab.DeviceSSH }))
}

func TestSSHLostConnectionAfterTheCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{Faults: lab.Faults{LoseCommandReply: true}})
	res, err := execute(t, r.SSHReboot, r.command(Reboot, rigWatch), call{})
	require.NoError(t, err)
	require.Equal(t, "reboot", res.Sent)
	require.Len(t, r.lab.Controls(""), 1)
}

func TestSSHRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func(t *testing.T, r *rig, m *config.Machine)
		meaning Meaning
		says    []string
	}{
		"changed host key": {func(_ *testing.T, r *rig, _ *config.Machine) {
			r.machine.SetFaults(lab.Faults{WrongHostKey: true})
		}, Refused, []string{"host key", "ms1-10.test.releng.mdc1.mozilla.com:2022", "SHA256:", "known_hosts"}},
		"unknown host": {func(_ *testing.T, _ *rig, m *config.Machine) {
			m.FQDN = "stranger.test.releng.mdc1.mozilla.com"
		}, Refused, []string{"stranger", "unknown", "SHA256:", "known_hosts"}},
		"no known_hosts": {func(t *testing.T, r *rig, _ *config.Machine) {
			r.Config.Devices.KnownHostsFile = filepath.Join(t.TempDir(), "none")
		}, Refused, []string{"known host keys"}},
		"wrong user": {func(_ *testing.T, _ *rig, m *config.Machine) {
			m.SSH.User = "root"
		}, Refused, []string{"refuses user root"}},
		"wrong key": {func(t *testing.T, _ *rig, m *config.Machine) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			require.NoError(t, err)
			m.SSH.KeyFile = writePrivateKey(t, key)
		}, Refused, []string{"refuses user"}},
		"no key file": {func(t *testing.T, _ *rig, m *config.Machine) {
			m.SSH.KeyFile = filepath.Join(t.TempDir(), "none")
		}, Refused, []string{"read the private key"}},
		"broken key file": {func(t *testing.T, _ *rig, m *config.Machine) {
			m.SSH.KeyFile = filepath.Join(t.TempDir(), "key")
			require.NoError(t, os.WriteFile(m.SSH.KeyFile, []byte("s3cret key"), 0o600))
		}, Refused, []string{"not a private key"}},
		"unreachable": {func(_ *testing.T, r *rig, _ *config.Machine) {
			r.machine.Kill()
		}, NotSent, []string{"ssh:"}},
		"silent": {func(_ *testing.T, r *rig, _ *config.Machine) {
			r.Config.Devices.SSHTimeout = config.Duration(300 * time.Millisecond)
		}, NotSent, []string{"timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
			m := r.entry(t)
			account := *m.SSH
			m.SSH = &account
			if name == "silent" {
				m = r.peer(t, func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1<<10)); _, _ = c.Read(make([]byte, 1)) })
			}
			c.spoil(t, r, &m)
			_, err := r.sshReboot(t.Context(), m, Reboot, func() error { return nil })
			require.Error(t, err)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			for _, s := range c.says {
				require.Contains(t, err.Error(), s)
			}
			require.NotContains(t, err.Error(), "s3cret")
			require.Empty(t, r.lab.Controls(""))
		})
	}
}

func writePrivateKey(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}

// sshServer is an sshd whose sessions behave as the test says. It has a host
// key of two kinds, of which known_hosts has one.
func (r *rig) sshServer(t *testing.T, known string, session func(c net.Conn, ch ssh.Channel, r *ssh.Request, command string)) config.Machine {
	t.Helper()
	cfg := &ssh.ServerConfig{NoClientAuth: true}
	signers := newHostKeySigners(t)
	cfg.AddHostKey(signers[ssh.KeyAlgoED25519])
	cfg.AddHostKey(signers[ssh.KeyAlgoECDSA256])
	m := r.peer(t, func(c *net.TCPConn) {
		conn, chans, reqs, err := ssh.NewServerConn(c, cfg)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		for offered := range chans {
			ch, reqs, err := offered.Accept()
			if err != nil {
				break
			}
			for req := range reqs {
				var exec struct{ Command string }
				if req.Type == "exec" && ssh.Unmarshal(req.Payload, &exec) == nil {
					session(c, ch, req, exec.Command)
					_ = ch.Close()
				}
			}
		}
		_ = conn.Close()
	})
	hosts := filepath.Join(t.TempDir(), "known_hosts")
	name := knownhosts.Normalize(net.JoinHostPort(m.FQDN, portOf(m)))
	require.NoError(t, os.WriteFile(hosts, []byte(knownhosts.Line([]string{name}, signers[known].PublicKey())+"\n"), 0o600))
	r.Config.Devices.KnownHostsFile = hosts
	return m
}

// newHostKeySigners makes a key of each kind.
func newHostKeySigners(t *testing.T) map[string]ssh.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signers := map[string]ssh.Signer{}
	for _, key := range []crypto.Signer{ed, ec, rsaKey()} {
		s, err := ssh.NewSignerFromSigner(key)
		require.NoError(t, err)
		signers[s.PublicKey().Type()] = s
	}
	return signers
}

// A server shows the kind of key it is asked for. Without being asked for the
// one that is known, its favourite would look like a changed key.
func TestSSHHostKeyOfTheKnownKind(t *testing.T) {
	t.Parallel()
	for known, meaning := range map[string]Meaning{
		ssh.KeyAlgoED25519:  "",
		ssh.KeyAlgoECDSA256: "",
		ssh.KeyAlgoRSA:      Refused, // which the server does not have
	} {
		t.Run(known, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
			m := r.sshServer(t, known, func(_ net.Conn, ch ssh.Channel, r *ssh.Request, _ string) { exit(ch, r, 0, "") })
			_, err := r.sshReboot(t.Context(), m, Reboot, func() error { return nil })
			if meaning == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, meaning, MeaningOf(err))
			require.ErrorContains(t, err, "no host key of the kind")
		})
	}
}

func portOf(m config.Machine) string {
	_, port, _ := net.SplitHostPort(sshAddr(m))
	return port
}

func exit(ch ssh.Channel, r *ssh.Request, status uint32, stderr string) {
	_ = r.Reply(true, nil)
	_, _ = ch.Stderr().Write([]byte(stderr))
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

func TestSSHAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		session func(c net.Conn, ch ssh.Channel, r *ssh.Request, command string)
		sent    string
		meaning Meaning
		says    string
	}{
		"exit status 0": {session: func(_ net.Conn, ch ssh.Channel, r *ssh.Request, _ string) {
			exit(ch, r, 0, "")
		}, sent: "reboot"},
		"no exit status": {session: func(_ net.Conn, _ ssh.Channel, r *ssh.Request, _ string) {
			_ = r.Reply(true, nil)
		}, sent: "reboot"},
		"connection lost once accepted": {session: func(c net.Conn, _ ssh.Channel, r *ssh.Request, _ string) {
			_ = r.Reply(true, nil)
			_ = c.Close()
		}, sent: "reboot"},
		"no reply in time once accepted": {session: func(c net.Conn, ch ssh.Channel, r *ssh.Request, _ string) {
			_ = r.Reply(true, nil)
			_, _ = ch.Read(make([]byte, 1))
			_ = c.Close()
		}, sent: "reboot"},
		"connection lost in place of the reply": {session: func(c net.Conn, _ ssh.Channel, _ *ssh.Request, _ string) {
			_ = c.Close()
		}, sent: "reboot", meaning: Unknown, says: "lost"},
		"no reply in time": {session: func(c net.Conn, ch ssh.Channel, _ *ssh.Request, _ string) {
			_, _ = ch.Read(make([]byte, 1))
			_ = c.Close()
		}, sent: "reboot", meaning: Unknown, says: "lost"},
		"windows": {session: func(_ net.Conn, ch ssh.Channel, r *ssh.Request, command string) {
			if command == "reboot" {
				exit(ch, r, 127, "bash: reboot: command not found\n")
			} else {
				exit(ch, r, 0, "")
			}
		}, sent: "shutdown -f -t 3 -r"},
		"both fail": {session: func(_ net.Conn, ch ssh.Channel, r *ssh.Request, command string) {
			exit(ch, r, 1, "\x1b[31mno "+strings.Fields(command)[0]+" for you\nmore")
		}, meaning: Refused, says: `"?[31mno reboot for you"`},
		"exec not allowed": {session: func(_ net.Conn, _ ssh.Channel, r *ssh.Request, _ string) {
			_ = r.Reply(false, nil)
		}, meaning: Refused, says: "does not run"},
		"lost after the first was refused": {session: func(c net.Conn, ch ssh.Channel, r *ssh.Request, command string) {
			if command == "reboot" {
				exit(ch, r, 143, "")
				_ = ch.Close()
			}
			_ = c.Close()
		}, sent: "shutdown -f -t 3 -r", meaning: Unknown, says: "exit status 143"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
			r.Config.Devices.SSHTimeout = config.Duration(time.Second)
			m := r.sshServer(t, ssh.KeyAlgoED25519, c.session)
			sent, err := r.sshReboot(t.Context(), m, Reboot, func() error { return nil })
			require.Equal(t, c.sent, sent)
			if c.meaning == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.Contains(t, err.Error(), c.says)
		})
	}
}

// The fence is asked after the handshake, just before the command.
func TestSSHFence(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
	_, err := r.sshReboot(t.Context(), r.entry(t), Reboot, func() error { return notSent("too late") })
	require.Equal(t, NotSent, MeaningOf(err))
	require.Empty(t, r.lab.Controls(""))
}

// Promise 2: nothing but the request itself is left when ready is asked. The session
// is open by then: a worker that is frozen while it is opened sends nothing.
func TestSSHAsksWhenTheSessionIsOpen(t *testing.T) {
	t.Parallel()
	r := newSSHRig(t)
	opened := make(chan struct{})
	p := newSSHPeer(t, r, shape{open: func(_ net.Conn, offered ssh.NewChannel) {
		close(opened)
		ch, requests, err := offered.Accept()
		if err == nil {
			go ssh.DiscardRequests(requests)
			_, _ = io.Copy(io.Discard, ch)
		}
	}})
	r.knows(t, p.known())
	late := notSent("too late")
	_, err := r.sshReboot(t.Context(), p.Machine, Reboot, func() error {
		select {
		case <-opened:
		default:
			t.Error("no session is open")
		}
		return late
	})
	require.ErrorIs(t, err, late)
}

func TestSSHBanner(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says string
		up   bool
	}{
		"2.0":                  {"SSH-2.0-OpenSSH_9.2\r\n", true},
		"1.99":                 {"SSH-1.99-old\r\n", true},
		"lines before it":      {"welcome\r\nto this machine\r\nSSH-2.0-x\r\n", true},
		"1.5":                  {"SSH-1.5-ancient\r\n", false},
		"something else":       {"220 smtp\r\n", false},
		"nothing":              {"", false},
		"noise without an end": {strings.Repeat("x", 64<<10), false},
		"too many lines":       {strings.Repeat("x\r\n", 60) + "SSH-2.0-x\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
			m := r.peer(t, func(conn *net.TCPConn) { _, _ = conn.Write([]byte(c.says)); _ = conn.Close() })
			require.Equal(t, c.up, r.sshBanner(t.Context(), m))
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
		r.Config.Devices.SSHTimeout = config.Duration(100 * time.Millisecond)
		m := r.peer(t, func(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 1)); _ = conn.Close() })
		require.False(t, r.sshBanner(t.Context(), m))
	})
}

// A cancel does not wait for a server that says nothing.
func TestSSHDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
	r.Config.Devices.SSHTimeout = config.Duration(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	m := r.peer(t, func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 1))
		cancel()
		_, _ = io.Copy(io.Discard, conn) // until the client goes
		_ = conn.Close()
	})
	_, err := r.sshDial(ctx, m)
	require.Equal(t, NotSent, MeaningOf(err))
}
