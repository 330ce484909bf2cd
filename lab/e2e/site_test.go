// Package e2e tests roller's real processes, started as an operator starts
// them, against a Temporal dev server and simulated machines that speak the
// real protocols. What a machine was told is read from the lab's own log.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Secrets that must be found nowhere but where they are used.
const (
	accessToken = "e2e-access-token-of-the-sheriff"
	apiKey      = "e2e-bugzilla-api-key"
	sheriff     = "mozilla-auth0/ad|Mozilla-LDAP|sheriff"
)

// enough is for anything that a test waits for, on a machine that is far slower than
// it should be: it is waited out only where the test fails.
const enough = 5 * time.Minute

// soon is the HEARTBEAT_TIMEOUT of workers that are killed: by it their loss is known.
const soon = "20s"

// fast is the environment of a worker whose machines boot in a second.
var fast = map[string]string{
	"DEVICE_INTERVAL": "0.1s", "BMC_INTERVAL": "0.1s", "CHASSIS_INTERVAL": "0.1s", "TURN_WAIT": "5s",
	"DOWN_TIMEOUT": "6s", "UP_TIMEOUT": "10s", "RUNG_RETRY": "1s", "SNMP_REBOOT_DELAY": "2s",
	"PROBE_INTERVAL": "0.1s", "PROBE_TIMEOUT": "1s", "SSH_TIMEOUT": "4s", "IPMI_TIMEOUT": "4s",
	"SNMP_TIMEOUT": "4s", "SNMP_VERIFY_TIMEOUT": "5s", "HEARTBEAT_TIMEOUT": "60s", "BUG_WAIT": "20s", "RETRY_INTERVAL": "1s", "START_TIMEOUT": "10s", "IPMI_SESSION_TIMEOUT": "6s", "LAST_LOOK": "3s", "WORKER_STOP_TIMEOUT": "10s",
	"TASK_NAMES": "reboot,ping,ipmi_status,ipmi_list,ipmi_reset,ipmi_off,ipmi_on,ssh_reboot,snmp_reboot,snmp_rebootdelay",
}

var (
	rollerBinary string
	production   *stack.Production // nil where the tests run on the dev server
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "roller-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	rollerBinary = filepath.Join(dir, "roller")
	build := exec.Command("go", "build", "-race", "-o", rollerBinary, "../../cmd/roller")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build roller: %v\n%s", err, out)
		return 1
	}
	if production, err = stack.NewProduction(context.Background(), "../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if production != nil {
		defer production.Postgres.Close()
	}
	return m.Run()
}

// temporalBinary is the CLI pinned in tools/go.mod; never one from PATH.
func temporalBinary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("ROLLER_TEST_TEMPORAL")
	if path == "" {
		path = "../../.bin/temporal"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	require.FileExists(t, path, "run `make test`, which builds Temporal's CLI first")
	return path
}

// site is a fleet and the roller that looks after it.
type site struct {
	*stack.Stack
	lab    *lab.Lab
	auth   *lab.Auth
	bugs   *lab.Bugzilla
	tc     *lab.Taskcluster // nil unless the test has one
	client client.Client
	door   *starter.Starter

	contract contract
}

// newSite starts Temporal, the lab, the API and one worker.
func newSite(t *testing.T, env map[string]string, machines ...lab.Spec) *site {
	t.Helper()
	return newGatedSite(t, env, nil, machines...)
}

// newGatedSite is newSite with devices that stop in mid-command where a gate says so.
func newGatedSite(t *testing.T, env map[string]string, g *gate, machines ...lab.Spec) *site {
	t.Helper()
	return newSiteOn(t, stack.Options{Production: production, Env: env}, g, machines...)
}

// newSiteOn is newGatedSite with a Temporal of one's own choice.
func newSiteOn(t *testing.T, o stack.Options, g *gate, machines ...lab.Spec) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	s := &site{}
	var err error
	s.lab, err = lab.Start(lab.Options{Machines: machines, Seed: 1, During: g.during})
	require.NoError(t, err)
	t.Cleanup(func() { g.open(); require.NoError(t, s.lab.Close()) })
	dir := t.TempDir()
	all, err := s.lab.WriteFiles(dir)
	require.NoError(t, err)
	maps.Copy(all, fast)

	s.auth = lab.NewAuth(lab.Client{ID: sheriff, AccessToken: accessToken, Scopes: []string{"project:releng:roller:*"}},
		lab.Client{ID: "pinger", AccessToken: accessToken, Scopes: []string{"project:releng:roller:ping"}})
	root, err := s.auth.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = s.auth.Close()
		require.Empty(t, s.auth.Mistakes())
	})
	s.bugs = lab.NewBugzilla(apiKey)
	bugs, err := s.bugs.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.bugs.Close() })
	maps.Copy(all, map[string]string{
		"TASKCLUSTER_ROOT_URL": root, "BUGZILLA_URL": bugs, "BUGZILLA_API_KEY": apiKey,
		"ALLOWED_HOSTS": "127.0.0.1",
	})
	maps.Copy(all, o.Env)

	o.Dir, o.Roller, o.Temporal, o.Database, o.Env = dir, rollerBinary, temporalBinary(t), true, all
	s.Stack, err = stack.New(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.finish(t) })
	require.NoError(t, s.Setup(ctx))
	require.NoError(t, s.StartAPI(ctx))
	_, err = s.StartWorker()
	require.NoError(t, err)
	s.client, err = s.Dial(ctx)
	require.NoError(t, err)
	s.door = starter.New(s.client, "default", nil, 10*time.Second)
	return s
}

