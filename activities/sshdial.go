package activities

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
)

func sshAddr(m config.Machine) string {
	return net.JoinHostPort(m.Addr, strconv.Itoa(m.SSH.Port))
}

// errSilent marks that the other side said nothing in time.
var errSilent = errors.New("timeout")

// sshClient is an authenticated connection. Nothing is answered on it after its
// deadline.
type sshClient struct {
	*ssh.Client
	conn     net.Conn
	deadline time.Time
}

// renew gives what is asked next as long as what was asked first had.
func (c *sshClient) renew(timeout time.Duration) {
	c.deadline = time.Now().Add(timeout)
	_ = c.conn.SetDeadline(c.deadline)
}

// silent reports whether the time for an answer is over.
func (c *sshClient) silent() bool { return over(c.deadline) }

// over reports whether a connection's deadline has passed. The runtime's timer
// may fire a moment before the clock says so.
func over(deadline time.Time) bool { return time.Until(deadline) < 20*time.Millisecond }

// sshDial opens an authenticated connection to the machine, by way of its
// bastion if it has one. Each step has one SSH_TIMEOUT (the dial, the handshake,
// what is asked over it), and all end with ctx. The key is read now, and the host
// key must be the known one for the machine's own name, whatever is dialled.
func (a *Activities) sshDial(ctx context.Context, m config.Machine) (*sshClient, error) {
	l, err := a.newLogin(ctx, m.SSH.User, m.SSH.KeyFile, net.JoinHostPort(m.FQDN, strconv.Itoa(m.SSH.Port)))
	if err != nil {
		return nil, err
	}
	defer l.id.close()
	conn, err := a.sshConn(ctx, m)
	if err != nil {
		return nil, err
	}
	return l.run(ctx, conn)
}

// sshConn connects to the machine's SSH port, by way of its bastion if it has one.
func (a *Activities) sshConn(ctx context.Context, m config.Machine) (net.Conn, error) {
	if m.SSH.Jump == nil {
		return a.sshTCP(ctx, sshAddr(m))
	}
	return a.sshTunnel(ctx, *m.SSH.Jump, sshAddr(m))
}

// wire is a TCP connection that ends with its context.
type wire struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.stop()
	return w.Conn.Close()
}

func (a *Activities) sshTCP(ctx context.Context, addr string) (net.Conn, error) {
	timeout := a.Config.Devices.SSHTimeout.D()
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addr)
	if nerr, ok := errors.AsType[net.Error](err); ok && nerr.Timeout() && ctx.Err() == nil {
		return nil, notSent("ssh: %w: %w", errSilent, err)
	}
	if err != nil {
		return nil, notSent("ssh: %w", err)
	}
	return &wire{conn, context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// login is how roller shows itself to one server, and what it asks of its key.
type login struct {
	user    string
	keyFile string
	id      *identity
	hosts   *hostKeys
	timeout time.Duration
}

func (a *Activities) newLogin(ctx context.Context, user, keyFile, host string) (*login, error) {
	hosts, err := a.hostFiles.of(a.Config.Devices, host)
	if err != nil {
		return nil, err
	}
	id, err := a.sshIdentity(ctx, keyFile)
	if err != nil {
		return nil, err
	}
	return &login{user, keyFile, id, hosts, a.Config.Devices.SSHTimeout.D()}, nil
}

// run does the handshake. It takes the connection over, and closes it where it
// fails.
func (l *login) run(ctx context.Context, conn net.Conn) (*sshClient, error) {
	deadline := time.Now().Add(l.timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	_ = conn.SetDeadline(deadline)
	c, chans, reqs, err := ssh.NewClientConn(conn, l.hosts.host, &ssh.ClientConfig{
		User:              l.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(l.id.signers...)},
		HostKeyCallback:   l.hosts.callback(ctx),
		HostKeyAlgorithms: l.hosts.algorithms(),
	})
	if err != nil {
		_ = conn.Close()
		return nil, l.explain(err, over(deadline))
	}
	client := &sshClient{Client: ssh.NewClient(c, chans, reqs), conn: conn}
	client.renew(l.timeout)
	return client, nil
}

// explain gives a failed handshake its meaning. Nothing was sent in any case.
func (l *login) explain(err error, late bool) error {
	h, text := l.hosts, err.Error()
	_, algorithms := errors.AsType[*ssh.AlgorithmNegotiationError](err)
	switch {
	case h.err != nil:
		return h.err
	case algorithms && (len(h.known) > 0 || h.authority) && strings.Contains(text, "host key"):
		return refused("ssh: %s shows no host key of the kind known for it in %s: %w", h.host, h.file, err)
	case algorithms:
		return refused("ssh: %w", err)
	// The package has no types for these.
	case strings.Contains(text, "no common public key signature algorithm"):
		return refused("ssh: %s takes no SHA-2 signature of the RSA key in %s", h.host, l.keyFile)
	case strings.Contains(text, "unable to authenticate"):
		return refused("ssh: %s refuses user %s with key file %s%s", h.host, l.user, l.keyFile, l.id.note)
	case strings.Contains(text, "agent: failed to sign"):
		return refused("ssh: the agent does not sign with the key of %s for %s", l.keyFile, h.host)
	case late:
		return notSent("ssh: %s: %w in the handshake after %s: %w", h.host, errSilent, l.timeout, err)
	default:
		return notSent("ssh: %s: %w", h.host, err)
	}
}

// Before its version string a server may send other lines (RFC 4253, 4.2).
const (
	bannerLines = 50
	bannerBytes = 8 << 10
)

// sshBanner reports whether an SSH server shows its version string. Some
// network is always between: any error is only "not yet".
func (a *Activities) sshBanner(ctx context.Context, m config.Machine) bool {
	_, err := a.sshVersion(ctx, m)
	return err == nil
}

// sshVersion reads the version string that an SSH server begins with.
func (a *Activities) sshVersion(ctx context.Context, m config.Machine) (string, error) {
	timeout := a.Config.Devices.SSHTimeout.D()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := a.sshConn(ctx, m)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	lines := bufio.NewScanner(io.LimitReader(conn, bannerBytes))
	for range bannerLines {
		if !lines.Scan() {
			break
		}
		if l := lines.Text(); strings.HasPrefix(l, "SSH-2.0-") || strings.HasPrefix(l, "SSH-1.99-") {
			return l, nil
		}
	}
	return "", notSent("ssh: %s shows no banner", sshAddr(m))
}

// firstLine returns what a peer said as one short line that is safe to log.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.TrimSpace(line))
	const most = 200
	if len(line) > most {
		line = line[:most] + "..."
	}
	if line == "" {
		return "no message"
	}
	return fmt.Sprintf("%q", line)
}
