package api

import (
	"context"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

func TestAsker(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, tc := range map[string]struct {
		from      string
		forwarded []string
		want      string
	}{
		"no proxy":                      {"192.0.2.7:1", nil, "192.0.2.7"},
		"IPv6":                          {"[2001:db8::1]:1", nil, "2001:db8::1"},
		"a zone":                        {"[fe80::1%eth0]:1", nil, "fe80::1"},
		"IPv4 as IPv6":                  {"[::ffff:192.0.2.7]:1", nil, "192.0.2.7"},
		"a socket":                      {"@", nil, ""},
		"no address":                    {"nohost:1", nil, ""},
		"a stranger's word":             {"192.0.2.7:1", []string{"198.51.100.1"}, "192.0.2.7"},
		"a socket's word":               {"@", []string{"198.51.100.1"}, ""},
		"a proxy's":                     {"10.1.2.3:1", []string{"198.51.100.1"}, "198.51.100.1"},
		"a proxy's as IPv6":             {"[::ffff:10.1.2.3]:1", []string{"198.51.100.1"}, "198.51.100.1"},
		"a proxy without a word":        {"10.1.2.3:1", nil, "10.1.2.3"},
		"what the asker wrote before":   {"10.1.2.3:1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		"in a header of its own":        {"10.1.2.3:1", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		"an asker who plays a proxy":    {"10.1.2.3:1", []string{"203.0.113.9, 10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		"two proxies":                   {"[fd00::1]:1", []string{"203.0.113.9, 198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		"with a port":                   {"10.1.2.3:1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		"IPv6 in brackets":              {"10.1.2.3:1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"IPv6 in brackets, with a port": {"10.1.2.3:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		"no address from a proxy":       {"10.1.2.3:1", []string{"198.51.100.1, unknown"}, "10.1.2.3"},
		"an empty word":                 {"10.1.2.3:1", []string{""}, "10.1.2.3"},
		"proxies all the way":           {"10.1.2.3:1", []string{"10.0.0.1, 10.0.0.2"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{RemoteAddr: tc.from, Header: http.Header{"X-Forwarded-For": tc.forwarded}}
			require.Equal(t, tc.want, written(asker(r, trusted)))
		})
	}
}

// What is said of the asker by others decides nothing but what is logged, and what
// the authentication service is told.
func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		trusted []netip.Prefix
		peer    string
		via     any
	}{
		"of a trusted proxy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "198.51.100.1", "127.0.0.1"},
		"of anybody else":    {nil, "127.0.0.1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked Question
			h := newHarness(t, withConfig(func(c *config.Config) { c.API.TrustedProxies = tc.trusted }),
				withServer(func(s *server) {
					inner := s.Authenticator
					s.Authenticator = authFunc(func(ctx context.Context, q Question) (Verdict, error) {
						asked = q
						return inner.Authenticate(ctx, q)
					})
				}))
			r := h.request(pingPath, sheriff)
			r.Header.Set("X-Forwarded-For", "198.51.100.1")
			for _, header := range []string{"X-Forwarded-Host", "Forwarded", "X-Original-Url", "X-Rewrite-Url"} {
				r.Header.Set(header, "host=other.example")
			}
			r.Header.Set("X-Forwarded-Port", "8443")
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header.Set("X-Forwarded-Prefix", "/other")
			require.Equal(t, http.StatusCreated, h.do(r).status, "the signature is for PUBLIC_URL")
			require.Equal(t, tc.peer, asked.SourceIP)
			require.Equal(t, tc.peer, h.line()["peer"])
			require.Equal(t, tc.via, h.line()["via"])
		})
	}
}
