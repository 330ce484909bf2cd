package activities

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mozilla-platform-ops/roller/config"
)

// add puts the first key of an unknown host into the file, for SSH_HOST_KEYS
// accept-new. The lock beside the file holds off other workers on this host, so
// that of two keys that are shown at once only one is taken.
func (h *hostKeys) add(ctx context.Context, key ssh.PublicKey) error {
	file := h.file
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // a link stays one
	}
	unlock, err := lockFile(ctx, file+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	now, err := newHostKeys(config.Devices{KnownHostsFile: h.file, HostKeys: config.HostKeysAcceptNew}, h.host)
	if err != nil {
		return err
	}
	if len(now.known) > 0 || now.authority {
		return now.check(ctx, key) // another one was faster
	}
	line := knownhosts.Line([]string{knownhosts.Normalize(h.host)}, key) + "\n"
	if err := appendWhole(file, line); err != nil {
		return refused("ssh: the host key of %s is new and cannot be added: %w", h.host, err)
	}
	slog.WarnContext(ctx, "new ssh host key accepted", "host", h.host, "key_type", key.Type(),
		"fingerprint", ssh.FingerprintSHA256(key), "file", h.file)
	return nil
}

// lockEvery is how often a lock that another one holds is tried again; it is
// held for some milliseconds.
const lockEvery = 10 * time.Millisecond

// lockFile takes the lock of a file, which is made and stays.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // beside the operator's known_hosts
	if err != nil {
		return nil, refused("ssh: lock the known host keys: %w", err)
	}
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor is a small number
		if err == nil {
			return func() { _ = f.Close() }, nil // which gives the lock back
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, refused("ssh: lock the known host keys: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, notSent("ssh: lock the known host keys: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// appendWhole adds a line by replacing the file, so that whoever reads it finds
// the old one or the new one, and never half a line.
func appendWhole(path, line string) (err error) {
	mode := fs.FileMode(0o600)
	text, err := os.ReadFile(path) //nolint:gosec // the operator's known_hosts
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if len(text) > 0 && !strings.HasSuffix(string(text), "\n") {
		text = append(text, '\n')
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(text, line...))
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
