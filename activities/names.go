package activities

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// nameLife is for how long a name's addresses are used before DNS is asked again:
// machines that wait are probed every second, and there may be thousands.
const nameLife = 10 * time.Second

// names knows the addresses of the hosts that were asked last.
type names struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	mu    sync.Mutex
	hosts map[string]addresses
	sweep time.Time // when those that are old are thrown away next
}

type addresses struct {
	of    []netip.Addr
	until time.Time
}

func newNames() *names {
	return &names{hosts: map[string]addresses{}, lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
}

// addresses returns a host's addresses in the order in which they are to be tried.
// That DNS does not answer is not remembered.
func (n *names) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if of := n.known(host); of != nil {
		return of, nil
	}
	found, err := n.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	of := make([]netip.Addr, 0, len(found))
	for _, ip := range found {
		if ip = ip.Unmap(); !slices.Contains(of, ip) {
			of = append(of, ip)
		}
	}
	n.remember(host, of)
	return of, nil
}

// known returns a host's addresses where DNS need not be asked.
func (n *names) known(host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.hosts[host]; time.Now().Before(a.until) {
		return a.of
	}
	return nil
}

func (n *names) remember(host string, of []netip.Addr) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !now.Before(n.sweep) {
		n.sweep = now.Add(nameLife)
		for old, a := range n.hosts {
			if !now.Before(a.until) {
				delete(n.hosts, old)
			}
		}
	}
	n.hosts[host] = addresses{of: of, until: now.Add(nameLife)}
}
