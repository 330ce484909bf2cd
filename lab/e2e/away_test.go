package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// soonEnough is for an answer that takes seconds, on a machine that has far too
// much to do: half of what it would take if nothing but a minute ended the question.
const soonEnough = 30 * time.Second

// unavailable asks each kind of question at once. All are answered by 503, soon.
func (s *site) unavailable(t *testing.T, why, read string, soon time.Duration) {
	t.Helper()
	const jobs = "/api/v1/workers/ms1-10/group/mdc1/jobs"
	who := tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}
	type result struct {
		answer
		err  error
		took time.Duration
	}
	results := map[string]*result{}
	var all sync.WaitGroup
	for what, r := range map[string]struct{ method, path string }{
		"start":     {http.MethodPost, jobs + "?task_name=reboot"},
		"show":      {http.MethodGet, jobs + "/" + read},
		"wait":      {http.MethodGet, jobs + "/" + read + "?wait=50"},
		"cancel":    {http.MethodDelete, jobs + "/" + read},
		"list":      {http.MethodGet, jobs},
		"machines":  {http.MethodGet, "/api/v1/workers"},
		"heartbeat": {http.MethodGet, "/__heartbeat__"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), r.method, s.APIURL+r.path, http.NoBody)
		require.NoError(t, err)
		require.NoError(t, who.SignRequest(request))
		got := &result{}
		results[what] = got
		all.Go(func() {
			began := time.Now()
			got.answer, got.err = try(&http.Client{Timeout: 2 * time.Minute}, request)
			got.took = time.Since(began)
		})
	}
	all.Wait()
	for what, got := range results {
		require.NoError(t, got.err, "%s, %s", why, what)
		require.Equal(t, http.StatusServiceUnavailable, got.Status, "%s, %s: %s", why, what, got.Raw)
		require.NotEmpty(t, got.Header.Get("Retry-After"), "%s, %s", why, what)
		require.Less(t, got.took, soon, "%s, %s", why, what)
	}
}

// rebooted posts until there is an answer other than 503, and waits for the job.
func (s *site) rebooted(t *testing.T, m *lab.Machine) {
	t.Helper()
	var job starter.Job
	require.Eventually(t, func() bool {
		a := s.post(t, "reboot", m.Spec().WorkerID, m.Spec().WorkerGroup)
		if a.Status != http.StatusCreated {
			return false
		}
		job = starter.Job{WorkflowID: workflows.MachineID(name(m)), TaskID: a.Body["task_id"].(string)}
		return true
	}, enough, 500*time.Millisecond)
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome, pretty(r))
}

// Promise 11: whatever it is asked, the API says soon that Temporal does not answer,
// and at once that nobody listens there.
func TestTemporalIsAway(t *testing.T) {
	t.Parallel()
	front := &stack.Frontend{}
	s := newSiteOn(t, stack.Options{Production: production, Frontend: front, Env: map[string]string{"START_TIMEOUT": "5s"}}, nil,
		lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	m := s.lab.Machine("ms1-10")
	read := s.post(t, "ping", "ms1-10", "mdc1")
	require.Equal(t, http.StatusCreated, read.Status, "%s", read.Raw)
	id := read.Body["task_id"].(string)
	front.Slow(time.Minute)
	s.unavailable(t, "slow", id, soonEnough)
	front.Slow(0)
	require.NoError(t, front.Silence())
	s.unavailable(t, "silent", id, soonEnough)
	require.NoError(t, front.Mend())
	s.rebooted(t, m)

	s.API.Stop()
	s.Env["START_TIMEOUT"] = "60s" // so that it is not this that ends the questions
	require.NoError(t, s.StartAPI(t.Context()))
	s.rebooted(t, m)
	front.Cut()
	s.unavailable(t, "refused", id, soonEnough)
	require.NoError(t, front.Mend())
	s.rebooted(t, m)
}
