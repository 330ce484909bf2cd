package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

const (
	clientToken = "token-of-the-registrar"
	prefixOf    = "queue:declare-provisioner:releng-hardware#"
)

func newQueue(t *testing.T, mode lab.QueueMode, scopes ...string) (*lab.Queue, []string) {
	t.Helper()
	q := lab.NewQueue(lab.NewAuth(lab.Client{ID: "registrar", AccessToken: clientToken, Scopes: scopes}), mode)
	root, err := q.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = q.Close() })
	return q, []string{
		"TASKCLUSTER_ROOT_URL=" + root, "TASKCLUSTER_CLIENT_ID=registrar", "TASKCLUSTER_ACCESS_TOKEN=" + clientToken,
		"TASKCLUSTER_TIMEOUT=2s", "TASK_NAMES=ping,reboot", "FQDN_TO_SSH_FILE=",
	}
}

var allScopes = []string{"queue:get-provisioner:*", "queue:declare-provisioner:*"}

func TestRegister(t *testing.T) {
	t.Parallel()
	known := map[string]any{"description": "hardware"}
	for name, c := range map[string]struct {
		mode   lab.QueueMode
		scopes []string
		known  map[string]any
		token  string
		url    string
		status int
		out    string
		err    string
	}{
		"stored":                {mode: lab.QueueStores, out: "registered on releng-hardware: ping, reboot"},
		"stored over http":      {mode: lab.QueueStores, url: "http://roller.example.com/", out: "registered", err: "warning: over http"},
		"stored beside others":  {mode: lab.QueueStores, known: known, out: "registered"},
		"a stub":                {mode: lab.QueueStub, known: known, status: 1, err: "stored nothing"},
		"a stub without worker": {mode: lab.QueueStub, status: 1, err: "stored nothing"},
		"no call any more":      {mode: lab.QueueGone, status: 1, err: "no longer has the call declareProvisioner (404)"},
		"down":                  {mode: lab.QueueDown, status: 1, err: "taskcluster answered 500"},
		"garbage":               {mode: lab.QueueTalks, status: 1, err: "no usable answer"},
		"wrong token":           {mode: lab.QueueStores, token: "wrong", status: 1, err: "not accepted (401)"},
		"no scope to read":      {mode: lab.QueueStores, scopes: []string{prefixOf + "*"}, status: 1, err: "queue:get-provisioner:releng-hardware"},
		"no scope for expires":  {mode: lab.QueueStores, scopes: []string{"queue:get-provisioner:*", prefixOf + "actions"}, status: 1, err: "#expires"},
		"another scheme":        {mode: lab.QueueStores, url: "ftp://roller.example.com", status: 2, err: "http or https"},
		"a hole in the address": {mode: lab.QueueStores, url: "https://example.com/<workerId>", status: 2, err: "may contain workerId"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scopes := c.scopes
			if scopes == nil {
				scopes = allScopes
			}
			q, env := newQueue(t, c.mode, scopes...)
			if c.known != nil {
				q.Declare("releng-hardware", c.known)
			}
			if c.token != "" {
				env = append(env, "TASKCLUSTER_ACCESS_TOKEN="+c.token)
			}
			if c.url == "" {
				c.url = "https://roller.example.com"
			}
			r := carry(t, env, "", "register_tc_actions", c.url, "releng-hardware")
			require.Equal(t, c.status, r.status, "%+v", r)
			require.Contains(t, r.out, c.out)
			require.Contains(t, r.err, c.err)
			require.NotContains(t, r.out+r.err, clientToken)
		})
	}
}

func TestRegisterIsUnreachable(t *testing.T) {
	t.Parallel()
	q, env := newQueue(t, lab.QueueStores, allScopes...)
	require.NoError(t, q.Close())
	r := carry(t, env, "", "register_tc_actions", "https://roller.example.com", "releng-hardware")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.err, "no usable answer")
}

func TestRegisterArguments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ url, provisioner, says string }{
		"provisioner":     {"https://a.example", "a/b", "PROVISIONER_ID"},
		"no provisioner":  {"https://a.example", "", "PROVISIONER_ID"},
		"a hole":          {"https://a.example", "workerGroup", "may contain workerGroup"},
		"no host":         {"https://", "p", "BASE_URL"},
		"a user":          {"https://u:p@a.example", "p", "BASE_URL"},
		"a query":         {"https://a.example?x=1", "p", "BASE_URL"},
		"not even an URL": {"::", "p", "BASE_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := carry(t, nil, "", "register_tc_actions", c.url, c.provisioner)
			require.Equal(t, 2, r.status)
			require.Contains(t, r.err, c.says)
		})
	}
	r := carry(t, nil, "", "register_tc_actions", "https://a.example", "p")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.err, "TASKCLUSTER_ROOT_URL")
}

// What is stored is what the dashboard needs; the actions of others stay, and
// those that this roller had registered before are replaced.
func TestRegisteredActions(t *testing.T) {
	t.Parallel()
	q, env := newQueue(t, lab.QueueStores, allScopes...)
	const base = "https://roller.example.com"
	action := func(name, url string) map[string]any {
		return map[string]any{"name": name, "title": name, "context": "worker", "method": "POST", "url": url, "description": ""}
	}
	q.Declare("releng-hardware", map[string]any{"description": "hardware", "stability": "stable", "actions": []any{
		action("kill", "https://other.example.com/<workerId>"),
		action("old", base+"/api/v1/workers/<workerId>/group/<workerGroup>/jobs?task_name=old"),
	}})
	r := carry(t, env, "", "register_tc_actions", base+"/", "releng-hardware")
	require.Equal(t, 0, r.status, "%+v", r)
	stored := q.Provisioner("releng-hardware")
	require.Equal(t, "hardware", stored["description"])
	require.Equal(t, "stable", stored["stability"])
	found := map[string]map[string]any{}
	for _, a := range stored["actions"].([]any) {
		found[a.(map[string]any)["name"].(string)] = a.(map[string]any)
	}
	require.Len(t, found, 3)
	require.Contains(t, found, "kill")
	require.Equal(t, map[string]any{
		"name": "ping", "title": "ping", "context": "worker", "method": "POST", "description": "See whether a machine answers",
		"url": base + "/api/v1/workers/<workerId>/group/<workerGroup>/jobs?task_name=ping",
	}, found["ping"])
	require.NotEmpty(t, found["reboot"]["description"])
}
