package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tchooks"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
)

const (
	taskQueue   = "proj-relops/roller"
	rollerToken = "e2e-access-token-of-roller-itself"
)

// newTaskclusterSite is newSite with a Taskcluster deployment whose task queue
// roller serves. Whatever is asked of it outside its schemas fails the test.
func newTaskclusterSite(t *testing.T, env map[string]string, prepare func(*lab.Taskcluster), machines ...lab.Spec) (*site, *stack.Process) {
	t.Helper()
	tc, err := lab.NewTaskcluster(
		lab.Client{ID: sheriff, AccessToken: accessToken, Scopes: []string{"project:releng:roller:*", "hooks:trigger-hook:project-relops/*"}},
		lab.Client{ID: "project/relops/roller", AccessToken: rollerToken, Scopes: []string{
			"queue:claim-work:" + taskQueue, "queue:worker-id:roller/*", "queue:status:*",
			"hooks:get:project-relops:*", "hooks:modify-hook:project-relops/*", "assume:hook-id:project-relops/*",
			"notify:email:*", "notify:matrix-room:!relops:example.org", "notify:slack-channel:C123456GZ", "queue:get-worker:releng-hardware/*", "queue:quarantine-worker:releng-hardware/*",
		}})
	require.NoError(t, err)
	tc.ClaimPoll = time.Second
	if prepare != nil {
		prepare(tc)
	}
	root, err := tc.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tc.Close() })
	all := map[string]string{
		"TASKCLUSTER_ROOT_URL": root, "TASKCLUSTER_CLIENT_ID": "project/relops/roller", "TASKCLUSTER_ACCESS_TOKEN": rollerToken,
		"TASKCLUSTER_RECLAIM": "1s", "ROLLER_SEAL_KEY": base64.StdEncoding.EncodeToString([]byte("e2e-seal-key-of-thirty-two-bytes")),
	}
	maps.Copy(all, env)
	s := newSite(t, all, machines...)
	s.tc = tc
	p, err := s.RunTaskcluster("taskcluster1")
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	t.Cleanup(func() {
		require.Empty(t, tc.Mistakes())
		if t.Failed() {
			t.Logf("calls of Taskcluster: %d claims, %d reclaims; %s", tc.Calls("queue.claimWork"), tc.Calls("queue.reclaimTask"), p.Tail())
		}
	})
	return s, p
}

// task creates a task as a hook would.
func (s *site) task(payload map[string]any, change ...map[string]any) string {
	name, _ := payload["task_name"].(string)
	definition := map[string]any{
		"taskQueueId": taskQueue, "retries": 0, "payload": payload, "scopes": []string{"project:releng:roller:" + name},
		"extra": map[string]any{"requestedBy": sheriff},
	}
	for _, c := range change {
		maps.Copy(definition, c)
	}
	return s.tc.AddTask(definition)
}

func rebootOf(id string) map[string]any {
	return map[string]any{"task_name": "reboot", "worker_id": id, "worker_group": "mdc1"}
}

// resolved waits for a task's first run to be resolved, and returns its state, its
// reason and its log.
func (s *site) resolved(t *testing.T, id string) (state, reason, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	require.NoError(t, s.tc.Wait(ctx, func() bool { return s.tc.Runs(id)[0].Reason != "" }), "task %s", id)
	run := s.tc.Runs(id)[0]
	log, _ = s.tc.Artifact(id, 0, "public/logs/live.log")
	return run.State, run.Reason, log
}

// sees waits for something to be so at the deployment.
func (s *site) sees(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	require.NoError(t, s.tc.Wait(ctx, condition), what)
}

