package api

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

const resetPath = "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset"

// clock is a time that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// slowly are budgets of which the test moves the clock.
func slowly(client, total config.Limit) (*limits, *clock) {
	l, c := newLimits(client, total), &clock{now: time.Unix(1_800_000_000, 0)}
	l.now = c.read
	return l, c
}

// withLimits gives the API budgets that only the test's clock fills again.
func withLimits(client, total config.Limit) (setup, *clock) {
	l, c := slowly(client, total)
	return withServer(func(s *server) { s.limits = l }), c
}

var twoAnHour = config.Limit{Jobs: 2, Per: time.Hour}

func TestLimitsOfOneClient(t *testing.T) {
	t.Parallel()
	limited, clock := withLimits(twoAnHour, config.Limit{})
	h := newHarness(t, limited)
	status := func() answer { return h.do(h.request(resetPath, sheriff)) }
	require.Equal(t, http.StatusCreated, status().status)
	require.Equal(t, http.StatusCreated, status().status)

	a := status()
	require.Equal(t, http.StatusTooManyRequests, a.status, a.body)
	require.Equal(t, "1800", a.header.Get("Retry-After"), "one of two an hour")
	asked := h.starter.requests()
	require.True(t, asked[len(asked)-1].NoStart)
	require.False(t, asked[0].NoStart)

	require.Equal(t, http.StatusCreated, h.do(h.request(pingPath, sheriff)).status, "a read switches nothing")
	asked = h.starter.requests()
	require.False(t, asked[len(asked)-1].NoStart)

	clock.move(30 * time.Minute)
	require.Equal(t, http.StatusCreated, status().status)
	asked = h.starter.requests()
	require.False(t, asked[len(asked)-1].NoStart)
}

// What starts nothing costs nothing and is answered whatever the budget is.
func TestLimitsAreOnlyOfStarts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		job    starter.Job
		err    error
		costs  bool
		status int
	}{
		"started":    {starter.Job{TaskID: taskID}, nil, true, http.StatusCreated},
		"joined":     {starter.Job{TaskID: taskID, Joined: true}, nil, false, http.StatusCreated},
		"repeated":   {starter.Job{TaskID: taskID, Repeated: true}, nil, false, http.StatusCreated},
		"conflict":   {starter.Job{}, &starter.Conflict{}, false, http.StatusConflict},
		"reused key": {starter.Job{}, &starter.Reused{}, false, http.StatusConflict},
		"crowded":    {starter.Job{}, starter.ErrCrowded, false, http.StatusTooManyRequests},
		"unknown":    {starter.Job{}, starter.ErrUnavailable, true, http.StatusServiceUnavailable},
		"mistake":    {starter.Job{}, errors.New("x"), true, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limited, _ := withLimits(config.Limit{Jobs: 1, Per: time.Hour}, config.Limit{})
			h := newHarness(t, limited)
			h.starter.job = tc.job
			h.starter.fail(tc.err)
			require.Equal(t, tc.status, h.do(h.request(resetPath, sheriff)).status)
			if again := h.do(h.request(resetPath, sheriff)).status; name != "started" {
				require.Equal(t, tc.status, again)
			}
			asked := h.starter.requests()
			require.False(t, asked[0].NoStart)
			require.Equal(t, tc.costs, asked[1].NoStart)
		})
	}
}

func TestLimitOfAllClients(t *testing.T) {
	t.Parallel()
	l, _ := slowly(config.Limit{}, twoAnHour)
	for _, client := range []string{"a", "b"} {
		wait, settle := l.take(client)
		require.Zero(t, wait)
		settle(true)
	}
	wait, _ := l.take("c")
	require.InDelta(t, 30*time.Minute, wait, float64(time.Second))
}

// Requests that are under way hold what they may need: of many at once no more
// pass than may start.
func TestLimitsHoldAtOnce(t *testing.T) {
	t.Parallel()
	l, _ := slowly(config.Limit{Jobs: 5, Per: time.Hour}, config.Limit{Jobs: 7, Per: time.Hour})
	var passed [2]int
	var settles []func(bool)
	for i := range 20 {
		wait, settle := l.take([]string{"a", "b"}[i%2])
		if wait == 0 {
			passed[i%2]++
			settles = append(settles, settle)
		}
	}
	require.Equal(t, [2]int{4, 3}, passed, "seven in all, in turn")
	for _, settle := range settles {
		settle(false)
	}
	for range 5 {
		wait, settle := l.take("a")
		require.Zero(t, wait, "what did not start is given back")
		settle(true)
	}
	wait, _ := l.take("a")
	require.NotZero(t, wait)
}

// A client can take as many names as it likes: what is kept of them is bounded by
// the jobs that may be started.
func TestLimitsForgetClients(t *testing.T) {
	t.Parallel()
	l, clock := slowly(twoAnHour, config.Limit{Jobs: 10, Per: time.Hour})
	most := 0
	for i := range 20_000 {
		if wait, settle := l.take(fmt.Sprint(i)); wait == 0 {
			settle(true)
		}
		clock.move(time.Second)
		most = max(most, len(l.clients))
	}
	require.LessOrEqual(t, most, leastSweep)
}

func TestNoLimit(t *testing.T) {
	t.Parallel()
	l, _ := slowly(config.Limit{}, config.Limit{})
	for range 1000 {
		wait, settle := l.take("a")
		require.Zero(t, wait)
		settle(true)
	}
}

func TestRetryAfterIsNeverEarly(t *testing.T) {
	t.Parallel()
	for again, want := range map[time.Duration]string{0: retryAfter, time.Millisecond: "1", 1500 * time.Millisecond: "2", time.Minute: "60"} {
		require.Equal(t, want, (&failure{again: again}).retryAfter())
	}
}
