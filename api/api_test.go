package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

func requireMessage(t *testing.T, part string, a answer) {
	t.Helper()
	var body struct{ Message, Detail string }
	require.NoError(t, json.Unmarshal([]byte(a.body), &body))
	require.Contains(t, body.Message, part)
	require.Equal(t, body.Message, body.Detail)
}

func TestManagedHostsBindAllButPing(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withConfig(func(c *config.Config) { c.API.WorkerIDs = `ms\d+-\d+` }))
	for path, status := range map[string]int{
		"/api/v1/workers/other/jobs?task_name=ping":        http.StatusCreated,
		"/api/v1/workers/MS1-10/jobs?task_name=ipmi_reset": http.StatusCreated,
		"/api/v1/workers/other/jobs?task_name=ipmi_reset":  http.StatusNotFound,
	} {
		require.Equal(t, status, h.do(h.request(path, sheriff)).status, path)
	}
}

func TestInventoryKnowsTheMachine(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withInventory())
	for _, path := range []string{
		"/api/v1/workers/MS1-10/group/MDC1/jobs?task_name=ping", "/api/v1/workers/ms1-10/jobs?task_name=ping",
	} {
		a := h.do(h.request(path, sheriff))
		require.Equal(t, http.StatusCreated, a.status, a.body)
	}
}

func TestAllowedHosts(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, host := range []string{"roller.test", "ROLLER.test:8000", "roller.test.", "localhost:1", "[::1]:8000", "[::1]"} {
		r := h.request(pingPath, sheriff)
		r.Host = host
		require.Equal(t, http.StatusCreated, h.do(r).status, host)
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, path := range []string{pingPath, "/api/v1/workers/ms1-10/jobs"} {
		r := h.request(path, sheriff)
		r.Method = http.MethodOptions
		r.Header.Del("Authorization")
		a := h.do(r)
		require.Equal(t, http.StatusOK, a.status)
		require.Equal(t, "{}", a.body)
	}
	require.Zero(t, h.auth.Asked())
}

// A request that is no login by itself is not worth a question.
func TestNoQuestionWithoutHawk(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, value := range []string{"", "Bearer eyJhY2Nlc3NUb2tlbiI6InNlY3JldCJ9", "bearer eyJhY2Nlc3NUb2tlbiI6InNlY3JldCJ9", "Basic eDp5"} {
		r := h.request(pingPath, sheriff)
		r.Header.Set("Authorization", value)
		a := h.do(r)
		require.Equal(t, http.StatusUnauthorized, a.status)
		require.Equal(t, "hawk", a.header.Get("WWW-Authenticate"))
	}
	require.Zero(t, h.auth.Asked())
}

// A browser that leaves does not leave a start half done.
func TestStartOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	f := &fakeStarter{job: starter.Job{TaskID: taskID}}
	handler, err := New(testConfig("http://127.0.0.1:1"), Deps{Starter: f, Authenticator: authFunc(func(context.Context, Question) (Verdict, error) {
		leave()
		return Verdict{ClientID: "x", Scopes: []string{"*"}}, nil
	})})
	require.NoError(t, err)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, pingPath, nil)
	r.Host = "localhost"
	r.Header.Set("Authorization", "Hawk x")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
}

func TestPanicTextIsNotLogged(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withServer(func(s *server) {
		s.Authenticator = authFunc(func(_ context.Context, q Question) (Verdict, error) { panic(q.Authorization.Reveal()) })
	}))
	a := h.do(h.request(pingPath, sheriff)) // do looks for the header in the log
	require.Equal(t, http.StatusInternalServerError, a.status)
	require.Contains(t, h.logs.String(), `"msg":"panic"`)
	require.Contains(t, h.logs.String(), "api_test.go")
}

func TestAbortedHandlerDropsTheConnection(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withServer(func(s *server) {
		s.Authenticator = authFunc(func(context.Context, Question) (Verdict, error) { panic(http.ErrAbortHandler) })
	}))
	response, err := h.client.Do(h.request(pingPath, sheriff))
	if err == nil {
		require.NoError(t, response.Body.Close())
	}
	require.ErrorIs(t, err, io.EOF)
}
