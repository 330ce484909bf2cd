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

// The old service's `ping -c 4 -w 5`.
const (
	pingCount    = 4
	pingDeadline = 5 * time.Second
	pingInterval = time.Second
)

// PingInput asks whether a machine answers.
type PingInput struct {
	Machine  config.Name     `json:"machine"`
	Count    int             `json:"count,omitempty"`   // replies wanted; 0 is 4
	Deadline config.Duration `json:"deadline,omitzero"` // for all of them together; 0 is 5s
}

// PingResult is what answered, and how fast.
type PingResult struct {
	Sent     int             `json:"sent"`
	Received int             `json:"received"`
	Probe    string          `json:"probe"`        // "icmp" or "tcp:22"
	RTT      config.Duration `json:"rtt,omitzero"` // mean round trip
	Text     string          `json:"text"`         // all of this as one line for people
}

// Ping succeeds when all of Count probes are answered within the deadline.
func (a *Activities) Ping(ctx context.Context, in PingInput) (PingResult, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return PingResult{}, fail(err)
	}
	if in.Count <= 0 {
		in.Count = pingCount
	}
	if in.Deadline <= 0 {
		in.Deadline = config.Duration(pingDeadline)
	}
	res, err := a.ping(ctx, m, in.Count, in.Deadline.D())
	if err != nil && ctx.Err() != nil {
		err = ended(ctx)
	}
	return res, fail(err)
}

func (a *Activities) ping(ctx context.Context, m config.Machine, count int, deadline time.Duration) (PingResult, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	res := PingResult{Probe: m.Probe.String()}
	var total time.Duration
	for res.Sent < count && ctx.Err() == nil {
		sent := time.Now()
		answered, err := a.Prober.Probe(ctx, m)
		if err != nil {
			return res, meaning(NoAnswer, "ping %s: %w", m.FQDN, err)
		}
		res.Sent++
		if answered {
			res.Received++
			total += time.Since(sent)
		}
		if res.Sent < count {
			pause(ctx, pingInterval-time.Since(sent))
		}
	}
	if res.Received > 0 {
		res.RTT = config.Duration((total / time.Duration(res.Received)).Round(time.Microsecond))
	}
	res.Text = fmt.Sprintf("%d of %d probes answered (%s), mean round trip %s", res.Received, res.Sent, res.Probe, res.RTT)
	if res.Received < count {
		return res, meaning(NoAnswer, "ping %s (%s): %d of %d probes answered within %s",
			m.FQDN, res.Probe, res.Received, count, time.Since(start).Round(100*time.Millisecond))
	}
	return res, nil
}

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
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if m.Probe.Network == "tcp" {
		return probeTCP(ctx, m.Addr, m.Probe.Port)
	}
	return p.probeICMP(ctx, m.Addr)
}

// probeTCP takes an accepted connection for an answer. A refusal is none: the
// kernel answers before the service that the inventory names is there.
func probeTCP(ctx context.Context, host string, port int) (bool, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false, notDown(host, err)
	}
	return true, conn.Close()
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

func (p *prober) probeICMP(ctx context.Context, host string) (bool, error) {
	ip, err := route(ctx, host)
	if err != nil {
		return false, notDown(host, err)
	}
	answered, opened, err := echo(ctx, ip, p.isPrivileged())
	if opened || err == nil {
		p.decide(p.isPrivileged())
		return answered, err
	}
	if p.isDecided() || !errors.Is(err, os.ErrPermission) {
		return false, fmt.Errorf("probe %s: %w", host, err)
	}
	answered, opened, rawErr := echo(ctx, ip, true)
	if !opened && rawErr != nil {
		return false, fmt.Errorf("probe %s: this process may open no ICMP socket: put its group into net.ipv4.ping_group_range (%w) or give it CAP_NET_RAW (%w)", host, err, rawErr)
	}
	p.decide(true)
	return answered, rawErr
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

// echo sends one ICMP echo request and reports whether it was answered before
// ctx ended, and whether a socket could be opened at all.
func echo(ctx context.Context, ip *net.IPAddr, privileged bool) (answered, opened bool, err error) {
	p := probing.New("")
	p.SetIPAddr(ip)
	p.SetPrivileged(privileged)
	p.SetLogger(probing.NoopLogger{})
	p.Count = 1
	p.RecordRtts, p.RecordTTLs = false, false
	p.OnSetup = func() { opened = true }
	err = p.RunWithContext(ctx)
	// Judge by what was received: with nothing sent, pro-bing reports no loss.
	if p.Statistics().PacketsRecv > 0 {
		return true, opened, nil
	}
	if opened && err != nil {
		err = notDown(ip.String(), err)
	}
	return false, opened, err
}
