//go:build lab && linux

package netns

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// The whole of roller runs inside the lab's network namespace, in a child of
// this test that finds its orders in the file this variable names.
const orders = "ROLLER_NETNS_ORDERS"

// order is what the child is told, and what it answers.
type order struct {
	Roller   string                      `json:"roller"`
	Temporal string                      `json:"temporal"`
	Env      map[string]string           `json:"env"`
	IDs      []string                    `json:"ids"`
	Serve    bool                        `json:"serve"`   // until the input ends, for an inside
	Listen   string                      `json:"listen"`  // Temporal's address, loopback if empty
	Metrics  string                      `json:"metrics"` // the API's METRICS_ADDR
	Results  map[string]workflows.Result `json:"results"`
	Bugs     []lab.BugzillaBug           `json:"bugs"`
}

const (
	sheriff     = "sheriff"
	accessToken = "the-sheriffs-access-token"
	apiKey      = "a-bugzilla-api-key"
)

// fleet is what each machine suffers, and how its ladder must end. The dead
// BMC's replies are all lost; the lossy devices lose three of ten.
var fleet = map[string]struct {
	faults  Faults
	wedge   bool
	deadBMC bool
	lossy   bool
	outcome workflows.Outcome
	last    string
}{
	"after-ssh":   {outcome: workflows.Back, last: "ssh_reboot"},
	"after-ipmi":  {faults: Faults{IgnoreSSH: true}, outcome: workflows.Back, last: "ipmi_reset"},
	"after-pdu":   {wedge: true, deadBMC: true, outcome: workflows.Back, last: "snmp_rebootdelay"},
	"never":       {faults: Faults{NoReturn: true}, outcome: workflows.BugFiled, last: "snmp_rebootdelay"},
	"hangs":       {faults: Faults{HangSSH: true}, outcome: workflows.Back, last: "ipmi_reset"},
	"lossy-one":   {faults: Faults{IgnoreSSH: true}, lossy: true, outcome: workflows.Back},
	"lossy-two":   {faults: Faults{IgnoreSSH: true}, lossy: true, outcome: workflows.Back},
	"lossy-three": {faults: Faults{IgnoreSSH: true}, lossy: true, outcome: workflows.Back},
}

// TestLaddersOnRealPeers is the main job on parts that nobody here wrote:
// OpenSSH, OpenIPMI's simulator, net-snmp and the kernel's own ICMP. What each
// device did is read from its own log, and its end state by ipmitool and snmpget.
func TestLaddersOnRealPeers(t *testing.T) {
	t.Parallel()
	opts := Options{Boot: 1500 * time.Millisecond, SSHDelay: 500 * time.Millisecond}
	for id := range fleet {
		opts.IDs = append(opts.IDs, id)
	}
	l := Start(t, opts)
	before := map[string]State{}
	for _, m := range l.Machines() {
		f := fleet[m.ID]
		require.NoError(t, m.SetFaults(f.faults))
		if f.wedge {
			require.NoError(t, m.Wedge())
		}
		if f.deadBMC {
			require.NoError(t, m.BMC().LoseReplies(100))
		}
		if f.lossy {
			require.NoError(t, m.BMC().LoseReplies(30))
		}
		before[m.ID] = state(t, m)
	}
	require.NoError(t, l.PDU().LoseReplies(30))

	results := runInside(t, l, opts.IDs)

	require.NoError(t, l.PDU().LoseReplies(0))
	for _, m := range l.Machines() {
		t.Run(m.ID, func(t *testing.T) { verify(t, l, m, before[m.ID], results[m.ID]) })
	}
}

// verify holds a job's record against what the machine and its devices say.
func verify(t *testing.T, l *Lab, m *Machine, before State, r workflows.Result) {
	t.Helper()
	f := fleet[m.ID]
	record, err := json.Marshal(r)
	require.NoError(t, err)
	require.Equal(t, f.outcome, r.Outcome, "%s", record)
	require.False(t, r.Off)
	if f.last != "" {
		require.Equal(t, f.last, r.Attempts[len(r.Attempts)-1].Rung, "%s", record)
	}
	executed := map[string]int{}
	for _, c := range l.Controls(m.ID) {
		executed[c.Device+" "+c.Command]++
	}
	for c, n := range executed {
		require.Equal(t, 1, n, "%s was carried out more than once for one rung: %s", c, record)
	}
	now := state(t, m)
	require.True(t, now.Outlet, "no outlet is left off")
	outlet(t, l, m, 5, 1) // snmpget: outletStatus is on
	if r.Outcome != workflows.Back {
		require.NotEmpty(t, r.Bug.URL)
		return
	}
	require.True(t, now.SSH)
	require.NotEqual(t, before.BootID, now.BootID)
	require.NoError(t, m.BMC().LoseReplies(0))
	require.Equal(t, "Chassis Power is on", mustIPMI(t, l, m, "power", "status"))
}

