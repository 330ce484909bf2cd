package config

import (
	"cmp"
	"errors"
	"net"
	"strconv"
	"strings"
)

// errJump says what a bastion looks like.
var errJump = errors.New("must be one bastion: host, user@host or user@host:port")

// ParseJump reads a bastion as ssh(1) takes it for ProxyJump: [user@]host[:port],
// an IPv6 address with a port in brackets. User is "" where none is named.
// There is one hop: a list with commas is a mistake.
func ParseJump(text string) (Jump, error) {
	j := Jump{Port: sshPort, Host: text}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		j.User, j.Host = text[:i], text[i+1:]
		if !isAccount(j.User) {
			return Jump{}, errJump
		}
	}
	if net.ParseIP(j.Host) == nil && strings.ContainsAny(j.Host, ":[]") {
		host, port, err := net.SplitHostPort(j.Host)
		j.Port, _ = strconv.Atoi(port) // what is no number is 0
		if err != nil || j.Port < 1 || j.Port > maxPort || port[0] == '+' {
			return Jump{}, errJump
		}
		j.Host = host
	}
	if !isHost(j.Host) {
		return Jump{}, errJump
	}
	j.Host = strings.ToLower(j.Host)
	return j, nil
}

// isAccount reports whether a name may be a login.
func isAccount(name string) bool {
	return name != "" && !strings.HasPrefix(name, "-") && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(",@:/", r)
	})
}

// jump reads the optional bastion of an account.
func (r *reading) jump(in *entry, account SSH) *Jump {
	if !in.has("jump") {
		if in.has("jump_key_file") {
			in.wrong(in.place("jump_key_file").line, "\"jump_key_file\" is of no use without \"jump\"")
		}
		return nil
	}
	text := in.text("jump")
	if text == "" {
		return nil
	}
	j, err := ParseJump(text)
	if err != nil {
		in.wrong(in.place("jump").line, "\"jump\" %q %s", text, err)
		return nil
	}
	j.User, j.KeyFile = cmp.Or(j.User, account.User), account.KeyFile
	if in.has("jump_key_file") {
		if j.KeyFile = in.text("jump_key_file"); j.KeyFile != "" {
			r.key(in.place("jump_key_file"), j.KeyFile)
		}
	}
	return &j
}
