package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

var ms110 = config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}

// credentialed is an environment with the sheriff's credentials.
func credentialed() *config.Config {
	return &config.Config{Taskcluster: config.Taskcluster{ClientID: sheriff.ClientID, AccessToken: config.NewSecret(accessToken)}}
}

// ofHarness is a client of the harness's API.
func (h *harness) ofHarness(cfg *config.Config) *Client {
	h.t.Helper()
	c, err := NewClient(public, cfg)
	require.NoError(h.t, err)
	c.http = h.client
	return c
}

func TestClient(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withInventory())
	c := h.ofHarness(credentialed())
	job, err := c.Start(t.Context(), starter.Request{Task: "ipmi_reset", WorkerID: "MS1-10", WorkerGroup: "mdc1", Bulk: true})
	require.NoError(t, err)
	require.Equal(t, taskID, job.TaskID)
	asked := h.starter.requests()[0]
	require.True(t, asked.Bulk)
	require.Equal(t, sheriff.ClientID, asked.ClientID)
	require.Len(t, asked.Repeats, 2, "the key, and the signature")

	h.starter.view = climbing()
	seen, err := c.Job(t.Context(), ms110, taskID, Seen{}, 0)
	require.NoError(t, err)
	require.Equal(t, DetailOf(climbing()), seen.JobDetail)
	h.starter.change = func(context.Context, starter.View) (starter.View, error) { return ended(), nil }
	after, err := c.Job(t.Context(), ms110, taskID, seen, 5*time.Second)
	require.NoError(t, err)
	require.Equal(t, DetailOf(ended()), after.JobDetail)
	again, err := c.Job(t.Context(), ms110, taskID, after, 5*time.Second)
	require.NoError(t, err)
	require.Equal(t, after, again, "nothing is new (304)")

	h.starter.view = climbing()
	jobs, err := c.Jobs(t.Context(), ms110, workflows.Running, 7)
	require.NoError(t, err)
	require.Equal(t, []JobView{ViewOf(climbing())}, jobs)
	require.Equal(t, workflows.Running, h.starter.filters[0].Outcome)
	cancelled, err := c.Cancel(t.Context(), ms110, taskID)
	require.NoError(t, err)
	require.True(t, cancelled.Cancelling)
	require.Len(t, h.starter.cancelled, 1)
	workers, err := c.Workers(t.Context(), false)
	require.NoError(t, err)
	require.Len(t, workers, 1)
	require.Equal(t, taskID, workers[0].LastJob.TaskID)
}

func TestClientWithTemporaryCredentials(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	who := temporary(t, sheriff.ClientID+"/laptop", time.Hour, "project:releng:roller:ping")
	c := h.ofHarness(&config.Config{
		Taskcluster: config.Taskcluster{ClientID: who.ClientID, AccessToken: config.NewSecret(who.AccessToken)},
		Client:      config.Client{Certificate: config.NewSecret(who.Certificate)},
	})
	_, err := c.Start(t.Context(), starter.Request{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	require.NoError(t, err)
	require.Equal(t, who.ClientID, h.starter.requests()[0].ClientID)
}

func TestClientIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := h.ofHarness(credentialed())
	_, err := c.Start(t.Context(), starter.Request{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	refused, ok := errors.AsType[*Refusal](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, http.StatusForbidden, refused.Status)
	require.Equal(t, `client "mozilla-auth0/ad|sheriff" is missing the scope project:releng:roller:reboot (InsufficientScopes, 403)`, err.Error())

	h.starter.fail(starter.ErrCrowded)
	_, err = c.Start(t.Context(), starter.Request{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	refused, ok = errors.AsType[*Refusal](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, 10*time.Second, refused.After)
	require.Len(t, h.starter.requests(), 1, "who is refused does not insist")
}

// A start that got no answer of the API's is asked for again under the same key,
// which makes one job of all tries.
func TestClientAsksAgain(t *testing.T) {
	t.Parallel()
	keys := make(chan string, startTries)
	var tries atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get(keyHeader)
		switch tries.Add(1) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			http.Error(w, "<h1>bad gateway</h1>", http.StatusBadGateway)
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"ServiceUnavailable","message":"ask again"}`))
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"task_id":"` + taskID + `"}`))
		}
	}))
	t.Cleanup(server.Close)
	c, err := NewClient(server.URL, credentialed())
	require.NoError(t, err)
	t.Cleanup(c.http.CloseIdleConnections)
	job, err := c.Start(t.Context(), starter.Request{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	require.NoError(t, err)
	require.Equal(t, taskID, job.TaskID)
	first := <-keys
	require.NotEmpty(t, first)
	for range 3 {
		require.Equal(t, first, <-keys)
	}
}

// What is no answer of the API's says so, sends nothing elsewhere, and shows no
// credentials.
func TestClientGetsNoAnswer(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for name, handler := range map[string]http.HandlerFunc{
		"another server's error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
		"a page":                 func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<h1>hello</h1>")) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"nothing": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(handler)
			t.Cleanup(server.Close)
			c, err := NewClient(server.URL, credentialed())
			require.NoError(t, err)
			t.Cleanup(c.http.CloseIdleConnections)
			_, err = c.Cancel(t.Context(), ms110, taskID)
			require.ErrorIs(t, err, ErrNoAnswer)
			require.NotContains(t, err.Error(), accessToken)
			require.NotContains(t, err.Error(), "mac=")
			require.Zero(t, elsewhere.Load())
		})
	}
}

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	spoiled := credentialed()
	spoiled.Client.Certificate = config.NewSecret("{secret")
	for name, tc := range map[string]struct {
		address string
		cfg     *config.Config
		want    string
	}{
		"no URL":           {"roller.example", credentialed(), `the API's address "roller.example": must be an http or https URL with a host`},
		"no credentials":   {public, &config.Config{}, "TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN must be set: the API wants signed requests"},
		"bad certificate":  {public, spoiled, "TASKCLUSTER_CERTIFICATE must be the JSON of temporary credentials (the value is not shown)"},
		"an IPv6 address":  {"http://[::1]:8000", credentialed(), `the API's address "http://[::1]:8000": the authentication service checks no signature for a host with _ or an IPv6 address`},
		"another protocol": {"ftp://roller.example", credentialed(), `the API's address "ftp://roller.example": must be an http or https URL with a host`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewClient(tc.address, tc.cfg)
			require.EqualError(t, err, tc.want)
		})
	}
}
