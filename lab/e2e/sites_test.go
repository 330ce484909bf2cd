package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Machines of a site are acted on by its own workers only. A site that has none
// says so and waits, and hurts no other; when one comes its job goes on.
func TestSites(t *testing.T) {
	t.Parallel()
	port, err := stack.Port(0)
	require.NoError(t, err)
	metrics := fmt.Sprintf("127.0.0.1:%d", port)
	s := newSite(t, map[string]string{"SITES": "one=mdc1;two=mdc2"},
		lab.Spec{WorkerID: "here", WorkerGroup: "mdc1"}, lab.Spec{WorkerID: "there", WorkerGroup: "mdc2"}, lab.Spec{WorkerID: "anywhere", WorkerGroup: "mdc3"})
	s.API.Stop()
	s.Env["METRICS_ADDR"] = metrics
	require.NoError(t, s.StartAPI(t.Context()))
	delete(s.Env, "METRICS_ADDR")
	one, err := s.RunWorker("worker-one", "one")
	require.NoError(t, err)
	t.Cleanup(one.Stop)

	deserted := s.job(t, "reboot", s.lab.Machine("there"))
	for _, id := range []string{"here", "anywhere"} {
		r, _ := s.end(t, s.job(t, "reboot", s.lab.Machine(id)))
		require.Equal(t, workflows.Back, r.Outcome, id)
	}
	s.until(t, deserted, "it says that nobody works for its site", func(r workflows.Result) bool { return r.Site == "two" })
	v, err := s.door.Show(t.Context(), deserted.WorkflowID, deserted.TaskID)
	require.NoError(t, err)
	require.Equal(t, "waiting for a worker of site two: none is there (roller worker --site two)", v.Result.Now)
	require.Contains(t, v.Result.Markdown(), "task queue `roller.two`")
	a := s.ask(t, tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}, http.MethodGet, "/api/v1/workers/there/group/mdc2/jobs/"+deserted.TaskID)
	require.Equal(t, http.StatusOK, a.Status)
	require.Contains(t, a.Raw, "waiting for a worker of site two")
	scraped := scrape(t, metrics)
	require.Contains(t, scraped, `roller_site_workers{site="one"} 1`)
	require.Contains(t, scraped, `roller_site_workers{site="two"} 0`)
	require.Empty(t, s.executed(s.lab.Machine("there")), "nobody else acted on it")

	two, err := s.RunWorker("worker-two", "two")
	require.NoError(t, err)
	t.Cleanup(two.Stop)
	r, _ := s.end(t, deserted)
	require.Equal(t, workflows.Back, r.Outcome)
	require.Equal(t, "two", r.Site)

	wrong, err := s.RunWorker("worker-wrong", "three")
	require.NoError(t, err)
	<-wrong.Ended()
	require.Contains(t, wrong.Tail(), `--site: site "three": is none of SITES (one, two)`)
}
