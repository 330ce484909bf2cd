package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcauth"
)

const token = "no-secret-of-anyone"

func newAuth(t *testing.T) (*Auth, string) {
	t.Helper()
	a := NewAuth(Client{ID: "sheriff/one", AccessToken: token, Scopes: []string{"project:releng:roller:ping", "hooks:*"}})
	root, err := a.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a, root
}

func TestAuthAnswersThePingOfTheRealClient(t *testing.T) {
	t.Parallel()
	a, root := newAuth(t)
	require.NoError(t, tcauth.New(nil, root).Ping())
	require.Equal(t, 1, a.Pinged())
	require.Zero(t, a.Asked())
}

// signed is the Authorization header that Taskcluster's own client makes.
func signed(t *testing.T, c tcclient.Credentials, method, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	require.NoError(t, c.SignRequest(r))
	return r.Header.Get("Authorization")
}

func post(t *testing.T, url string, question any) (int, string) {
	t.Helper()
	body, err := json.Marshal(question)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

// The two worked examples of the Hawk README ("Protocol Example" and "Payload
// Validation").
func TestHawkMACKnownVectors(t *testing.T) {
	t.Parallel()
	const key = "werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn"
	for name, tc := range map[string]struct{ method, hash, mac string }{
		"header only":  {"get", "", "6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE="},
		"with payload": {"post", "Yi9LfIIFRtBEPt74PVmbTF/xVAwPn7ub15ePICfgnuY=", "aSe1DERmZuRl3pI36/9BdZmnErTw3sNzOOAUlfeKjVw="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question{Method: &tc.method, Resource: new("/resource/1?b=1&a=2"), Host: new("example.com"), Port: new(8000)}
			fields := map[string]string{"ts": "1353832234", "nonce": "j4h3g2", "ext": "some-app-ext-data", "hash": tc.hash}
			require.Equal(t, tc.mac, hawkMAC(key, q, fields))
		})
	}
}

// What Taskcluster's own client signs is accepted by the stand-in, and what the
// stand-in answers is understood by that client.
func TestAuthAcceptsTheRealClient(t *testing.T) {
	t.Parallel()
	all := []string{"assume:anonymous", "project:releng:roller:ping", "hooks:*"}
	for name, tc := range map[string]struct {
		url, resource, host string
		port                int64
		authorized, scopes  []string
	}{
		"default port of https": {url: "https://roller.example/api?task_name=ping", resource: "/api?task_name=ping", host: "roller.example", port: 443, scopes: all},
		"default port of http":  {url: "http://roller.example/api", resource: "/api", host: "roller.example", port: 80, scopes: all},
		"own port":              {url: "http://localhost:8000/api?b=1&a=%2F", resource: "/api?b=1&a=%2F", host: "localhost", port: 8000, scopes: all},
		"fewer scopes": {
			url: "https://roller.example/", resource: "/", host: "roller.example", port: 443,
			authorized: []string{"hooks:list-hooks:x"}, scopes: []string{"assume:anonymous", "hooks:list-hooks:x"},
		},
		"no scopes": {
			url: "https://roller.example/", resource: "/", host: "roller.example", port: 443,
			authorized: []string{}, scopes: []string{"assume:anonymous"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, root := newAuth(t)
			credentials := tcclient.Credentials{ClientID: "sheriff/one", AccessToken: token, AuthorizedScopes: tc.authorized}
			raw, err := tcauth.New(nil, root).AuthenticateHawk(&tcauth.HawkSignatureAuthenticationRequest{
				Method: "post", Resource: tc.resource, Host: tc.host, Port: tc.port, SourceIP: "127.0.0.1",
				Authorization: signed(t, credentials, http.MethodPost, tc.url),
			})
			require.NoError(t, err)
			var answer tcauth.AuthenticationSuccessfulResponse
			require.NoError(t, json.Unmarshal(*raw, &answer))
			require.Equal(t, "auth-success", answer.Status)
			require.Equal(t, "hawk", answer.Scheme)
			require.Equal(t, "sheriff/one", answer.ClientID)
			require.Equal(t, tc.scopes, answer.Scopes)
			require.True(t, time.Time(answer.Expires).After(time.Now()))
		})
	}
}

