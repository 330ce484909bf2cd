package activities

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// sshPeer is an SSH server that a test shapes. It takes every command with exit
// status 0, forwards as a bastion does, and remembers what it was asked.
type sshPeer struct {
	config.Machine
	host ssh.Signer
	mu   sync.Mutex
	ran  []string // commands
	to   []string // forwarded addresses
}

// shape is how a test's server differs. The zero value takes everybody.
type shape struct {
	cfg  *ssh.ServerConfig                    // without a host key
	host ssh.Signer                           // Ed25519, new
	conn func(net.Conn) net.Conn              // around each connection
	open func(c net.Conn, ch ssh.NewChannel)  // in place of taking a channel; nil does
	exec func(c net.Conn, r *ssh.Request)     // in place of taking a command
	took func(conn *ssh.ServerConn) (ok bool) // after the handshake
}

func newSSHPeer(t *testing.T, r *rig, s shape) *sshPeer {
	t.Helper()
	p := &sshPeer{host: s.host}
	if p.host == nil {
		p.host = signerOf(t, newKey(t, ssh.KeyAlgoED25519))
	}
	cfg := &ssh.ServerConfig{NoClientAuth: true}
	if s.cfg != nil {
		cfg = s.cfg
	}
	cfg.AddHostKey(p.host)
	p.Machine = r.peer(t, func(c *net.TCPConn) {
		defer func() { _ = c.Close() }()
		var conn net.Conn = c
		if s.conn != nil {
			if conn = s.conn(c); conn == nil {
				return
			}
		}
		p.serve(conn, cfg, s)
	})
	return p
}

func (p *sshPeer) serve(c net.Conn, cfg *ssh.ServerConfig, s shape) {
	conn, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil || s.took != nil && !s.took(conn) {
		return
	}
	go ssh.DiscardRequests(reqs)
	var running sync.WaitGroup
	for ch := range chans {
		switch {
		case s.open != nil:
			s.open(c, ch)
		case ch.ChannelType() == "direct-tcpip":
			running.Go(func() { p.forward(ch) })
		default:
			running.Go(func() { p.session(c, ch, s) })
		}
	}
	running.Wait()
}

func (p *sshPeer) session(c net.Conn, offered ssh.NewChannel, s shape) {
	ch, reqs, err := offered.Accept()
	if err != nil {
		return
	}
	for req := range reqs {
		var cmd struct{ Command string }
		_ = ssh.Unmarshal(req.Payload, &cmd)
		p.mu.Lock()
		p.ran = append(p.ran, cmd.Command)
		p.mu.Unlock()
		if s.exec != nil {
			s.exec(c, req)
			continue
		}
		if cmd.Command == "boot_id" {
			_, _ = ch.Write([]byte("boot-1\n"))
		}
		exit(ch, req, 0, "")
		_ = ch.Close()
	}
}

// forward is what sshd does with direct-tcpip (RFC 4254, 7.2).
func (p *sshPeer) forward(offered ssh.NewChannel) {
	var to struct {
		Host string
		Port uint32
		From string
		Back uint32
	}
	_ = ssh.Unmarshal(offered.ExtraData(), &to)
	addr := net.JoinHostPort(to.Host, portText(to.Port))
	p.mu.Lock()
	p.to = append(p.to, addr)
	p.mu.Unlock()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	defer func() { _ = conn.Close() }()
	ch, reqs, err := offered.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(ch, conn); _ = ch.Close() })
	_, _ = io.Copy(conn, ch)
	_ = conn.Close()
	back.Wait()
}

func (p *sshPeer) commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.ran...)
}

func (p *sshPeer) forwarded() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.to...)
}

// known is the peer's line in known_hosts, by the machine's name.
func (p *sshPeer) known() string { return knownLine(p.Machine, p.host.PublicKey()) }

func knownLine(m config.Machine, key ssh.PublicKey) string {
	return knownhosts.Line([]string{knownName(m)}, key)
}

func knownName(m config.Machine) string {
	return knownhosts.Normalize(net.JoinHostPort(m.FQDN, portOf(m)))
}

// knows writes the rig's known_hosts.
func (r *rig) knows(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known_hosts")
	text := strings.Join(lines, "\n")
	if len(lines) > 0 {
		text += "\n"
	}
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	r.Config.Devices.KnownHostsFile = path
	return path
}

// newSSHRig is a rig for tests that bring servers of their own.
func newSSHRig(t *testing.T) *rig {
	t.Helper()
	return newRig(t, lab.Spec{NoBMC: true, NoOutlet: true})
}

func always() error { return nil }

// sshReboot is what SSHReboot does without a baseline's login.
func (a *Activities) sshReboot(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
	return (&rebooting{a: a}).send(ctx, m, action, ready)
}
