package activities

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mozilla-platform-ops/roller/config"
)

// certifiedHost is a server with a host certificate.
func certifiedHost(t *testing.T, ca, key ssh.Signer, change func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity,
		ValidPrincipals: []string{"ms1-10.test.releng.mdc1.mozilla.com"},
	}
	if change != nil {
		change(cert)
	}
	require.NoError(t, cert.SignCert(rand.Reader, ca))
	s, err := ssh.NewCertSigner(cert, key)
	require.NoError(t, err)
	return s
}

func TestSSHKnownHostsLines(t *testing.T) {
	t.Parallel()
	signer := func(kind string) ssh.Signer { return signerOf(t, newKey(t, kind)) }
	key, other, ca := signer(ssh.KeyAlgoED25519), signer(ssh.KeyAlgoED25519), signer(ssh.KeyAlgoED25519)
	text := func(s ssh.Signer) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey()))) }
	certified := certifiedHost(t, ca, key, nil)
	for name, c := range map[string]struct {
		host  ssh.Signer
		lines []string // %[1]s is the host's name, %[2]s the same hashed
		says  string   // "" where it is let in
	}{
		"plain":              {host: key, lines: []string{"%[1]s " + text(key)}},
		"hashed":             {host: key, lines: []string{"%[2]s " + text(key)}},
		"hashed, changed":    {host: other, lines: []string{"%[2]s " + text(key)}, says: "is not the one"},
		"one of two":         {host: key, lines: []string{"%[1]s " + text(other), "%[1]s " + text(key)}},
		"comment and spaces": {host: key, lines: []string{"# ours", "", "  %[1]s " + text(key) + " a comment"}},
		"revoked":            {host: key, lines: []string{"%[1]s " + text(key), "@revoked * " + text(key)}, says: "is revoked"},
		"revoked by another": {host: key, lines: []string{"%[1]s " + text(key), "@revoked * " + text(other)}},
		"half a line":        {host: key, lines: []string{"%[1]s ssh-ed25519"}, says: "read the known host keys"},

		"authority":                       {host: certified, lines: []string{"@cert-authority %[1]s " + text(ca)}},
		"authority hashed":                {host: certified, lines: []string{"@cert-authority %[2]s " + text(ca)}},
		"another authority":               {host: certified, lines: []string{"@cert-authority %[1]s " + text(other)}, says: "no authorities"},
		"authority of another host":       {host: certified, lines: []string{"@cert-authority else.example " + text(ca)}, says: "no common algorithm"},
		"authority revoked":               {host: certified, lines: []string{"@cert-authority %[1]s " + text(ca), "@revoked * " + text(ca)}, says: "revoked"},
		"certified key revoked":           {host: certified, lines: []string{"@cert-authority %[1]s " + text(ca), "@revoked * " + text(key)}, says: "revoked"},
		"no certificate for an authority": {host: key, lines: []string{"@cert-authority %[1]s " + text(ca)}, says: "no host key of the kind"},
		"an authority is no host": {
			host: ca, lines: []string{"@cert-authority %[1]s " + text(ca), "%[1]s " + text(key)},
			says: "is not the one",
		},
		"known key beside an authority": {host: key, lines: []string{"@cert-authority %[1]s " + text(ca), "%[1]s " + text(key)}},
		"certificate over": {
			host:  certifiedHost(t, ca, key, func(c *ssh.Certificate) { c.ValidBefore = 1000 }),
			lines: []string{"@cert-authority %[1]s " + text(ca)}, says: "expired",
		},
		"certificate of another host": {
			host:  certifiedHost(t, ca, key, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"else"} }),
			lines: []string{"@cert-authority %[1]s " + text(ca)}, says: "principal",
		},
		"certificate of a user": {
			host:  certifiedHost(t, ca, key, func(c *ssh.Certificate) { c.CertType = ssh.UserCert }),
			lines: []string{"@cert-authority %[1]s " + text(ca)}, says: "type 1",
		},
	} {
		for _, policy := range []string{config.HostKeysStrict, config.HostKeysAcceptNew} {
			t.Run(name+" "+policy, func(t *testing.T) {
				t.Parallel()
				r := newSSHRig(t)
				r.Config.Devices.HostKeys = policy
				p := newSSHPeer(t, r, shape{host: c.host})
				var lines []string
				for _, l := range c.lines {
					l += "%.0[1]s%.0[2]s" // use both
					lines = append(lines, fmt.Sprintf(l, knownName(p.Machine), knownhosts.HashHostname(knownName(p.Machine))))
				}
				file := r.knows(t, lines...)
				before := readFile(t, file)
				_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
				require.Equal(t, before, readFile(t, file), "what is known is not changed")
				if c.says == "" {
					require.NoError(t, err)
					return
				}
				require.Equal(t, Refused, MeaningOf(err), "%v", err)
				require.ErrorContains(t, err, c.says)
				require.Empty(t, p.commands())
			})
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestSSHAcceptNew(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"no file":                  "-",
		"empty file":               "",
		"others are known":         "else.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\n",
		"no line end at the end":   "else.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
		"authority of other hosts": "@cert-authority *.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSSHRig(t)
			r.Config.Devices.HostKeys = config.HostKeysAcceptNew
			p := newSSHPeer(t, r, shape{})
			file := r.knows(t)
			require.NoError(t, os.WriteFile(file, []byte(before), 0o600))
			require.NoError(t, os.Chmod(file, 0o640))
			if before == "-" {
				require.NoError(t, os.Remove(file))
				before = ""
			}
			_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
			require.NoError(t, err)
			if before != "" && !strings.HasSuffix(before, "\n") {
				before += "\n"
			}
			require.Equal(t, before+p.known()+"\n", readFile(t, file))
			if name == "others are known" {
				info, err := os.Stat(file)
				require.NoError(t, err)
				require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
			}

			// From then on it is known, also to those who are strict; another key is refused.
			r.Config.Devices.HostKeys = config.HostKeysStrict
			_, err = r.sshReboot(t.Context(), p.Machine, Reboot, always)
			require.NoError(t, err)
			r.Config.Devices.HostKeys = config.HostKeysAcceptNew
			q := newSSHPeer(t, r, shape{})
			require.Equal(t, p.FQDN, q.FQDN)
			require.NoError(t, os.WriteFile(file, []byte(knownLine(q.Machine, p.host.PublicKey())+"\n"), 0o600))
			_, err = r.sshReboot(t.Context(), q.Machine, Reboot, always)
			require.Equal(t, Refused, MeaningOf(err), "%v", err)
			require.ErrorContains(t, err, "is not the one")
			require.Empty(t, q.commands())
		})
	}
}

