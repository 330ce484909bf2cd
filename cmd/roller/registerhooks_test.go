package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tchooks"

	"github.com/mozilla-platform-ops/roller/lab"
)

const sheriffToken = "token-of-the-sheriff"

func newHooks(t *testing.T, scopes ...string) (*lab.Taskcluster, []string) {
	t.Helper()
	tc, err := lab.NewTaskcluster(lab.Client{ID: "registrar", AccessToken: clientToken, Scopes: scopes},
		lab.Client{ID: "sheriff", AccessToken: sheriffToken, Scopes: []string{"hooks:trigger-hook:project-relops/roller-reboot"}})
	require.NoError(t, err)
	root, err := tc.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, tc.Close())
		require.Empty(t, tc.Mistakes())
	})
	return tc, []string{
		"TASKCLUSTER_ROOT_URL=" + root, "TASKCLUSTER_CLIENT_ID=registrar", "TASKCLUSTER_ACCESS_TOKEN=" + clientToken,
		"TASKCLUSTER_TIMEOUT=2s", "TASK_NAMES=ping,reboot", "FQDN_TO_SSH_FILE=",
	}
}

var hookScopes = []string{"hooks:get:project-relops:*", "hooks:modify-hook:project-relops/*", "assume:hook-id:project-relops/*"}

func TestRegisterHooks(t *testing.T) {
	t.Parallel()
	tc, env := newHooks(t, hookScopes...)
	register := func(args ...string) ran {
		return carry(t, env, "", append([]string{"register_tc_actions", "--hooks", "--owner", "relops@example.com"}, args...)...)
	}
	r := register("--dry-run")
	require.Equal(t, 0, r.status, "%+v", r)
	require.Contains(t, r.out, "would make hook project-relops/roller-reboot")
	require.Nil(t, tc.Hook("project-relops", "roller-reboot"), "dry")
	require.Zero(t, tc.Calls("hooks.hook"))

	r = register()
	require.Equal(t, 0, r.status, "%+v", r)
	require.Contains(t, r.out, "created hook project-relops/roller-ping\ncreated hook project-relops/roller-reboot\n")
	require.Contains(t, register().out, "unchanged hook project-relops/roller-reboot")
	env = append(env, "TASKCLUSTER_TASK_QUEUE=proj-relops/other")
	require.Contains(t, register().out, "updated hook project-relops/roller-reboot")
	hook := tc.Hook("project-relops", "roller-reboot")
	require.Equal(t, "relops@example.com", hook["metadata"].(map[string]any)["owner"])
	require.Equal(t, "proj-relops/other", hook["task"].(map[string]any)["taskQueueId"])
}

// What is printed is what is needed, and no more than that: with these scopes, and
// none less, a sheriff's trigger makes a task for roller that says who asked.
func TestGrantsAreWhatIsNeeded(t *testing.T) {
	t.Parallel()
	tc, env := newHooks(t, hookScopes...)
	r := carry(t, env, "", "register_tc_actions", "--hooks", "--owner", "relops@example.com")
	require.Equal(t, 0, r.status, "%+v", r)
	_, granted, ok := strings.Cut(r.out, "\nrole hook-id:project-relops/roller-reboot\n")
	require.True(t, ok, r.out)
	granted, _, _ = strings.Cut(granted, "\n\n")
	scopes := strings.Fields(granted)
	require.Contains(t, scopes, "project:releng:roller:reboot")

	root, _ := strings.CutPrefix(env[0], "TASKCLUSTER_ROOT_URL=")
	hooks := tchooks.New(&tcclient.Credentials{ClientID: "sheriff", AccessToken: sheriffToken}, root)
	hooks.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	trigger := func(payload string) (string, error) {
		p := tchooks.TriggerHookRequest(payload)
		answer, err := hooks.TriggerHook("project-relops", "roller-reboot", &p)
		if err != nil {
			return "", err
		}
		var made struct{ TaskID string }
		return made.TaskID, json.Unmarshal(*answer, &made)
	}
	for i := range scopes {
		tc.SetRole("hook-id:project-relops/roller-reboot", append(append([]string{}, scopes[:i]...), scopes[i+1:]...)...)
		_, err := trigger(`{"worker_id":"ms1-10"}`)
		require.ErrorContains(t, err, "403", "without %s", scopes[i])
	}
	tc.SetRole("hook-id:project-relops/roller-reboot", scopes...)
	for _, wrong := range []string{`{}`, `{"worker_id":"-x"}`, `{"worker_id":"a.b"}`, `{"worker_id":"a","force":true}`, `{"worker_id":"a","priority":"now"}`} {
		_, err := trigger(wrong)
		require.ErrorContains(t, err, "400", wrong)
	}
	id, err := trigger(`{"worker_id":"ms1-10","worker_group":"mdc1","priority":"bulk"}`)
	require.NoError(t, err)
	task := tc.Task(id)
	require.Equal(t, map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "worker_group": "mdc1", "priority": "bulk", "provisioner_id": "", "worker_type": ""}, task["payload"])
	require.Equal(t, map[string]any{"requestedBy": "sheriff"}, task["extra"])
	require.Equal(t, []any{"project:releng:roller:reboot"}, task["scopes"])
	id, err = trigger(`{"worker_id":"ms1-10"}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "worker_group": "none", "priority": "normal", "provisioner_id": "", "worker_type": ""}, tc.Task(id)["payload"])
	id, err = trigger(`{"worker_id":"ms1-10","drain":true,"provisioner_id":"releng-hardware","worker_type":"gecko-t"}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "worker_group": "none", "priority": "normal", "drain": true, "provisioner_id": "releng-hardware", "worker_type": "gecko-t"}, tc.Task(id)["payload"])
}

func TestRegisterHooksIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		scopes []string
		token  string
		down   bool
		status int
		says   string
	}{
		"no owner":          {args: []string{"--hooks"}, status: 2, says: "the owner must be an email address"},
		"a group of words":  {args: []string{"--hooks", "--owner", "a@b.example", "--hook-group", "a b"}, status: 2, says: "hook group"},
		"both":              {args: []string{"--hooks", "https://a.example", "p"}, status: 2, says: "either --hooks"},
		"dry without hooks": {args: []string{"--dry-run", "https://a.example", "p"}, status: 2, says: "either --hooks"},
		"neither":           {status: 2, says: "either --hooks"},
		"may not modify":    {args: []string{"--hooks", "--owner", "a@b.example"}, scopes: hookScopes[:1], status: 1, says: "lacks a scope; needed are hooks:get:project-relops:roller-ping, hooks:modify-hook:project-relops/roller-ping, assume:hook-id:project-relops/roller-ping"},
		"a wrong token":     {args: []string{"--hooks", "--owner", "a@b.example"}, token: "wrong", status: 1, says: "not accepted (401)"},
		"down":              {args: []string{"--hooks", "--owner", "a@b.example"}, down: true, status: 1, says: "taskcluster answered 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc, env := newHooks(t, c.scopes...)
			tc.SetDown(c.down)
			if c.token != "" {
				env = append(env, "TASKCLUSTER_ACCESS_TOKEN="+c.token)
			}
			r := carry(t, env, "", append([]string{"register_tc_actions"}, c.args...)...)
			require.Equal(t, c.status, r.status, "%+v", r)
			require.Contains(t, r.err, c.says)
			require.NotContains(t, r.out+r.err, clientToken)
		})
	}
}
