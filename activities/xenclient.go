package activities

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// xenMaxAnswer is far more than any answer to roller's calls needs.
const xenMaxAnswer = 1 << 20

// The dialogue is JSON-RPC 2.0 as xapi-project/xen-api describes it
// (doc/content/xen-api/wire-protocol.md): POST to /jsonrpc; an ID that is never
// null and comes back; "void" answered as an empty text; an error with XAPI's code
// as its message and the code's parameters as a list of texts; 500 with HTML for
// what is malformed.

// xenError is an error code of XAPI (ocaml/xapi-consts/api_errors.ml). Its
// parameters stay out of the text: they may hold the user's name.
type xenError struct {
	code string
	data []string
}

// Error implements error.
func (e *xenError) Error() string { return e.code }

// xenSession is one session with a pool's master.
type xenSession struct {
	client  *http.Client
	check   *tls.Config
	url     string
	devices config.Devices
	ref     string
}

// xenOpen logs in. A member of the pool names its master (HOST_IS_SLAVE), which
// is believed once, and only if it is a plain host: scheme and port stay those
// of XEN_URL, and the certificate must name the host that is dialled.
func (a *Activities) xenOpen(ctx context.Context) (*xenSession, error) {
	d := a.Config.Devices
	roots, err := xenRoots(d.XenCAFile)
	if err != nil {
		return nil, err
	}
	s := &xenSession{devices: d, url: d.XenURL, check: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	// A connection a call, so that nothing is repeated behind roller's back.
	s.client = xenClient(d.XenTimeout.D(), &http.Transport{
		DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext, TLSClientConfig: s.check,
	})
	err = s.login(ctx)
	if code, ok := errors.AsType[*xenError](err); ok && code.code == "HOST_IS_SLAVE" {
		if s.url, err = xenMaster(d.XenURL, code.data); err != nil {
			return nil, err
		}
		err = s.login(ctx)
	}
	if err != nil {
		return nil, xenBefore("log in", err)
	}
	return s, nil
}

func xenClient(timeout time.Duration, by http.RoundTripper) *http.Client {
	return &http.Client{
		Timeout: timeout, Transport: by,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func xenRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // the system's
	}
	pem, err := os.ReadFile(file) //nolint:gosec // XEN_CA_FILE
	if err != nil {
		return nil, refused("xenapi: XEN_CA_FILE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, refused("xenapi: XEN_CA_FILE holds no PEM certificate")
	}
	return pool, nil
}

// xenHost is a host name (RFC 1123, 2.1), as far as it can be dialled.
var xenHost = regexp.MustCompile(`\A[0-9a-zA-Z][-.0-9a-zA-Z]{0,252}\z`)

// xenMaster is the URL of the master that a member names.
func xenMaster(member string, data []string) (string, error) {
	u, err := url.Parse(member)
	if err != nil || len(data) == 0 {
		return "", refused("xenapi: HOST_IS_SLAVE without an address")
	}
	host := data[0]
	if ip, err := netip.ParseAddr(host); err != nil && !xenHost.MatchString(host) || err == nil && ip.Zone() != "" {
		return "", refused("xenapi: HOST_IS_SLAVE names %.80q, which is no host", host)
	}
	port := u.Port()
	u.Host = host
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		u.Host = "[" + host + "]"
	}
	if port != "" {
		u.Host = net.JoinHostPort(host, port)
	}
	return u.String(), nil
}

func (s *xenSession) login(ctx context.Context) error {
	result, err := s.call(ctx, "session.login_with_password", s.devices.XenUsername, s.devices.XenPassword.Reveal(), "1.0", "roller")
	if err != nil {
		return err
	}
	s.ref, err = xenText(result)
	return err
}

// close logs out, whatever became of ctx: sessions left open fill XAPI's table.
func (s *xenSession) close(ctx context.Context) {
	_, _ = s.call(context.WithoutCancel(ctx), "session.logout", s.ref) // it ends by itself in a day
}

// text calls a method of the session that answers with a text.
func (s *xenSession) text(ctx context.Context, method, param string) (string, error) {
	result, err := s.call(ctx, method, s.ref, param)
	if err != nil {
		return "", err
	}
	return xenText(result)
}

// xenText reads a reference or an enumeration.
func xenText(result json.RawMessage) (string, error) {
	var text string
	if err := json.Unmarshal(result, &text); err != nil || text == "" {
		return "", errors.New("the answer is not a text")
	}
	return text, nil
}

// unbegun is why a command was not begun to be sent: there was no connection, or
// ready said no. It has its own meaning.
type unbegun struct{ error }

// Unwrap returns the reason.
func (u *unbegun) Unwrap() error { return u.error }

// act sends a command, once: on a connection that stands before ready is asked. A
// cancel ends it until then; after that it has limit, whatever becomes of ctx.
func (s *xenSession) act(ctx context.Context, ready func() error, limit time.Duration, method string, params ...any) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return &unbegun{xenBefore("connect for "+method, err)}
	}
	defer func() { _ = conn.Close() }() // the transport has, if it had it
	if err := ready(); err != nil {
		return &unbegun{err}
	}
	acting := *s
	acting.client = xenClient(limit, onlyConn(conn))
	_, err = acting.call(context.WithoutCancel(ctx), method, params...) // a command's result is void
	return err
}

func (s *xenSession) connect(ctx context.Context) (net.Conn, error) {
	u, err := url.Parse(s.url)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.devices.XenTimeout.D())
	defer cancel()
	return connectTLS(ctx, u, s.check)
}

// call sends one JSON-RPC 2.0 request, once.
func (s *xenSession) call(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/jsonrpc", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := s.client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", answer.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, xenMaxAnswer))
	if err != nil {
		return nil, err
	}
	return parseXen(data)
}

// xenCode is the form of XAPI's error codes.
var xenCode = regexp.MustCompile(`\A[A-Z][A-Z0-9_]{2,79}\z`)

// parseXen reads an answer: a result, or XAPI's code as the error's message with
// the code's parameters as its data.
func parseXen(data []byte) (json.RawMessage, error) {
	var answer struct {
		ID     int             `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Message string   `json:"message"`
			Data    []string `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer.ID != 1 {
		return nil, errors.New("the answer is not JSON-RPC")
	}
	if e := answer.Error; e != nil {
		if !xenCode.MatchString(e.Message) {
			return nil, errors.New("the answer's error is none of XAPI's")
		}
		return nil, &xenError{e.Message, e.Data}
	}
	if len(answer.Result) == 0 {
		return nil, errors.New("the answer has no result")
	}
	return answer.Result, nil
}

// xenBefore is the meaning of an error before the command.
func xenBefore(what string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if m := xenMeaning(err); m == Refused {
		return refused("xenapi: %s: %w", what, err)
	}
	return notSent("xenapi: %s: %w", what, err)
}

// xenMeaning says what a call's error means for the call.
func xenMeaning(err error) Meaning {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Refused
	}
	code, ok := errors.AsType[*xenError](err)
	if !ok {
		return Unknown
	}
	switch code.code {
	case "OTHER_OPERATION_IN_PROGRESS", "TOO_MANY_PENDING_TASKS", "SESSION_INVALID", "HOST_STILL_BOOTING":
		return NotSent
	case "INTERNAL_ERROR", "TASK_CANCELLED", "VM_SHUTDOWN_TIMEOUT", "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT",
		"VM_CRASHED", "VM_REBOOTED", "VM_HALTED", // under way, the VM did something else
		"CANNOT_CONTACT_HOST", "OPERATION_PARTIALLY_FAILED": // the master lost the member that was doing it
		return Unknown
	default:
		return Refused
	}
}
