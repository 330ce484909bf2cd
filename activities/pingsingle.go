package activities

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

// singlePings opens a socket for each ping. Systems other than Linux have no other.
type singlePings struct {
	mu         sync.Mutex
	decided    bool
	privileged bool
}

func (p *singlePings) ping(ctx context.Context, host string) (Echo, error) {
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
		return e, fmt.Errorf("probe %s: %w", host, noPingSocket(err, rawErr))
	}
	p.decide(true)
	return e, rawErr
}

func (p *singlePings) isPrivileged() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.privileged
}

func (p *singlePings) isDecided() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.decided
}

func (p *singlePings) decide(privileged bool) {
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
