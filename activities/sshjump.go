package activities

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
)

// tunnel is a connection by way of a bastion, which lives as long as it.
type tunnel struct {
	net.Conn
	bastion *sshClient
	wire    net.Conn // to the bastion
}

// SetDeadline implements net.Conn: a channel has no deadline of its own, so the
// connection that carries it has to end.
func (t *tunnel) SetDeadline(at time.Time) error { return t.wire.SetDeadline(at) }

// Close implements net.Conn.
func (t *tunnel) Close() error {
	// The channel's own close would wait behind data that a dead bastion does
	// not take; the end of the wire ends it too.
	return errors.Join(t.wire.Close(), t.bastion.Close())
}

// sshTunnel connects to an address behind a bastion (RFC 4254, 7.2). The bastion
// resolves the name, and its own host key is in the same file as the machines'.
func (a *Activities) sshTunnel(ctx context.Context, jump config.Jump, addr string) (net.Conn, error) {
	l, err := a.newLogin(ctx, jump.User, jump.KeyFile, jump.Addr())
	if err != nil {
		return nil, err
	}
	defer l.id.close()
	wire, err := a.sshTCP(ctx, jump.Addr())
	if err != nil {
		return nil, err
	}
	bastion, err := l.run(ctx, wire)
	if err != nil {
		return nil, err
	}
	conn, err := bastion.DialContext(ctx, "tcp", addr)
	if err != nil {
		late := bastion.silent()
		_ = bastion.Close()
		return nil, forwardError(jump, addr, err, late)
	}
	return &tunnel{conn, bastion, wire}, nil
}

// forwardError gives a bastion's refusal to connect its meaning: what it cannot
// reach now it may reach later; what it does not allow it will not.
func forwardError(jump config.Jump, addr string, err error, late bool) error {
	answer, answered := errors.AsType[*ssh.OpenChannelError](err)
	switch {
	case answered && (answer.Reason == ssh.ConnectionFailed || answer.Reason == ssh.ResourceShortage):
		return notSent("ssh: bastion %s: connect to %s: %s", jump.Addr(), addr, firstLine(cmp.Or(answer.Message, answer.Reason.String())))
	case answered:
		return refused("ssh: bastion %s does not connect to %s: %s", jump.Addr(), addr, firstLine(cmp.Or(answer.Message, answer.Reason.String())))
	case late:
		return notSent("ssh: bastion %s: connect to %s: %w: %w", jump.Addr(), addr, errSilent, err)
	default:
		return notSent("ssh: bastion %s: connect to %s: %w", jump.Addr(), addr, err)
	}
}