func TestAuthRefuses(t *testing.T) {
	t.Parallel()
	const url = "https://roller.example/api?task_name=ping"
	good := tcclient.Credentials{ClientID: "sheriff/one", AccessToken: token}
	for name, tc := range map[string]struct {
		header  func(t *testing.T) string
		clock   time.Duration // of the service, against the client's
		message string
	}{
		"another token": {
			header: func(t *testing.T) string {
				return signed(t, tcclient.Credentials{ClientID: "sheriff/one", AccessToken: "other"}, http.MethodPost, url)
			}, message: "Unauthorized: Bad mac",
		},
		"another resource": {header: func(t *testing.T) string { return signed(t, good, http.MethodPost, url+"&x=1") }, message: "Unauthorized: Bad mac"},
		"another method":   {header: func(t *testing.T) string { return signed(t, good, http.MethodGet, url) }, message: "Unauthorized: Bad mac"},
		"another host": {header: func(t *testing.T) string {
			return signed(t, good, http.MethodPost, strings.Replace(url, "roller", "other", 1))
		}, message: "Unauthorized: Bad mac"},
		"another port": {header: func(t *testing.T) string {
			return signed(t, good, http.MethodPost, strings.Replace(url, "https", "http", 1))
		}, message: "Unauthorized: Bad mac"},
		"added hash":      {header: func(t *testing.T) string { return signed(t, good, http.MethodPost, url) + `, hash="AA=="` }, message: "Unauthorized: Bad mac"},
		"from the past":   {header: func(t *testing.T) string { return signed(t, good, http.MethodPost, url) }, clock: 16 * time.Minute, message: "Unauthorized: Stale timestamp"},
		"from the future": {header: func(t *testing.T) string { return signed(t, good, http.MethodPost, url) }, clock: -16 * time.Minute, message: "Unauthorized: Stale timestamp"},
		"unknown client": {
			header: func(t *testing.T) string {
				return signed(t, tcclient.Credentials{ClientID: "nobody", AccessToken: token}, http.MethodPost, url)
			}, message: "Client with clientId 'nobody' not found",
		},
		"more scopes than held": {
			header: func(t *testing.T) string {
				return signed(t, tcclient.Credentials{ClientID: "sheriff/one", AccessToken: token, AuthorizedScopes: []string{"project:releng:roller:reboot"}}, http.MethodPost, url)
			}, message: "Supplied credentials do not satisfy authorizedScopes; credentials have scopes:\n\n```\nassume:anonymous\nproject:releng:roller:ping\nhooks:*\n```\n\nauthorizedScopes are:\n\n```\nproject:releng:roller:reboot\n```",
		},
		"ext is no JSON":    {header: literal(`Hawk id="sheriff/one", ts="1", nonce="n", mac="m", ext="!"`), message: "Failed to parse ext"},
		"no attributes":     {header: literal(`Hawk`), message: "Bad Request: Invalid header syntax"},
		"another scheme":    {header: literal(`Basic YTpi`), message: "Unauthorized: Unauthorized"},
		"missing attribute": {header: literal(`Hawk id="sheriff/one", ts="1", mac="m"`), message: "Bad Request: Missing attributes"},
		"unknown attribute": {header: literal(`Hawk id="sheriff/one", x="1"`), message: "Bad Request: Unknown attribute: x"},
		"twice":             {header: literal(`Hawk id="sheriff/one", id="b"`), message: "Bad Request: Duplicate attribute: id"},
		"unquoted":          {header: literal(`Hawk id=sheriff`), message: "Bad Request: Bad header format"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, root := newAuth(t)
			a.Now = func() time.Time { return time.Now().Add(tc.clock) }
			status, body := post(t, root+authPath, map[string]any{
				"method": "post", "resource": "/api?task_name=ping", "host": "roller.example", "port": 443, "authorization": tc.header(t),
			})
			require.Equal(t, http.StatusOK, status)
			answer, err := json.Marshal(map[string]string{"status": "auth-failed", "message": tc.message})
			require.NoError(t, err)
			require.JSONEq(t, string(answer), body)
		})
	}
}

func literal(header string) func(*testing.T) string {
	return func(*testing.T) string { return header }
}

func TestAuthWithinTheSkew(t *testing.T) {
	t.Parallel()
	a, root := newAuth(t)
	a.Now = func() time.Time { return time.Now().Add(14 * time.Minute) }
	header := signed(t, tcclient.Credentials{ClientID: "sheriff/one", AccessToken: token}, http.MethodPost, "http://localhost:8000/")
	_, body := post(t, root+authPath, map[string]any{"method": "post", "resource": "/", "host": "localhost", "port": 8000, "authorization": header})
	require.Contains(t, body, `"auth-success"`)
}

func TestAuthWithoutHeaderIsNoLogin(t *testing.T) {
	t.Parallel()
	_, root := newAuth(t)
	status, body := post(t, root+authPath, map[string]any{"method": "post", "resource": "/", "host": "localhost", "port": 8000})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"status":"no-auth"`)
	require.NotContains(t, body, "clientId")
}

// A question that the schema refuses comes back with all it held.
func TestAuthRefusesMalformedQuestions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		field string
		value any
	}{
		"upper-case method": {"method", "POST"},
		"no resource":       {"resource", nil},
		"underscore":        {"host", "a_b.example"},
		"IPv6 host":         {"host", "::1"},
		"port as text":      {"port", "443"},
		"port too high":     {"port", 65536},
		"zone":              {"sourceIp", "fe80::1%eth0"},
		"unknown field":     {"payload", "x"},
		"unknown method":    {"method", "dance"},
		"a source of words": {"sourceIp", "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, root := newAuth(t)
			question := map[string]any{"method": "post", "resource": "/", "host": "localhost", "port": 8000, "authorization": "Hawk mark"}
			question[tc.field] = tc.value
			status, body := post(t, root+authPath, question)
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, body, `"code":"InputValidationError"`)
			require.Contains(t, body, "Hawk mark")
			require.Equal(t, 1, a.Asked())
			require.Len(t, a.Mistakes(), 1)
		})
	}
}

func TestAuthFaults(t *testing.T) {
	t.Parallel()
	for fault, status := range map[AuthFault]int{AuthUnavailable: http.StatusInternalServerError, AuthGarbage: http.StatusOK} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			a, root := newAuth(t)
			a.SetFault(fault)
			got, body := post(t, root+authPath, map[string]any{"authorization": "Hawk mark"})
			require.Equal(t, status, got)
			require.Contains(t, body, "Hawk mark")
			require.NotContains(t, body, "auth-success")
		})
	}
}

func TestAuthSlowEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	a := NewAuth()
	a.SetFault(AuthSlow)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, authPath, strings.NewReader("{}")))
	require.Zero(t, w.Body.Len())
	require.Equal(t, 1, a.Asked())
}

func TestAuthHasNoOtherCall(t *testing.T) {
	t.Parallel()
	a, root := newAuth(t)
	status, body := post(t, root+"/api/auth/v1/clients", nil)
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, body, "ResourceNotFound")
	require.Zero(t, a.Asked())
}