// finish stops everything and looks through the logs for races and panics.
func (s *site) finish(t *testing.T) {
	s.record(t)
	if s.client != nil {
		s.client.Close()
	}
	s.Close()
	logs, err := s.Logs()
	require.NoError(t, err)
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "nondeterministic"} {
		require.NotContains(t, logs, bad)
	}
	if t.Failed() {
		t.Logf("lab log: %s", pretty(s.lab.Log()))
		t.Logf("edges: %s", pretty(s.lab.Edges()))
		for _, w := range s.Workers {
			t.Logf("%s: %s", w.Name, w.Tail())
		}
		t.Logf("api: %s", s.API.Tail())
	}
}

func pretty(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(string(b), "},{", "},\n{")
}

// answer is what the API says.
type answer struct {
	Status int
	Header http.Header
	Body   map[string]any
	Raw    string
}

// post asks the API for a task as the dashboard does: signed by Hawk, no body.
func (s *site) post(t *testing.T, task, id, group string) answer {
	t.Helper()
	return s.signed(t, tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}, task, id, group)
}

func (s *site) signed(t *testing.T, who tcclient.Credentials, task, id, group string) answer {
	t.Helper()
	return s.ask(t, who, http.MethodPost, fmt.Sprintf("/api/v1/workers/%s/group/%s/jobs?task_name=%s", id, group, task))
}

func (s *site) ask(t *testing.T, who tcclient.Credentials, method, path string) answer {
	t.Helper()
	return s.askAt(t, s.APIURL, who, method, path)
}

// askAt asks the API that is at a URL.
func (s *site) askAt(t *testing.T, url string, who tcclient.Credentials, method, path string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url+path, http.NoBody)
	require.NoError(t, err)
	require.NoError(t, who.SignRequest(request))
	a := do(t, request)
	s.requireDescribed(t, request, a)
	return a
}

func do(t *testing.T, request *http.Request) answer {
	t.Helper()
	return doBy(t, &http.Client{Timeout: time.Minute}, request)
}

func doBy(t *testing.T, c *http.Client, request *http.Request) answer {
	t.Helper()
	a, err := try(c, request)
	require.NoError(t, err)
	return a
}

func try(c *http.Client, request *http.Request) (answer, error) {
	response, err := c.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	a := answer{Status: response.StatusCode, Header: response.Header, Raw: string(raw)}
	if err == nil {
		err = json.Unmarshal(raw, &a.Body)
	}
	if err != nil {
		return a, fmt.Errorf("%w: %s", err, raw)
	}
	return a, nil
}

// job posts a task and returns the job that was accepted.
func (s *site) job(t *testing.T, task string, m *lab.Machine) starter.Job {
	t.Helper()
	a := s.post(t, task, m.Spec().WorkerID, m.Spec().WorkerGroup)
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Raw)
	id := a.Body["task_id"].(string)
	require.NotEmpty(t, id)
	return starter.Job{Task: task, TaskID: id, WorkflowID: workflows.MachineID(name(m))}
}

// end waits for a job and returns its record.
func (s *site) end(t *testing.T, job starter.Job) (workflows.Result, starter.View) {
	t.Helper()
	return s.endWithin(t, job, enough)
}

func (s *site) endWithin(t *testing.T, job starter.Job, limit time.Duration) (workflows.Result, starter.View) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	require.NoError(t, s.door.Await(ctx, job))
	v, err := s.door.Show(ctx, job.WorkflowID, job.TaskID)
	require.NoError(t, err)
	require.NotNil(t, v.Result, "a closed job has a record: %+v", v)
	return *v.Result, v
}

// endHeard is endWithin of one of many jobs at once. On a machine that is far too
// busy Temporal's matching gives an activity up that history has written down as
// started (it waits a second for it): no worker hears of it, and it counts as a lost
// one. Such a job, of which no device has heard either, is asked for again.
func (s *site) endHeard(t *testing.T, job starter.Job, m *lab.Machine, limit time.Duration) workflows.Result {
	t.Helper()
	const tries = 3
	for range tries {
		r, _ := s.endWithin(t, job, limit)
		if !strings.Contains(pretty(r), "(heartbeat timeout)") || len(s.received(m)) > 0 {
			return r
		}
		t.Logf("no worker has heard of it: %s", pretty(r))
		job = s.job(t, job.Task, m)
	}
	r, _ := s.endWithin(t, job, limit)
	return r
}

// until waits for the job's record to satisfy a condition.
func (s *site) until(t *testing.T, job starter.Job, what string, holds func(workflows.Result) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		v, err := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
		return err == nil && v.Result != nil && holds(*v.Result)
	}, enough, 100*time.Millisecond, what)
}

// saw waits for the lab to have seen something.
func (s *site) saw(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	require.NoError(t, s.lab.Wait(ctx, condition), what)
}

// history returns a run's events.
func (s *site) history(t *testing.T, job starter.Job) []*historypb.HistoryEvent {
	t.Helper()
	var events []*historypb.HistoryEvent
	iter := s.client.GetWorkflowHistory(t.Context(), job.WorkflowID, job.TaskID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iter.HasNext() {
		event, err := iter.Next()
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}
