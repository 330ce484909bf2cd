package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// maxAnswer bounds the answer to one authentication question, in bytes: the
// expanded scopes of an administrator of a large deployment take some 100 KiB.
const maxAnswer = 4 << 20

// bounded is the HTTP client under Taskcluster's, whose errors and log lines
// quote whatever it is given: answers and errors are stripped here of all that
// could repeat a question, and with it the Authorization value.
type bounded struct{ client *http.Client }

// kept is how many idle connections are kept: net/http's default is two, and each
// further request at the same time would begin with a handshake.
const kept = 100

func newBounded(timeout time.Duration) bounded {
	return bounded{&http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: kept, ForceAttemptHTTP2: true},
	}}
}

// Do implements tcclient.ReducedHTTPClient. An answer other than 200 comes back
// without headers and body.
func (b bounded) Do(r *http.Request) (*http.Response, error) {
	answer, err := b.client.Do(r) //nolint:gosec // the address is TASKCLUSTER_ROOT_URL's
	if err != nil {
		return nil, lost(err)
	}
	defer answer.Body.Close()
	var body []byte
	if answer.StatusCode == http.StatusOK {
		if body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer)); err != nil {
			return nil, lost(err)
		}
	}
	return &http.Response{
		StatusCode: answer.StatusCode, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// lostAnswer is why there was no HTTP answer. It quotes only errors of the
// connection itself.
type lostAnswer struct{ text string }

// Error implements error.
func (l *lostAnswer) Error() string { return l.text }

func lost(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return &lostAnswer{e.Error()}
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &lostAnswer{fmt.Sprintf("its certificate is not trusted: %v", e.Err)}
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return &lostAnswer{"no answer in time"}
	}
	return &lostAnswer{"no valid HTTP answer"}
}
