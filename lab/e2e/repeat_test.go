package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// balanced is the address of two APIs behind one load balancer.
const balanced = "http://roller.test"

// header signs a POST of a path for the load balancer's address.
func header(t *testing.T, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, balanced+path, http.NoBody)
	require.NoError(t, err)
	who := tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}
	require.NoError(t, who.SignRequest(r))
	return r.Header.Get("Authorization")
}

// through sends a header to one of the APIs, as the load balancer would.
func through(t *testing.T, port, path, authorization, key string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, balanced+path, http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Authorization", authorization)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+port)
		},
	}}
	return doBy(t, &c, r)
}

// A repeated Hawk header gets the first answer and starts nothing: at another
// API, after a restart of the first, and whatever happened on the machine since.
func TestRepeatedHeader(t *testing.T) {
	t.Parallel()
	g := &gate{}
	s := newGatedSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot", "PUBLIC_URL": balanced, "SSH_TIMEOUT": "4m", "COMMAND_TIMEOUT": "5m"}, g,
		lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	g.stop(lab.Arrived, setOf("ms1-10"))
	two, err := stack.Port(0)
	require.NoError(t, err)
	second, err := s.RunAPI(t.Context(), "api2", two)
	require.NoError(t, err)
	t.Cleanup(second.Stop)
	ports := []string{s.APIURL[len("http://127.0.0.1:"):], fmt.Sprint(two)}
	m := s.lab.Machine("ms1-10")
	const reboot, reset = "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=reboot", "/api/v1/workers/MS1-10/jobs?task_name=ipmi_reset"

	first, joins := header(t, reboot), header(t, reboot)
	a := through(t, ports[0], reboot, first, "")
	require.Equal(t, http.StatusCreated, a.Status, a.Raw)
	job := starter.Job{Task: "reboot", TaskID: a.Body["task_id"].(string), WorkflowID: workflows.MachineID(name(m))}
	same := func(when string) {
		for _, port := range ports {
			for what, authorization := range map[string]string{"started": first, "joined": joins} {
				again := through(t, port, reboot, authorization, "")
				require.Equal(t, http.StatusCreated, again.Status, again.Raw)
				require.Equal(t, job.TaskID, again.Body["task_id"], "%s: what was %s by %s", when, what, port)
			}
		}
	}
	same("while it runs")
	conflicting := header(t, reset)
	require.Equal(t, http.StatusConflict, through(t, ports[1], reset, conflicting, "").Status)
	g.open()
	s.API.Stop()
	require.NoError(t, s.StartAPI(t.Context()))
	same("after a restart")
	_, _ = s.end(t, job)
	s.listed(t, job)
	same("when it has ended")

	// A refusal is judged anew; and the machine has another job since.
	a = through(t, ports[1], reset, conflicting, "")
	require.Equal(t, http.StatusCreated, a.Status, a.Raw)
	other := starter.Job{Task: "ipmi_reset", TaskID: a.Body["task_id"].(string), WorkflowID: job.WorkflowID}
	require.NotEqual(t, job.TaskID, other.TaskID)
	same("while another one runs")
	_, _ = s.end(t, other)
	s.listed(t, other)
	same("when that has ended, too")
	require.Equal(t, []string{"ssh reboot", "bmc chassis power reset"}, s.executed(m), "nothing was done twice")

	// A client that signs each try anew says by a key that it is the same.
	a = through(t, ports[0], reboot, header(t, reboot), "a-try")
	require.Equal(t, http.StatusCreated, a.Status, a.Raw)
	keyed := starter.Job{Task: "reboot", TaskID: a.Body["task_id"].(string), WorkflowID: job.WorkflowID}
	_, _ = s.end(t, keyed)
	s.listed(t, keyed)
	a = through(t, ports[1], reboot, header(t, reboot), "a-try")
	require.Equal(t, keyed.TaskID, a.Body["task_id"])
	require.Equal(t, http.StatusConflict, through(t, ports[1], reset, header(t, reset), "a-try").Status)
	require.Len(t, s.executed(m), 3)
}

// listed waits until visibility has heard that a job has ended.
func (s *site) listed(t *testing.T, job starter.Job) {
	t.Helper()
	require.Eventually(t, func() bool {
		views, err := s.door.List(t.Context(), "", 100)
		require.NoError(t, err)
		for _, v := range views {
			if v.TaskID == job.TaskID {
				return v.Status != "Running"
			}
		}
		return false
	}, enough, 50*time.Millisecond)
}
