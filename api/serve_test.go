package api

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

// apiOf is an API whose every path is f.
func apiOf(t *testing.T, f http.HandlerFunc) *API {
	t.Helper()
	a, err := New(testConfig("http://127.0.0.1:1"), Deps{Starter: &fakeStarter{}})
	require.NoError(t, err)
	a.Handler = f
	return a
}

func TestServeFinishesRunningRequests(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	inside, done := make(chan struct{}), make(chan error, 1)
	handler := apiOf(t, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-ctx.Done() // the answer is written after Serve was told to stop
		if r.Context().Err() != nil {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	go func() { done <- Serve(ctx, testConfig(""), handler, listener) }()
	go func() { <-inside; stop() }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
	require.NoError(t, err)
	response, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, <-done)
}

// A job that was asked for before the order to stop is started and answered.
func TestServeStartsWhatItAccepted(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	f := &fakeStarter{job: starter.Job{TaskID: taskID}}
	cfg := testConfig("http://127.0.0.1:1")
	cfg.API.AllowedHosts = []string{"127.0.0.1"}
	handler, err := New(cfg, Deps{Starter: f, Authenticator: authFunc(func(r context.Context, _ Question) (Verdict, error) {
		stop()
		// Serve no longer listens when it has begun to stop.
		require.Eventually(t, func() bool {
			conn, err := (&net.Dialer{}).DialContext(r, "tcp", listener.Addr().String())
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		}, time.Minute, 10*time.Millisecond)
		return Verdict{ClientID: "x", Scopes: []string{"*"}}, r.Err()
	})})
	require.NoError(t, err)
	go func() { done <- Serve(ctx, cfg, handler, listener) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+listener.Addr().String()+resetPath, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Hawk x")
	response, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusCreated, response.StatusCode)
	require.Len(t, f.requests(), 1)
	require.NoError(t, <-done)
}

// Who waits for a job is answered when the process is told to stop.
func TestServeEndsWaits(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	f := &fakeStarter{view: climbing(), change: func(ctx context.Context, v starter.View) (starter.View, error) {
		stop()
		<-ctx.Done()
		return v, ctx.Err()
	}}
	cfg := testConfig("http://127.0.0.1:1")
	cfg.API.AllowedHosts = []string{"127.0.0.1"}
	handler, err := New(cfg, Deps{Starter: f, Authenticator: authFunc(func(context.Context, Question) (Verdict, error) {
		return Verdict{ClientID: "x", Scopes: []string{"*"}}, nil
	})})
	require.NoError(t, err)
	go func() { done <- Serve(ctx, cfg, handler, listener) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+jobPath+"?wait=50s", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Hawk x")
	response, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, <-done)
}

// A stop waits for as long as an answer may take, whatever the configuration allows it.
func TestStopWaitsForTheLongestAnswer(t *testing.T) {
	t.Parallel()
	cfg := testConfig("")
	cfg.Taskcluster.Timeout, cfg.API.StartTimeout = config.Duration(time.Minute), config.Duration(40*time.Second)
	require.Equal(t, time.Minute+40*time.Second+writeTimeout, longestAnswer(cfg))

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted, leave := make(chan struct{}), make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(accepted)
		<-leave
	})}
	served, asked := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	go func() {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+listener.Addr().String(), nil)
		if err == nil {
			var response *http.Response
			if response, err = http.DefaultTransport.RoundTrip(r); err == nil {
				err = response.Body.Close()
			}
		}
		asked <- err
	}()
	<-accepted
	require.ErrorIs(t, shutdown(t.Context(), server, time.Millisecond), context.DeadlineExceeded, "but no longer than that")
	close(leave)
	require.Error(t, <-asked)
	require.ErrorIs(t, <-served, http.ErrServerClosed)
}

func TestServeSaysThatThePortIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	cfg := testConfig("")
	cfg.API.Host, cfg.API.Port = "127.0.0.1", listener.Addr().(*net.TCPAddr).Port
	err = Serve(t.Context(), cfg, apiOf(t, http.NotFound), nil)
	require.ErrorContains(t, err, "api: listen tcp 127.0.0.1:")
}
