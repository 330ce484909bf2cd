package activities

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"
)

// pings asks hosts over the sockets that all of a process share.
type pings struct {
	names  *names
	v4, v6 *pinger
}

// ping implements icmpEchoer. Of a host's addresses the first counts to which the
// kernel sends; that it can send to none is "no answer" only where it says so of each.
func (p *pings) ping(ctx context.Context, host string) (Echo, error) {
	ips, err := p.names.addresses(ctx, host)
	if err != nil {
		return Echo{}, notDown(host, err)
	}
	var e Echo
	var failed error
	for _, ip := range ips {
		e, err = p.family(ip).Echo(ctx, ip)
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return e, notDown(host, err)
		}
		if len(ips) > 1 && hasNoFamily(err) {
			continue
		}
		failed = errors.Join(failed, notDown(host, err))
	}
	return e, failed
}

// ask is ping without a goroutine that waits, where that can be done: the host has one
// address, which is known. See pinger.Ask.
func (p *pings) ask(host string, timeout time.Duration, tell func(Echo, error)) bool {
	ips := p.names.known(host)
	return len(ips) == 1 && p.family(ips[0]).Ask(ips[0], timeout, func(e Echo, err error) {
		if err != nil {
			err = notDown(host, err)
		}
		tell(e, err)
	})
}

func (p *pings) family(ip netip.Addr) *pinger {
	if ip.Is4() {
		return p.v4
	}
	return p.v6
}

// hasNoFamily reports whether this machine has no IPv6, or no IPv4.
func hasNoFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}