// Tasks become jobs, and what becomes of the jobs becomes of the tasks.
func TestTaskclusterDoor(t *testing.T) {
	t.Parallel()
	s, _ := newTaskclusterSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "UP_TIMEOUT": "2m"}, nil,
		lab.Spec{WorkerID: "well", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: 25 * time.Second}},
		lab.Spec{WorkerID: "gone", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}},
		lab.Spec{WorkerID: "idle", WorkerGroup: "mdc1"})
	well, gone := s.task(rebootOf("WELL")), s.task(rebootOf("gone"))
	refused := map[string]string{
		"a task that roller has not": s.task(map[string]any{"task_name": "party", "worker_id": "idle", "worker_group": "mdc1"}),
		"a field too many":           s.task(map[string]any{"task_name": "reboot", "worker_id": "idle", "worker_group": "mdc1", "force": true}),
		"a worker_id with a path":    s.task(rebootOf("../idle")),
		"an unknown machine":         s.task(rebootOf("nobody")),
		"a scope for another action": s.task(rebootOf("idle"), map[string]any{"scopes": []string{"project:releng:roller:ping"}}),
		"no scope":                   s.task(rebootOf("idle"), map[string]any{"scopes": []string{}}),
	}
	s.sees(t, "the log can be read while the job runs", func() bool {
		log, _ := s.tc.Artifact(well, 0, "public/logs/live.log")
		return strings.Contains(log, "reboot of mdc1/WELL for "+sheriff) && s.tc.Runs(well)[0].State == "running"
	})
	joined := s.task(rebootOf("well"))
	for what, id := range refused {
		state, reason, log := s.resolved(t, id)
		require.Equal(t, "exception", state, "%s: %s", what, log)
		require.Equal(t, "malformed-payload", reason, what)
		require.NotContains(t, log, "\njob ", what)
	}
	_, _, log := s.resolved(t, refused["no scope"])
	require.Contains(t, log, "task.scopes is missing the scope project:releng:roller:reboot")

	state, _, log := s.resolved(t, well)
	require.Equal(t, "completed", state, "%s", log)
	require.Regexp(t, `ssh_reboot +back`, log)
	require.Contains(t, log, "ended: back")
	_, puts := s.tc.Artifact(well, 0, "public/logs/live.log")
	require.GreaterOrEqual(t, puts, 2, "it grew")
	state, _, log = s.resolved(t, joined)
	require.Equal(t, "completed", state, "%s", log)
	require.Contains(t, log, "which was running already")
	require.Equal(t, []string{"ssh reboot"}, s.executed(s.lab.Machine("well")))

	state, _, log = s.resolved(t, gone)
	require.Equal(t, "failed", state, "%s", log)
	bug, _ := s.tc.Artifact(gone, 0, "public/bug")
	require.Contains(t, bug, "show_bug.cgi?id=")
	require.Contains(t, log, bug)
	require.Empty(t, s.executed(s.lab.Machine("idle")), "nothing was done for the refused ones")
	require.Equal(t, sheriff, s.clientOf(t, "machine/mdc1/gone"))
	t.Run("by a hook", func(t *testing.T) { s.viaHook(t) })
	require.NotEmpty(t, s.tc.TaskTokens())
	s.noSecrets(t, "gone")
}

// viaHook makes the hooks as an operator does, and triggers one as a sheriff does.
func (s *site) viaHook(t *testing.T) {
	register := exec.CommandContext(t.Context(), s.Roller, "register_tc_actions", "--hooks", "--owner", "relops@example.com")
	register.Env = s.Environ()
	out, err := register.CombinedOutput()
	require.NoError(t, err, "%s", out)
	s.tc.SetRole("hook-id:project-relops/roller-ping",
		"queue:create-task:lowest:"+taskQueue, "queue:create-task:project:none", "queue:scheduler-id:-", "project:releng:roller:ping")
	hooks := tchooks.New(&tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}, s.Env["TASKCLUSTER_ROOT_URL"])
	payload := tchooks.TriggerHookRequest(`{"worker_id":"idle"}`)
	answer, err := hooks.TriggerHook("project-relops", "roller-ping", &payload)
	require.NoError(t, err)
	var made struct{ TaskID string }
	require.NoError(t, json.Unmarshal(*answer, &made))
	state, _, log := s.resolved(t, made.TaskID)
	require.Equal(t, "completed", state, "%s", log)
	require.Contains(t, log, "probes answered")
	require.Contains(t, log, "for "+sheriff)
}

func (s *site) clientOf(t *testing.T, workflowID string) string {
	t.Helper()
	v, err := s.door.Show(t.Context(), workflowID, "")
	require.NoError(t, err)
	return v.ClientID
}
