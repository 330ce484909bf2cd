package e2e

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
)

// door is one way by which a person asks for the end of a job.
type door func(t *testing.T, s *site, m *lab.Machine, job starter.Job)

// doors are all of them.
var doors = map[string]door{
	"api": func(t *testing.T, s *site, m *lab.Machine, job starter.Job) {
		t.Helper()
		me := tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}
		a := s.ask(t, me, http.MethodDelete, "/api/v1/workers/"+m.Spec().WorkerID+"/group/"+m.Spec().WorkerGroup+"/jobs/"+job.TaskID)
		require.Equal(t, http.StatusAccepted, a.Status, a.Raw)
	},
	"roller": func(t *testing.T, s *site, _ *lab.Machine, job starter.Job) {
		t.Helper()
		out, status := s.roller(t, "cancel", job.WorkflowID, "--run", job.TaskID)
		require.Zero(t, status, out)
	},
	"tctl": func(t *testing.T, s *site, _ *lab.Machine, job starter.Job) {
		t.Helper()
		s.tctl(t, "workflow", "cancel", "--workflow_id", job.WorkflowID, "--run_id", job.TaskID)
	},
	"web-ui": func(t *testing.T, s *site, _ *lab.Machine, job starter.Job) {
		t.Helper()
		s.pressCancel(t, job)
	},
}

// tctl runs the tctl that is pinned in tools/tctl/go.mod.
func (s *site) tctl(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(temporalBinary(t)), "tctl")
	require.FileExists(t, path, "run `make test`, which builds tctl first")
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--address", s.Address, "--namespace", s.Namespace}, args...)...)
	cmd.Env = []string{"HOME=" + s.Dir}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "tctl %v: %s", args, out)
	return string(out)
}

// pressCancel does what the Web UI of Temporal's dev server does when its cancel
// button is pressed (ui-server v2.42.1): the ID is escaped, slashes too, the
// cookie of the page before comes back as a header, and there is no body.
func (s *site) pressCancel(t *testing.T, job starter.Job) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar, Timeout: time.Minute}
	page, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.UIURL+"/api/v1/settings", http.NoBody)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, doBy(t, browser, page).Status)

	press, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.UIURL+"/api/v1/namespaces/"+s.Namespace+
		"/workflows/"+url.PathEscape(job.WorkflowID)+"/cancel?execution.runId="+job.TaskID, http.NoBody)
	require.NoError(t, err)
	press.Header.Set("Caller-Type", "operator")
	for _, c := range jar.Cookies(page.URL) {
		if c.Name == "_csrf" {
			press.Header.Set("X-CSRF-TOKEN", c.Value)
		}
	}
	var a answer
	require.Eventually(t, func() bool { // who is told that the workflow is busy presses again
		a, err = try(browser, press)
		return err != nil || a.Status != http.StatusTooManyRequests
	}, enough, 500*time.Millisecond, "the workflow is busy")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.Status, a.Raw)
}
