package activities

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
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
