package activities

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// prober probes from this machine's own network.
type prober struct {
	timeout time.Duration
	icmp    icmpEchoer
}

// icmpEchoer sends one ICMP echo request, and waits for the reply until ctx ends.
type icmpEchoer interface {
	ping(ctx context.Context, host string) (Echo, error)
}

// NewProber returns the prober of this machine's own network, for thousands of
// machines at once. A probe that is not answered within timeout is not answered.
func NewProber(timeout time.Duration) Prober { return &prober{timeout: timeout, icmp: newPings()} }

// NewSingleProber is NewProber for a terminal, which waits for one probe at a time.
func NewSingleProber(timeout time.Duration) Prober {
	return &prober{timeout: timeout, icmp: &singlePings{}}
}

// Probe implements Prober.
func (p *prober) Probe(ctx context.Context, m config.Machine) (bool, error) {
	e, err := p.Echo(ctx, m)
	return e.Answered, err
}

// Echo implements Echoer.
func (p *prober) Echo(ctx context.Context, m config.Machine) (Echo, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if m.Probe.Network == "tcp" {
		return probeTCP(ctx, m.Addr, m.Probe.Port)
	}
	return p.icmp.ping(ctx, m.Addr)
}

// Ask implements asker.
func (p *prober) Ask(m config.Machine, tell func(answered bool, err error)) bool {
	all, ok := p.icmp.(*pings)
	return ok && m.Probe.Network != "tcp" && all.ask(m.Addr, p.timeout, func(e Echo, err error) { tell(e.Answered, err) })
}

// probeTCP takes an accepted connection for an answer. A refusal is none: the
// kernel answers before the service that the inventory names is there.
func probeTCP(ctx context.Context, host string, port int) (Echo, error) {
	sent := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return Echo{}, notDown(host, err)
	}
	e := Echo{Answered: true, RTT: time.Since(sent)}
	if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		e.From = peer.IP.String()
	}
	return e, conn.Close()
}

// notDown returns nil for an error that says "no answer", and the error for one
// that says the probe could not be made.
func notDown(host string, err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("look up %s in DNS: %w", host, dns)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return nil
	}
	for _, no := range noAnswers {
		if errors.Is(err, no) {
			return nil
		}
	}
	return fmt.Errorf("probe %s: %w", host, err)
}

// noAnswers are the ways in which the kernel says that nobody is there. What is
// wrong on this side of the network (no route at all) is told from a machine
// that is down by the canary hosts, not here.
var noAnswers = []error{
	context.DeadlineExceeded, os.ErrDeadlineExceeded,
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.EHOSTDOWN,
	syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN,
}

// noPingSocket says what is wanting where neither kind of socket may be opened.
func noPingSocket(datagram, raw error) error {
	return fmt.Errorf("this process may open no ICMP socket: put its group into net.ipv4.ping_group_range (%w) or give it CAP_NET_RAW (%w)", datagram, raw)
}
