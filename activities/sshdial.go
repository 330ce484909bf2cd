package activities

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mozilla-platform-ops/roller/config"
)

func sshAddr(m config.Machine) string {
	return net.JoinHostPort(m.Addr, strconv.Itoa(m.SSH.Port))
}

// sshDial opens an authenticated connection that lives for two SSH_TIMEOUTs
// (one to get here, one for what is asked over it) or until ctx ends. The key
// is read now, and the host key must be the known one for the machine's own
// name, whatever address is dialled.
func (a *Activities) sshDial(ctx context.Context, m config.Machine) (*ssh.Client, error) {
	timeout := a.Config.Devices.SSHTimeout.D()
	signer, err := readKey(m.SSH.KeyFile)
	if err != nil {
		return nil, err
	}
	hostKeys, err := newHostKeys(a.Config.Devices.KnownHostsFile, m)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", sshAddr(m))
	if err != nil {
		return nil, notSent("ssh: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(timeout))
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, chans, reqs, err := ssh.NewClientConn(conn, hostKeys.name, &ssh.ClientConfig{
		User:              m.SSH.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   hostKeys.check,
		HostKeyAlgorithms: hostKeys.algorithms(),
	})
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, hostKeys.explain(m, err)
	}
	_ = conn.SetDeadline(time.Now().Add(timeout))
	return ssh.NewClient(c, chans, reqs), nil
}

func readKey(path string) (ssh.Signer, error) {
	pem, err := os.ReadFile(path) //nolint:gosec // the operator's own inventory names the file
	if err != nil {
		return nil, refused("ssh: read the private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		// The parser's own text may quote the file.
		return nil, refused("ssh: %s is not a private key that can be used without a passphrase", path)
	}
	return signer, nil
}

// hostKeys checks one machine's host key against the known_hosts file.
type hostKeys struct {
	file   string
	name   string // FQDN:port, the name that is looked up
	lookup ssh.HostKeyCallback
	known  []knownhosts.KnownKey
	err    error // what check found
}

func newHostKeys(file string, m config.Machine) (*hostKeys, error) {
	lookup, err := knownhosts.New(file)
	if err != nil {
		return nil, refused("ssh: read the known host keys: %w", err)
	}
	h := &hostKeys{file: file, name: net.JoinHostPort(m.FQDN, strconv.Itoa(m.SSH.Port)), lookup: lookup}
	// The package tells which keys it knows only when it sees a wrong one.
	keyErr, _ := errors.AsType[*knownhosts.KeyError](lookup(h.name, &net.TCPAddr{IP: net.IPv4zero}, noKey{}))
	if keyErr != nil {
		h.known = keyErr.Want
	}
	return h, nil
}

// UnknownHosts says which machines' ssh rungs will be refused because their host
// key is not known.
func UnknownHosts(cfg *config.Config, inventory *config.Inventory) []string {
	var warnings []string
	for _, m := range inventory.Machines() {
		if m.SSH == nil {
			continue
		}
		if h, err := newHostKeys(cfg.Devices.KnownHostsFile, m); err == nil && len(h.known) == 0 {
			warnings = append(warnings, fmt.Sprintf("%s: no host key of %s in %s: its ssh rungs will be refused", m.Name, h.name, h.file))
		}
	}
	return warnings
}

// noKey is a key that no host has.
type noKey struct{}

// Type implements ssh.PublicKey.
func (noKey) Type() string { return "none" }

// Marshal implements ssh.PublicKey.
func (noKey) Marshal() []byte { return nil }

// Verify implements ssh.PublicKey.
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// algorithms asks the server for a key of a kind that is known: it has several,
// and its favourite would look like a changed key.
func (h *hostKeys) algorithms() []string {
	var out []string
	for _, k := range h.known {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512) // RFC 8332; not SHA-1
		} else {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (h *hostKeys) check(name string, remote net.Addr, key ssh.PublicKey) error {
	err := h.lookup(name, remote, key)
	if err != nil {
		problem := "is not the one"
		if len(h.known) == 0 {
			problem = "is unknown, there is none"
		}
		h.err = refused("ssh: the host key of %s (%s %s) %s in %s", h.name, key.Type(), ssh.FingerprintSHA256(key), problem, h.file)
	}
	return err
}

// explain gives a failed handshake its meaning. Nothing was sent in any case.
func (h *hostKeys) explain(m config.Machine, err error) error {
	_, algorithms := errors.AsType[*ssh.AlgorithmNegotiationError](err)
	switch {
	case h.err != nil:
		return h.err
	case algorithms && len(h.known) > 0 && strings.Contains(err.Error(), "host key"):
		return refused("ssh: %s shows no host key of the kind known for it in %s: %w", h.name, h.file, err)
	case algorithms:
		return refused("ssh: %w", err)
	case strings.Contains(err.Error(), "unable to authenticate"): // the package has no type for it
		return refused("ssh: %s refuses user %s with key file %s", h.name, m.SSH.User, m.SSH.KeyFile)
	default:
		return notSent("ssh: %s: %w", h.name, err)
	}
}

// Before its version string a server may send other lines (RFC 4253, 4.2).
const (
	bannerLines = 50
	bannerBytes = 8 << 10
)

// sshBanner reports whether an SSH server shows its version string. Some
// network is always between: any error is only "not yet".
func (a *Activities) sshBanner(ctx context.Context, m config.Machine) bool {
	timeout := a.Config.Devices.SSHTimeout.D()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", sshAddr(m))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	lines := bufio.NewScanner(io.LimitReader(conn, bannerBytes))
	for range bannerLines {
		if !lines.Scan() {
			return false
		}
		if l := lines.Text(); strings.HasPrefix(l, "SSH-2.0-") || strings.HasPrefix(l, "SSH-1.99-") {
			return true
		}
	}
	return false
}

// firstLine returns what a peer said as one short line that is safe to log.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.TrimSpace(line))
	const most = 200
	if len(line) > most {
		line = line[:most] + "..."
	}
	if line == "" {
		return "no message"
	}
	return fmt.Sprintf("%q", line)
}
