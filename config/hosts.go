package config

import (
	"net/netip"
	"regexp"
)

// hostForm is a host name of at most 253 characters (RFC 1035, 2.3.4, less the
// root's label). Labels are not counted: the DNS will say so itself, and
// underscores occur.
var hostForm = regexp.MustCompile(`\A[_0-9a-zA-Z][-_.0-9a-zA-Z]{0,252}\z`)

// isHost reports whether a value can be dialled: a host name or an IP address,
// without a port and without brackets.
func isHost(value string) bool {
	if _, err := netip.ParseAddr(value); err == nil {
		return true
	}
	return hostForm.MatchString(value)
}