// Where the key cannot be kept the next one would be as new: that is no way in.
func TestSSHAcceptNewThatCannotBeKept(t *testing.T) {
	t.Parallel()
	r := newSSHRig(t)
	r.Config.Devices.HostKeys = config.HostKeysAcceptNew
	p := newSSHPeer(t, r, shape{})
	r.Config.Devices.KnownHostsFile = filepath.Join(t.TempDir(), "no", "such", "directory")
	_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
	require.Equal(t, Refused, MeaningOf(err), "%v", err)
	require.Empty(t, p.commands())
}

// Many first connections at once, through a link to the file: every host has one
// line, no line is lost, and nothing but the lock is left beside the file.
func TestSSHAcceptNewAtOnce(t *testing.T) {
	t.Parallel()
	const hosts, each = 8, 3
	file := filepath.Join(t.TempDir(), "known_hosts")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Symlink(file, link))
	devices := config.Devices{KnownHostsFile: link, HostKeys: config.HostKeysAcceptNew}
	var running sync.WaitGroup
	taken := make([][]bool, hosts)
	for i := range hosts {
		taken[i] = make([]bool, each)
		for j := range each { // of several keys for one host the first is taken
			key := signerOf(t, newKey(t, ssh.KeyAlgoED25519)).PublicKey()
			running.Go(func() {
				h, err := newHostKeys(devices, net.JoinHostPort(fmt.Sprintf("host%d", i), "22"))
				taken[i][j] = err == nil && h.check(t.Context(), key) == nil
			})
		}
	}
	running.Wait()
	for i := range taken {
		won := 0
		for _, ok := range taken[i] {
			if ok {
				won++
			}
		}
		require.Equal(t, 1, won, "host%d", i)
	}
	require.Equal(t, hosts, strings.Count(readFile(t, file), "\n"))
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 2, "the file and its lock")
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
}

// A file that is kept in memory is read anew whenever it may be another one.
func TestKnownHostsAreReadAnew(t *testing.T) {
	t.Parallel()
	line := func(key ssh.PublicKey) []byte { return []byte(knownhosts.Line([]string{"host"}, key) + "\n") }
	long := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct {
		written time.Time // when the file was, before it was read; what is to come is never long ago
		change  func(file string, text []byte) error
	}{
		"written over": {long, func(file string, text []byte) error { return os.WriteFile(file, text, 0o600) }},
		"written over within a tick of the clock": {time.Now().Add(time.Hour), func(file string, text []byte) error {
			info, err := os.Stat(file)
			return errors.Join(err, os.WriteFile(file, text, 0o600), os.Chtimes(file, time.Time{}, info.ModTime()))
		}},
		"replaced by one of the same time": {long, func(file string, text []byte) error {
			return errors.Join(os.WriteFile(file+".new", text, 0o600), os.Rename(file+".new", file), os.Chtimes(file, time.Time{}, long))
		}},
		"gone": {long, func(file string, _ []byte) error { return os.Remove(file) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "known_hosts")
			old, later := signerOf(t, newKey(t, ssh.KeyAlgoED25519)).PublicKey(), signerOf(t, newKey(t, ssh.KeyAlgoED25519)).PublicKey()
			require.NoError(t, os.WriteFile(file, line(old), 0o600))
			require.NoError(t, os.Chtimes(file, time.Time{}, test.written))
			var c hostFiles
			check := func() error {
				h, err := c.of(config.Devices{KnownHostsFile: file}, "host:22")
				if err == nil {
					err = h.check(t.Context(), old)
				}
				return err
			}
			require.NoError(t, check())
			require.NoError(t, check())
			require.NoError(t, test.change(file, line(later)))
			require.Error(t, check())
		})
	}
}

// A lock that another one keeps does not hold a worker longer than its time.
func TestSSHAcceptNewLocked(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "known_hosts")
	unlock, err := lockFile(t.Context(), file+".lock")
	require.NoError(t, err)
	defer unlock()
	h, err := newHostKeys(config.Devices{KnownHostsFile: file, HostKeys: config.HostKeysAcceptNew}, "host:22")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = h.check(ctx, signerOf(t, newKey(t, ssh.KeyAlgoED25519)).PublicKey())
	require.Equal(t, NotSent, MeaningOf(err), "%v", err)
	require.NoFileExists(t, file)
}
