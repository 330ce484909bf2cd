package api

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcauth"

	"github.com/mozilla-platform-ops/roller/config"
)

func TestReadVerdict(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		want   Verdict
		err    error
	}{
		"login":             {`{"status":"auth-success","scheme":"hawk","clientId":"a","scopes":["s"],"expires":"2001-01-01T00:00:00Z"}`, Verdict{ClientID: "a", Scopes: []string{"s"}}, nil},
		"without a client":  {`{"status":"auth-success","scopes":["*"]}`, Verdict{}, ErrAuthUnavailable},
		"anonymous":         {`{"status":"no-auth","scheme":"none","scopes":["*"],"clientId":"a"}`, Verdict{Refused: reason("")}, nil},
		"failed":            {`{"status":"auth-failed","message":"Unauthorized: Bad mac","clientId":"a","scopes":["*"]}`, Verdict{Refused: reason("Bad mac")}, nil},
		"unknown status":    {`{"status":"auth-maybe","clientId":"a","scopes":["*"]}`, Verdict{}, ErrAuthUnavailable},
		"another form":      {`["auth-success"]`, Verdict{}, ErrAuthUnavailable},
		"scopes as a text":  {`{"status":"auth-success","clientId":"a","scopes":"*"}`, Verdict{}, ErrAuthUnavailable},
		"nothing":           {`null`, Verdict{}, ErrAuthUnavailable},
		"client is expired": {`{"status":"auth-failed","message":"Client with clientId: 'x' has expired"}`, Verdict{Refused: "the Taskcluster client has expired"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readVerdict(tcauth.HawkSignatureAuthenticationResponse(tc.answer))
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, tc.want, got)
		})
	}
}

// The real messages of Taskcluster's auth service and of Hawk behind it.
func TestReasons(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"Unauthorized: Bad mac":                                   "the signature does not match",
		"Unauthorized: Stale timestamp":                           "more than 15 minutes off",
		"Bad Request: Header length too long":                     "longer than the 4096 characters",
		"Bad Request: Missing attributes":                         "not a complete Hawk signature",
		"Client with clientId 'x' not found":                      "no such Taskcluster client",
		"Client with clientId 'x' is disabled":                    "is disabled",
		"ext.certificate.expiry < now":                            "have expired",
		"ext.certificate.signature is not valid":                  "are not valid",
		"Supplied credentials do not satisfy authorizedScopes; x": "the scopes they are limited to",
	} {
		require.Contains(t, reason(message), want, message)
	}
}

// hawkAgainst asks a service that answers each question by the next handler,
// and the last one over and over.
func hawkAgainst(t *testing.T, timeout time.Duration, handlers ...http.HandlerFunc) (*Hawk, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(asked.Add(1)), len(handlers))-1](w, r)
	}))
	t.Cleanup(service.Close)
	return NewHawk(config.Taskcluster{RootURL: service.URL, Timeout: config.Duration(timeout)}), &asked
}

var aQuestion = Question{
	Method: "post", Resource: "/", Host: "roller.test", Port: 80, SourceIP: "127.0.0.1",
	Authorization: config.NewSecret(`Hawk id="mark-of-the-header"`),
}

func echo(status int, location string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.Header().Set("X-Echo", strings.ReplaceAll(body.String(), "\n", ""))
		w.WriteHeader(status)
		_, _ = w.Write(body.Bytes())
	}
}

func succeed(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte(`{"status":"auth-success","clientId":"a","scopes":["s"]}`))
}

func TestHawkAsksAgainAfterA500(t *testing.T) {
	t.Parallel()
	h, asked := hawkAgainst(t, 10*time.Second, echo(http.StatusInternalServerError, ""), succeed)
	v, err := h.Authenticate(t.Context(), aQuestion)
	require.NoError(t, err)
	require.Equal(t, Verdict{ClientID: "a", Scopes: []string{"s"}}, v)
	require.EqualValues(t, 2, asked.Load())
	// The client library has logged the answer that it got, less what it echoed.
	require.Contains(t, standardLog.String(), "HTTP response code 500")
	require.NotContains(t, standardLog.String(), "mark-of-the-header")
}

func TestHawkErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		message string
		down    bool // asking again may help
		again   bool // and the client does so, for as long as it has
	}{
		"refused question": {echo(http.StatusBadRequest, ""), "did not take the question: it answered 400", false, false},
		"forbidden":        {echo(http.StatusForbidden, ""), "did not take the question: it answered 403", false, false},
		"too many":         {echo(http.StatusTooManyRequests, ""), "it answered 429", true, false},
		"bad gateway":      {echo(http.StatusBadGateway, ""), "it answered 502", true, true},
		"redirect":         {echo(http.StatusTemporaryRedirect, "/other"), "something else than JSON", true, false},
		"echo":             {echo(http.StatusOK, ""), "its answer has another form", true, false},
		"not HTTP": {func(w http.ResponseWriter, r *http.Request) {
			var body bytes.Buffer
			_, _ = body.ReadFrom(r.Body)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = conn.Write(body.Bytes())
				_ = conn.Close()
			}
		}, "no valid HTTP answer", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if tc.again {
				timeout = 2 * time.Second
			}
			h, _ := hawkAgainst(t, timeout, tc.handler)
			_, err := h.Authenticate(t.Context(), aQuestion)
			require.ErrorContains(t, err, tc.message)
			require.Equal(t, tc.down, errors.Is(err, ErrAuthUnavailable))
			require.NotContains(t, err.Error(), "mark-of-the-header")
			require.NotContains(t, standardLog.String(), "mark-of-the-header")
		})
	}
}
