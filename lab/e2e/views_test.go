package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
)

// A job over HTTP, from its start to its end, and its cancellation.
func TestJobsOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,ipmi_reset"},
		lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}},
		lab.Spec{WorkerID: "ms1-11", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: time.Minute}})
	me := tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}
	pinger := tcclient.Credentials{ClientID: "pinger", AccessToken: accessToken}
	const jobs = "/api/v1/workers/ms1-10/group/mdc1/jobs"
	id := s.post(t, "reboot", "ms1-10", "mdc1").Body["task_id"].(string)

	// Waits answer at each change, long before they are over.
	var seen []any
	require.Eventually(t, func() bool {
		a := s.ask(t, me, http.MethodGet, jobs+"/"+id+"?wait=25s")
		require.Equal(t, http.StatusOK, a.Status, a.Raw)
		if attempts := a.Body["attempts"].([]any); len(attempts) > len(seen) {
			seen = attempts
			require.Equal(t, true, a.Body["live"])
		}
		return a.Body["state"] == "completed"
	}, enough, time.Millisecond)
	a := s.ask(t, pinger, http.MethodGet, jobs+"/"+id)
	require.Equal(t, "back", a.Body["outcome"], a.Raw)
	require.Equal(t, sheriff, a.Body["client_id"])
	attempts := a.Body["attempts"].([]any)
	require.Len(t, attempts, 2)
	require.Equal(t, "ssh_reboot", attempts[0].(map[string]any)["rung"])
	require.Equal(t, "no_effect", attempts[0].(map[string]any)["outcome"])
	require.NotEmpty(t, attempts[0].(map[string]any)["why"])
	require.Equal(t, "back", attempts[1].(map[string]any)["outcome"])

	require.Eventually(t, func() bool {
		a = s.ask(t, pinger, http.MethodGet, jobs+"?outcome=back&task_name=reboot")
		require.Equal(t, http.StatusOK, a.Status, a.Raw)
		return len(a.Body["jobs"].([]any)) == 1
	}, enough, 100*time.Millisecond)
	require.Equal(t, id, a.Body["jobs"].([]any)[0].(map[string]any)["task_id"])
	a = s.ask(t, pinger, http.MethodGet, "/api/v1/workers?limit=1")
	require.Equal(t, http.StatusOK, a.Status, a.Raw)
	require.Equal(t, id, a.Body["workers"].([]any)[0].(map[string]any)["last_job"].(map[string]any)["task_id"])
	require.NotEmpty(t, a.Body["continuationToken"])

	// Only who may start a reboot may end it.
	slow := s.post(t, "reboot", "ms1-11", "mdc1").Body["task_id"].(string)
	path := "/api/v1/workers/ms1-11/group/mdc1/jobs/" + slow
	require.Equal(t, http.StatusForbidden, s.ask(t, pinger, http.MethodDelete, path).Status)
	// A wait that is over is no failure, though its end comes while Temporal is asked.
	var waits sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		waits.Go(func() { answers[i] = s.ask(t, me, http.MethodGet, path+"?wait=1s") })
	}
	waits.Wait()
	for _, a := range answers {
		require.Equal(t, http.StatusOK, a.Status, a.Raw)
	}
	a = s.ask(t, me, http.MethodDelete, path)
	require.Equal(t, http.StatusAccepted, a.Status, a.Raw)
	require.Eventually(t, func() bool {
		return s.ask(t, me, http.MethodGet, path+"?wait=25s").Body["outcome"] == "cancelled"
	}, enough, time.Millisecond)
	a = s.ask(t, me, http.MethodDelete, path)
	require.Equal(t, http.StatusConflict, a.Status, a.Raw)
}