// runInside runs the child in the lab's namespace and returns the jobs' records.
func runInside(t *testing.T, l *Lab, ids []string) map[string]workflows.Result {
	t.Helper()
	o, dir := newOrder(t, l)
	o.IDs = ids
	path := writeOrder(t, dir, o)
	said, err := insideCommand(t, l.space("lab"), path).CombinedOutput()
	require.NoError(t, err, "%s", said)
	o = readOrder(t, path)
	require.Len(t, o.Results, len(ids), "%s", said)
	return o.Results
}

// TestInside is the child: Temporal, the API and a worker in the namespace, and
// a signed request for each machine.
func TestInside(t *testing.T) {
	path := os.Getenv(orders)
	if path == "" {
		t.Log("not a test of its own: TestLaddersOnRealPeers runs it inside the lab's network")
		return
	}
	o := readOrder(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, bugs := startInside(ctx, t, o, filepath.Dir(path))

	c, err := s.Dial(ctx)
	require.NoError(t, err)
	defer c.Close()
	door := starter.New(c, "default", nil, 10*time.Second)
	jobs := map[string]starter.Job{}
	for _, id := range o.IDs {
		jobs[id] = starter.Job{TaskID: post(ctx, t, s.APIURL, id), WorkflowID: "machine/mdc1/" + id}
	}
	o.Results = map[string]workflows.Result{}
	for id, job := range jobs {
		require.NoError(t, door.Await(ctx, job))
		v, err := door.Show(ctx, job.WorkflowID, job.TaskID)
		require.NoError(t, err)
		require.NotNil(t, v.Result)
		o.Results[id] = *v.Result
		t.Log(v.Result.Markdown())
	}
	if o.Serve {
		fmt.Println(open + s.Address + " " + s.APIURL)
		_, err = io.Copy(io.Discard, os.Stdin)
		require.NoError(t, err)
	}
	o.Bugs = bugs.Bugs()
	logs, err := s.Logs()
	require.NoError(t, err)
	for _, secret := range []string{"WARNING: DATA RACE", accessToken, apiKey, BMCPassword} {
		require.NotContains(t, logs, secret)
	}
	writeOrder(t, filepath.Dir(path), o)
}

func startInside(ctx context.Context, t *testing.T, o order, dir string) (*stack.Stack, *lab.Bugzilla) {
	t.Helper()
	auth := lab.NewAuth(lab.Client{ID: sheriff, AccessToken: accessToken, Scopes: []string{"project:releng:roller:*"}})
	root, err := auth.Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { _ = auth.Close() })
	bugs := lab.NewBugzilla(apiKey)
	tracker, err := bugs.Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { _ = bugs.Close() })
	env := map[string]string{"TASKCLUSTER_ROOT_URL": root, "BUGZILLA_URL": tracker, "BUGZILLA_API_KEY": apiKey, "METRICS_ADDR": o.Metrics}
	maps.Copy(env, insideEnv)
	maps.Copy(env, o.Env)
	s, err := stack.New(ctx, stack.Options{Dir: dir, Roller: o.Roller, Temporal: o.Temporal, Listen: o.Listen, Env: env})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	require.NoError(t, s.Setup(ctx))
	require.NoError(t, s.StartAPI(ctx))
	delete(env, "METRICS_ADDR")
	_, err = s.StartWorker()
	require.NoError(t, err)
	return s, bugs
}

// insideEnv is the environment of roller's processes in the lab.
var insideEnv = map[string]string{
	"TASK_NAMES": "reboot", "REBOOT_METHODS": "ssh_reboot,ipmi_reset,ipmi_cycle,snmp_rebootdelay,file_bugzilla_bug",
	"DOWN_TIMEOUT": "10s", "UP_TIMEOUT": "20s", "RUNG_RETRY": "20s", "SNMP_REBOOT_DELAY": "3s",
	"PROBE_INTERVAL": "0.3s", "PROBE_TIMEOUT": "2s", "IPMI_TIMEOUT": "5s", "SNMP_TIMEOUT": "5s", "SNMP_VERIFY_TIMEOUT": "20s",
}

// post asks for a reboot as the dashboard does and returns the task_id.
func post(ctx context.Context, t *testing.T, api, id string) string {
	t.Helper()
	url := fmt.Sprintf("%s/api/v1/workers/%s/group/mdc1/jobs?task_name=reboot", api, id)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	require.NoError(t, err)
	who := tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}
	require.NoError(t, who.SignRequest(request))
	c := http.Client{Timeout: 20 * time.Second}
	response, err := c.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, response.StatusCode, "%s", body)
	var accepted struct {
		TaskID string `json:"task_id"`
	}
	require.NoError(t, json.Unmarshal(body, &accepted))
	return accepted.TaskID
}
