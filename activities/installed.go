package activities

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
)

// AwaitInstalled waits until a machine that is being installed is up as AwaitUp
// says, and has stayed so for Settle: an installer answers probes too, and
// restarts more than once. Not up at the timeout is a result. The evidence says
// how often it went down on the way, and whether its SSH host key is another one.
// Errors: those of AwaitUp.
func (a *Activities) AwaitInstalled(ctx context.Context, in Watch) (Sight, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return Sight{}, fail(err)
	}
	p := until(ctx, in.Timeout.D())
	sight, err := a.awaitInstalled(ctx, m, in, &p)
	switch {
	case err != nil:
	case ctx.Err() != nil:
		err = ended(ctx)
	case !sight.Done:
		err = meaning(Handover, "this worker stops: another one must go on waiting for %s", in.Machine)
	}
	return sight, fail(err)
}

func (a *Activities) awaitInstalled(ctx context.Context, m config.Machine, in Watch, p *waitProgress) (Sight, error) {
	m = in.Baseline.seen(m)
	for {
		// Blindness ends no wait here: nothing is sent after it.
		w := &waiter{a: a, m: m, base: in.Baseline}
		sight, err := w.wait(ctx, *p)
		if err != nil || !sight.Done {
			return sight, err
		}
		if !sight.Up {
			sight.Evidence = p.downs() + sight.Evidence
			return sight, nil
		}
		if sight.SameBoot {
			return sight, nil
		}
		again, err := a.staysUp(ctx, m, min(in.Settle.D(), time.Until(p.Until)), *p)
		if err != nil || !again.Done {
			return Sight{}, err
		}
		if !again.Down && !again.Rebooted && (m.SSH == nil || a.sshBanner(ctx, m)) {
			sight.Evidence = p.downs() + sight.Evidence + a.hostKeyNews(ctx, m)
			return sight, nil
		}
		p.Downs++
		beat(ctx, *p)
	}
}

// staysUp watches a machine that is up for it to go down.
func (a *Activities) staysUp(ctx context.Context, m config.Machine, settle time.Duration, p waitProgress) (Sight, error) {
	if settle <= 0 {
		return Sight{Done: true, Up: true}, nil
	}
	h := a.hold(ctx, m)
	defer h.close()
	return a.watch(ctx, m, Baseline{At: time.Now(), Up: true}, h, nil, time.Now().Add(settle), func() { beat(ctx, p) })
}

// downs says how often the machine went down again after it had been up.
func (p waitProgress) downs() string {
	if p.Downs == 0 {
		return ""
	}
	return fmt.Sprintf("was up and restarted, %d times, then ", p.Downs)
}

// hostKeyNews says whether the machine still has the SSH host key that is known
// for it. Nothing is proven by either: an installer may put the old key back, and
// nobody logs in here. "" where no key is known, or none can be had.
func (a *Activities) hostKeyNews(ctx context.Context, m config.Machine) string {
	if m.SSH == nil {
		return ""
	}
	h, err := a.hostFiles.of(a.Config.Devices, net.JoinHostPort(m.FQDN, strconv.Itoa(m.SSH.Port)))
	if err != nil || len(h.known) == 0 {
		return ""
	}
	conn, err := a.sshConn(ctx, m)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(a.Config.Devices.SSHTimeout.D()))
	seen, known := false, false
	_, _, _, err = ssh.NewClientConn(conn, h.host, &ssh.ClientConfig{
		User: m.SSH.User, HostKeyAlgorithms: h.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen, known = true, h.knows(key)
			return errors.New("the host key is all that was asked for")
		},
	})
	_, otherKind := errors.AsType[*ssh.AlgorithmNegotiationError](err)
	switch {
	case known:
		return ", with the ssh host key it had before: its old system, or one that was given the key back"
	case seen, otherKind:
		return ", with another ssh host key: put it into " + h.file
	}
	return ""
}
