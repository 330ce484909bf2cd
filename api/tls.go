package api

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// certEvery is how often the files are looked at, at most: whoever replaces a
// certificate does so days before the old one ends.
const certEvery = 10 * time.Second

// certificate is that of TLS_CERT_FILE and TLS_KEY_FILE, as the files have it now.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger
	now               func() time.Time

	mu     sync.Mutex
	pair   *tls.Certificate
	stamp  [2]stamp
	looked time.Time
	said   string
}

// stamp tells one state of a file from the next.
type stamp struct {
	changed time.Time
	size    int64
}

// newTLS returns how connections are encrypted, or nil where a proxy does it.
func newTLS(cfg config.API, logger *slog.Logger) (*tls.Config, error) {
	if cfg.TLSCertFile == "" {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	c := &certificate{certFile: cfg.TLSCertFile, keyFile: cfg.TLSKeyFile, logger: logger, now: time.Now}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c.config(), nil
}

// config has TLS 1.2 at least: all before is broken (RFC 8996). HTTP/2 is not
// spoken here, as it is not behind a proxy.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.current}
}

// current is the certificate for a handshake. Files that are being replaced, or
// were spoiled, leave the one that there is.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certEvery {
		c.looked = now
		c.refresh()
	}
	return c.pair, nil
}

func (c *certificate) refresh() {
	stamps, err := c.stamps()
	if err == nil && stamps == c.stamp {
		return
	}
	if err == nil {
		err = c.load()
	}
	if err == nil {
		c.said = ""
		c.logger.Info("certificate read again", "file", c.certFile, "not_after", c.pair.Leaf.NotAfter)
		return
	}
	if c.said != err.Error() {
		c.said = err.Error()
		c.logger.Warn("certificate not read, the old one stays", "err", c.said)
	}
}

// load reads both files. Their stamps are taken before, so that a change
// meanwhile is seen.
func (c *certificate) load() error {
	stamps, err := c.stamps()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS_CERT_FILE=%q, TLS_KEY_FILE=%q: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.stamp, c.looked = &pair, stamps, c.now()
	return nil
}

func (c *certificate) stamps() ([2]stamp, error) {
	var all [2]stamp
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return all, fmt.Errorf("TLS_CERT_FILE, TLS_KEY_FILE: %w", err)
		}
		all[i] = stampOf(info)
	}
	return all, nil
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.ModTime(), info.Size()} }
