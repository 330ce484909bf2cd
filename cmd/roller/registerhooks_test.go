package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tchooks"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
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

// The hooks of all tasks make tasks that roller takes, with the least that their form
// asks and with all that it has.
func TestEveryHookMakesATaskForRoller(t *testing.T) {
	t.Parallel()
	scopes := append([]string{"hooks:trigger-hook:project-relops/*", "queue:claim-work:proj-relops/roller", "queue:worker-id:roller/*"}, hookScopes...)
	tc, env := newHooks(t, scopes...)
	tc.ClaimPoll = time.Second
	env = append(env, "TASK_NAMES="+strings.Join(config.Tasks(), ","), "ROLLER_SEAL_KEY="+base64.StdEncoding.EncodeToString(make([]byte, 32)))
	r := carry(t, env, "", "register_tc_actions", "--hooks", "--owner", "relops@example.com")
	require.Equal(t, 0, r.status, "%+v", r)
	for grant := range strings.SplitSeq(r.out, "\n\n") {
		if role, scopes, ok := strings.Cut(strings.TrimPrefix(grant, "role "), "\n"); ok && strings.HasPrefix(role, "hook-id:") {
			tc.SetRole(role, strings.Fields(scopes)...)
		}
	}
	cfg, err := config.Load(env)
	require.NoError(t, err)
	hooks := tchooks.New(&tcclient.Credentials{ClientID: "registrar", AccessToken: clientToken}, cfg.Taskcluster.RootURL)
	hooks.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	asked := map[string]int{}
	for _, task := range config.Tasks() {
		all := map[string]any{"worker_id": "ms1-10", "worker_group": "mdc1", "priority": "bulk", "provisioner_id": "p", "worker_type": "t"}
		if config.MayDrain(task) {
			all["drain"] = true
		}
		if config.IsLoan(task) {
			all["why"] = "bug 7"
		}
		if task == config.ReturnLoan {
			all["reimage"] = false
		}
		for _, form := range []map[string]any{{"worker_id": "ms1-10"}, all} {
			text, err := json.Marshal(form)
			require.NoError(t, err)
			payload := tchooks.TriggerHookRequest(text)
			_, err = hooks.TriggerHook("project-relops", "roller-"+task, &payload)
			require.NoError(t, err, task)
			asked[task]++
		}
	}
	for len(asked) > 0 {
		claims, err := activities.ClaimTasks(t.Context(), cfg)
		require.NoError(t, err)
		require.NotEmpty(t, claims, "%v", asked)
		for _, c := range claims {
			require.Empty(t, c.Problem, c.Ask.Task)
			require.Equal(t, "registrar", c.Ask.ClientID)
			if asked[c.Ask.Task]--; asked[c.Ask.Task] == 0 {
				delete(asked, c.Ask.Task)
			}
			if c.Ask.WorkerGroup == "mdc1" {
				require.True(t, c.Ask.Bulk)
				require.Equal(t, config.MayDrain(c.Ask.Task), c.Ask.Drain != nil && *c.Ask.Drain, c.Ask.Task)
				require.Equal(t, config.IsLoan(c.Ask.Task), c.Ask.Why != "", c.Ask.Task)
				require.Equal(t, c.Ask.Task == config.ReturnLoan, c.Ask.NoReimage, c.Ask.Task)
			}
		}
	}
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
