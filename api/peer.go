package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// asker is where a request comes from: the other end of the connection or, where
// that is a trusted proxy, the last address of X-Forwarded-For that is none. What
// stands before it was written by whoever asks, and may be anything. The zero Addr
// is an address that is not known.
func asker(r *http.Request, trusted []netip.Prefix) netip.Addr {
	at := peer(r.RemoteAddr)
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(forwarded) {
		if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(at) }) {
			return at
		}
		text = strings.TrimSpace(text)
		next, err := netip.ParseAddr(strings.Trim(text, "[]"))
		if err != nil {
			next = peer(text) // some proxies write the port
		}
		if !next.IsValid() {
			return at
		}
		at = plain(next)
	}
	return at
}

// peer is the address of a text like 192.0.2.7:1234, or the zero Addr.
func peer(address string) netip.Addr {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return plain(ip)
}

// plain is an address in the one form in which lists and the authentication
// service have it.
func plain(ip netip.Addr) netip.Addr { return ip.WithZone("").Unmap() }

// written is an address as text, "" where it is not known.
func written(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}
