package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

// probe asks as a load balancer does: by address, unsigned.
func (h *harness) probe(path string) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, public+path, nil)
	require.NoError(h.t, err)
	r.Host = "10.0.0.1"
	return h.do(r)
}

// withHealth lets Temporal be asked by f, and the test move the time.
func withHealth(f func(context.Context) error) (setup, *clock) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	return withServer(func(s *server) {
		s.Health = f
		s.checks = checks(s.Deps)
		for _, k := range s.checks {
			k.now = c.read
		}
	}), c
}

func TestProbes(t *testing.T) {
	t.Parallel()
	var sick atomic.Bool
	health, clock := withHealth(func(context.Context) error {
		if sick.Load() {
			return errors.New("a backend's own text")
		}
		return nil
	})
	h := newHarness(t, health, withServer(func(s *server) { s.Version = "v1.2.3" }))
	require.Equal(t, http.StatusOK, h.probe(lbHeartbeatPath).status)
	require.Equal(t, http.StatusOK, h.probe(heartbeatPath).status)
	version := h.probe(versionPath)
	require.Equal(t, http.StatusOK, version.status)
	require.Contains(t, version.body, `"source":"https://github.com/mozilla-platform-ops/roller"`)
	require.Contains(t, version.body, `"version":"v1.2.3"`)

	for name, tc := range map[string]struct {
		temporal bool
		auth     lab.AuthFault
		want     string
		logged   string
	}{
		"temporal": {true, lab.AuthWorks, "for want of temporal", "a backend's own text"},
		"auth":     {false, lab.AuthUnavailable, "for want of the authentication service", "it answered 500"},
		"both":     {true, lab.AuthUnavailable, "for want of the authentication service and temporal", "a backend's own text"},
	} {
		clock.move(healthKept)
		sick.Store(tc.temporal)
		h.auth.SetFault(tc.auth)
		require.Equal(t, http.StatusOK, h.probe(lbHeartbeatPath).status, name)
		a := h.probe(heartbeatPath)
		require.Equal(t, http.StatusServiceUnavailable, a.status, name)
		require.Equal(t, retryAfter, a.header.Get("Retry-After"))
		require.NotContains(t, a.body, "backend")
		require.Contains(t, h.line()["err"], tc.logged)
		requireMessage(t, tc.want, a)
	}

	clock.move(healthKept)
	sick.Store(false)
	h.auth.SetFault(lab.AuthWorks)
	require.Equal(t, http.StatusOK, h.probe(heartbeatPath).status)
}

// However many ask, the services behind are asked once in a while.
func TestHeartbeatsAreKept(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	health, clock := withHealth(func(context.Context) error { asked.Add(1); return nil })
	h := newHarness(t, health)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { h.probe(heartbeatPath) })
	}
	all.Wait()
	require.Equal(t, 1, h.auth.Pinged())
	require.EqualValues(t, 1, asked.Load())
	clock.move(healthKept - time.Millisecond)
	h.probe(heartbeatPath)
	require.Equal(t, 1, h.auth.Pinged())
	clock.move(time.Millisecond)
	h.probe(heartbeatPath)
	require.Equal(t, 2, h.auth.Pinged())
	require.Zero(t, h.auth.Asked(), "who asks for nothing needs no login")
}

// A service that does not answer is not waited for, and who leaves meanwhile
// spoils nobody else's answer.
func TestHeartbeatIsBounded(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	k := &check{now: time.Now, ask: func(ctx context.Context) error {
		leave()
		deadline, bounded := ctx.Deadline()
		require.True(t, bounded)
		require.LessOrEqual(t, time.Until(deadline), healthTimeout)
		return ctx.Err()
	}}
	require.NoError(t, k.result(ctx))
}
