package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mozilla-platform-ops/roller/config"
)

// hostKeys checks one host's key against the known_hosts file, whose lines may
// be hashed, and may be of a @cert-authority or @revoked (sshd(8), SSH_KNOWN_HOSTS
// FILE FORMAT).
type hostKeys struct {
	file      string
	host      string // host:port, the name that is looked up
	accept    bool   // an unknown host's key is added to the file
	lookup    ssh.HostKeyCallback
	known     []knownhosts.KnownKey // the host's own keys
	authority bool                  // it is to show a certificate
	err       error                 // what check found
}

// hostFile is the known_hosts file, read once.
type hostFile struct {
	path   string
	accept bool
	lookup ssh.HostKeyCallback
	lines  []string
}

func readHostFile(devices config.Devices) (*hostFile, error) {
	f := &hostFile{path: devices.KnownHostsFile, accept: devices.HostKeys == config.HostKeysAcceptNew}
	var files []string
	text, err := os.ReadFile(f.path)
	if err == nil {
		files = []string{f.path}
	} else if !f.accept || !errors.Is(err, fs.ErrNotExist) {
		return nil, refused("ssh: read the known host keys: %w", err)
	}
	if f.lookup, err = knownhosts.New(files...); err != nil {
		return nil, refused("ssh: read the known host keys: %w", err)
	}
	f.lines = strings.Split(string(text), "\n")
	return f, nil
}

func newHostKeys(devices config.Devices, host string) (*hostKeys, error) {
	f, err := readHostFile(devices)
	if err != nil {
		return nil, err
	}
	return f.of(host), nil
}

// hostFiles keeps the known_hosts file for as long as it is the same: a fleet's has
// thousands of lines, and each login asks for one of them.
type hostFiles struct {
	mu   sync.Mutex
	info fs.FileInfo // as it was before kept was read
	kept *hostFile
}

// settledFor is how long a file must not have been written for a change that leaves
// its size to show in its time: some file systems keep that in whole seconds, FAT in
// every other one.
const settledFor = 3 * time.Second

// of returns what a host's key is held against, by the file as it is now.
func (c *hostFiles) of(devices config.Devices, host string) (*hostKeys, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := os.Stat(devices.KnownHostsFile)
	if err == nil && c.kept != nil && os.SameFile(c.info, now) && c.info.Size() == now.Size() && c.info.ModTime().Equal(now.ModTime()) {
		return c.kept.of(host), nil
	}
	f, ferr := readHostFile(devices)
	if ferr != nil {
		return nil, ferr
	}
	c.kept = nil
	if err == nil && time.Since(now.ModTime()) > settledFor {
		c.info, c.kept = now, f
	}
	return f.of(host), nil
}

func (f *hostFile) of(host string) *hostKeys {
	h := &hostKeys{file: f.path, host: host, accept: f.accept, lookup: f.lookup}
	// The package tells which keys it knows only when it sees a wrong one, and
	// does not tell keys from authorities then.
	wrong, _ := errors.AsType[*knownhosts.KeyError](h.lookup(host, anyAddr, noKey{}))
	if wrong == nil {
		return h
	}
	for _, k := range wrong.Want {
		if k.Line <= len(f.lines) && strings.HasPrefix(strings.TrimSpace(f.lines[k.Line-1]), "@cert-authority") {
			h.authority = true
		} else {
			h.known = append(h.known, k)
		}
	}
	return h
}

// anyAddr stands for the address, which the package wants and does not look up
// where there is a name: a key is known for the host's name, whatever is dialled.
var anyAddr = &net.TCPAddr{IP: net.IPv4zero}

// noKey is a key that no host has.
type noKey struct{}

// Type implements ssh.PublicKey.
func (noKey) Type() string { return "none" }

// Marshal implements ssh.PublicKey.
func (noKey) Marshal() []byte { return nil }

// Verify implements ssh.PublicKey.
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// The kinds of host keys, the best first; RSA without SHA-1 (RFC 8332).
var (
	plainAlgorithms = []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
	certAlgorithms = []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
)

// algorithms asks the server for a key of a kind that is known: it has several,
// and its favourite would look like a changed key. A host with an authority must
// show a certificate, or a key that is known: never an unknown key, which
// anybody in between has.
func (h *hostKeys) algorithms() []string {
	if len(h.known) == 0 && !h.authority {
		return plainAlgorithms
	}
	var out []string
	if h.authority {
		out = append(out, certAlgorithms...)
	}
	for _, k := range h.known {
		kinds := []string{k.Key.Type()}
		if kinds[0] == ssh.KeyAlgoRSA {
			kinds = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, kind := range kinds {
			if !slices.Contains(out, kind) {
				out = append(out, kind)
			}
		}
	}
	return out
}

// callback is check for the package, which has verified by then that the server
// holds the key.
func (h *hostKeys) callback(ctx context.Context) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		h.err = h.check(ctx, key)
		return h.err
	}
}

// check returns nil for a key that is the host's, or becomes it now.
func (h *hostKeys) check(ctx context.Context, key ssh.PublicKey) error {
	err := h.lookup(h.host, anyAddr, key)
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	_, revoked := errors.AsType[*knownhosts.RevokedError](err)
	cert, certified := key.(*ssh.Certificate)
	switch {
	case revoked:
		return refused("ssh: the host key of %s (%s) is revoked in %s", h.host, shown, h.file)
	case certified && err != nil:
		return refused("ssh: the host certificate of %s (%s): %w", h.host, shown, err)
	case certified && cert.Signature.Format == ssh.KeyAlgoRSA:
		return refused("ssh: the host certificate of %s (%s) is signed with SHA-1", h.host, shown)
	case certified, h.knows(key):
		return nil
	case len(h.known) > 0 || h.authority:
		return refused("ssh: the host key of %s (%s) is not the one in %s", h.host, shown, h.file)
	case h.accept:
		return h.add(ctx, key)
	default:
		return refused("ssh: the host key of %s (%s) is unknown, there is none in %s", h.host, shown, h.file)
	}
}

// knows reports whether a key is one of the host's own; an authority's is not.
func (h *hostKeys) knows(key ssh.PublicKey) bool {
	return slices.ContainsFunc(h.known, func(k knownhosts.KnownKey) bool {
		return bytes.Equal(k.Key.Marshal(), key.Marshal())
	})
}

// UnknownHosts says which machines' ssh rungs will be refused because their host
// key is not known and is not taken on first sight.
func UnknownHosts(cfg *config.Config, inventory *config.Inventory) []string {
	f, err := readHostFile(cfg.Devices)
	if err != nil || f.accept { // what cannot be read, ValidateWorker tells
		return nil
	}
	var unknown []config.Name
	for _, m := range inventory.Machines() {
		if m.SSH == nil {
			continue
		}
		if h := f.of(net.JoinHostPort(m.FQDN, strconv.Itoa(m.SSH.Port))); len(h.known) == 0 && !h.authority {
			unknown = append(unknown, m.Name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("no host key in %s, so that the ssh rungs will be refused: %s", f.path, config.FoldNames(unknown))}
}
