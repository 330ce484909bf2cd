package activities

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	probing "github.com/prometheus-community/pro-bing"

	"github.com/mozilla-platform-ops/roller/config"
)

// prober probes from this machine's own network.
type prober struct {
	timeout time.Duration

	mu         sync.Mutex
	decided    bool
	privileged bool
}

// NewProber returns the prober of this machine's own network. A probe that is
// not answered within timeout is not answered.
func NewProber(timeout time.Duration) Prober { return &prober{timeout: timeout} }

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
	return p.probeICMP(ctx, m.Addr)
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

func (p *prober) probeICMP(ctx context.Context, host string) (Echo, error) {
	ip, err := route(ctx, host)
	if err != nil {
		return Echo{}, notDown(host, err)
	}
	e, opened, err := echo(ctx, ip, p.isPrivileged())
	if opened || err == nil {
		p.decide(p.isPrivileged())
		return e, err
	}
	if p.isDecided() || !errors.Is(err, os.ErrPermission) {
		return e, fmt.Errorf("probe %s: %w", host, err)
	}
	e, opened, rawErr := echo(ctx, ip, true)
	if !opened && rawErr != nil {
		return e, fmt.Errorf("probe %s: this process may open no ICMP socket: put its group into net.ipv4.ping_group_range (%w) or give it CAP_NET_RAW (%w)", host, err, rawErr)
	}
	p.decide(true)
	return e, rawErr
}

func (p *prober) isPrivileged() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.privileged
}

func (p *prober) isDecided() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.decided
}

func (p *prober) decide(privileged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decided, p.privileged = true, privileged
}

// route asks DNS for the host and the kernel for a route to it. Connecting a
// UDP socket sends nothing; port 9 is "discard" (RFC 863). It also keeps
// pro-bing from sending where the kernel forbids it, which it repeats for ever.
func route(ctx context.Context, host string) (*net.IPAddr, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(host, "9"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	addr, ok := conn.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("unexpected address %s", conn.RemoteAddr())
	}
	return &net.IPAddr{IP: addr.IP, Zone: addr.Zone}, nil
}

// echoBytes is what ping(8) sends after the ICMP header unless told otherwise.
const echoBytes = 56

// oneProbe is longer than any probe may take, so that pro-bing sends no second one.
const oneProbe = 24 * time.Hour

// echo sends one ICMP echo request and reports whether it was answered before
// ctx ended, and whether a socket could be opened at all. An answer comes from the
// address that was asked (RFC 1122, 3.2.2.6; RFC 4443, 4.2): what another host
// sends, even with our own payload, says nothing of this one.
func echo(ctx context.Context, ip *net.IPAddr, privileged bool) (e Echo, opened bool, err error) {
	p := probing.New("")
	p.SetIPAddr(ip)
	p.SetPrivileged(privileged)
	p.SetLogger(probing.NoopLogger{})
	p.Interval, p.Size = oneProbe, echoBytes
	p.RecordRtts, p.RecordTTLs = false, false
	p.OnSetup = func() { opened = true }
	e.From = ip.String()
	p.OnRecv = func(r *probing.Packet) {
		if r.IPAddr.IP.Equal(ip.IP) {
			e.Answered, e.Bytes, e.TTL, e.RTT = true, r.Nbytes, r.TTL, r.Rtt
			p.Stop()
		}
	}
	p.OnDuplicateRecv = p.OnRecv // so it is called once another host has answered
	err = p.RunWithContext(ctx)
	// Judge by what was received: with nothing sent, pro-bing reports no loss.
	if e.Answered {
		return e, opened, nil
	}
	if opened && err != nil {
		err = notDown(ip.String(), err)
	}
	return e, opened, err
}
