package activities

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// maxBMCAnswer is far more than any resource that is asked for; a ComputerSystem
// has some 10 kB.
const maxBMCAnswer = 1 << 20

// bmcHTTP is one dialogue with a management controller over HTTPS. Every request
// has a connection of its own, so that net/http has none to send again on; it
// speaks HTTP/1.1 only, because HTTP/2 has ways of its own to send again. After
// arm, one POST may go out and no second one, whatever the library above thinks:
// gofish repeats an action that was answered 412.
type bmcHTTP struct {
	transport *http.Transport
	timeout   time.Duration

	mu     sync.Mutex
	status int   // of the last answer
	err    error // of the last request that had no answer
	act    *act  // nil before arm
}

// act is what became of the one request that changes power.
type act struct {
	ready   func() error
	tried   bool
	unready error // what ready said in the place of a yes
	begun   bool  // TCP and TLS stood and ready allowed it, so that bytes may have gone out
	status  int   // 0: no answer that is HTTP
	body    []byte
	err     error
}

// newBMCHTTP returns a dialogue whose certificate is pinned or signed by a CA:
// there is no third way.
func newBMCHTTP(d config.Devices, pin config.Fingerprint) (*bmcHTTP, error) {
	check := &tls.Config{MinVersion: tls.VersionTLS12}
	if pin != "" {
		check.InsecureSkipVerify = true // in favour of the one certificate that is known
		check.VerifyConnection = pinned(pin)
	} else {
		roots, err := d.ILORoots()
		if err != nil {
			return nil, refused("%w", err)
		}
		check.RootCAs = roots
	}
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	timeout := d.ILOTimeout.D()
	return &bmcHTTP{timeout: timeout, transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
		TLSClientConfig:     check,
		TLSHandshakeTimeout: timeout,
		DisableKeepAlives:   true,
		Protocols:           only1,
	}}, nil
}

// pinned accepts one certificate.
func pinned(pin config.Fingerprint) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("no certificate")
		}
		if got := config.FingerprintOf(s.PeerCertificates[0].Raw); got != pin {
			return fmt.Errorf("the certificate is %s, not the pinned %s", got, pin)
		}
		return nil
	}
}

// client follows no redirect: a 307 would make a second POST of the first.
func (b *bmcHTTP) client() *http.Client {
	return &http.Client{
		Transport: b, Timeout: b.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// arm makes the next POST the one that acts. ready is asked when its connection
// stands.
func (b *bmcHTTP) arm(ready func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.act = &act{ready: ready}
}

// outcome returns what became of the one POST, and disarms.
func (b *bmcHTTP) outcome() act {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := *b.act
	b.act = nil
	return a
}

// RoundTrip implements http.RoundTripper.
func (b *bmcHTTP) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	a := b.act
	b.mu.Unlock()
	if a != nil && r.Method == http.MethodPost {
		return b.actOnce(r, a)
	}
	resp, body, err := exchange(b.transport, r)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err = err; err != nil {
		return nil, err
	}
	b.status = resp.StatusCode
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// actOnce sends the one POST, on a connection that stands before ready is asked. A
// cancel ends it until then, and does not stop it half-way.
func (b *bmcHTTP) actOnce(r *http.Request, a *act) (*http.Response, error) {
	if a.tried {
		return nil, errors.New("a command is sent once")
	}
	a.tried = true
	conn, err := b.connect(r)
	if err != nil {
		a.err = err
		return nil, err
	}
	defer func() { _ = conn.Close() }() // the transport has, if it had it
	if a.unready = a.ready(); a.unready != nil {
		return nil, a.unready
	}
	a.begun = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), b.timeout)
	defer cancel()
	// A new request: a clone would keep the channel by which http.Client cancels.
	q, err := http.NewRequestWithContext(ctx, r.Method, r.URL.String(), r.Body) //nolint:gosec // the device of the inventory
	if err != nil {
		return nil, err
	}
	q.Header, q.ContentLength, q.Close = r.Header.Clone(), r.ContentLength, true
	q.Header.Del("If-Match") // an action has no state of its own to match
	resp, body, err := exchange(onlyConn(conn), q)
	if resp != nil { // what the device decided stands, whatever became of the rest
		a.status, a.body = resp.StatusCode, body
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return resp, nil
	}
	a.err = err
	return nil, err
}

func (b *bmcHTTP) connect(r *http.Request) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.Context(), b.timeout)
	defer cancel()
	return connectTLS(ctx, r.URL, b.transport.TLSClientConfig)
}

// exchange reads the answer whole, so that what follows cannot fail half-way.
func exchange(by *http.Transport, r *http.Request) (*http.Response, []byte, error) {
	resp, err := by.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBMCAnswer))
	return resp, body, errors.Join(err, resp.Body.Close())
}

// readError is what a question that failed means. No text of the device is in
// it: it may repeat what it was sent.
func (b *bmcHTTP) readError(what string) error {
	b.mu.Lock()
	status, err := b.status, b.err
	b.mu.Unlock()
	switch {
	case err != nil:
		return notSent("%s: %w", what, err)
	case status >= 400 && status < 500 && !comesRight(status):
		return refused("%s: %s", what, statusText(status))
	case status >= 300:
		return notSent("%s: %s", what, statusText(status))
	}
	return notSent("%s: the answer cannot be read", what)
}

func statusText(status int) string { return fmt.Sprintf("HTTP %d %s", status, http.StatusText(status)) }
