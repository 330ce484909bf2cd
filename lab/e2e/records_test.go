package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// eventBudget: history is the store and what the server works on, so a ladder's
// events are counted. A first-rung success takes at most 30 without notices, a
// further rung 14 more (the bug is one), off, wait and on 11 more.
func (s *site) eventBudget(t *testing.T) {
	const first, further, offOn = 30, 14, 11
	for id, most := range map[string]int{
		"comes-back-after-ssh": first,
		"ignores-ssh":          first + further,
		"wrong-host-key":       first + further,
		"hung-with-a-dead-bmc": first + 2*further + offOn,
		"never-comes-back":     first + 3*further + offOn,
	} {
		v, err := s.door.Show(t.Context(), workflows.MachineID(name(s.lab.Machine(id))), "")
		require.NoError(t, err)
		events := s.history(t, v.Job)
		t.Logf("%s: %d events of %d", id, len(events), most)
		require.LessOrEqual(t, len(events), most, id)
	}
}

// noSecrets greps the histories of all runs, all logs, and what the lab's
// inventory holds for every secret. Each must be found where it belongs, or the
// test would prove nothing; so must the machine.
func (s *site) noSecrets(t *testing.T, machine string) {
	inventory, err := os.ReadFile(s.Env["FQDN_TO_IPMI_FILE"])
	require.NoError(t, err)
	key, err := os.ReadFile(strings.Replace(s.Env["FQDN_TO_SSH_FILE"], "ssh.json", "ssh.key", 1))
	require.NoError(t, err)
	secrets := map[string]string{
		"the BMC's password":        lab.BMCPassword,
		"the PDU's community":       lab.CommunityWrite,
		"Bugzilla's API key":        apiKey,
		"the sheriff's accessToken": accessToken,
		"the ssh key":               strings.Split(string(key), "\n")[1],
	}
	require.Contains(t, string(inventory), lab.BMCPassword)
	if s.tc != nil {
		for i, token := range s.tc.TaskTokens() {
			secrets[fmt.Sprintf("the accessToken %d of a task", i)] = token
		}
		secrets["the seal key"], secrets["roller's own accessToken"] = s.Env["ROLLER_SEAL_KEY"], s.Env["TASKCLUSTER_ACCESS_TOKEN"]
	}

	var all strings.Builder
	list, err := s.client.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1000})
	require.NoError(t, err)
	require.NotEmpty(t, list.GetExecutions())
	for _, e := range list.GetExecutions() {
		for _, event := range s.history(t, starter.Job{WorkflowID: e.GetExecution().GetWorkflowId(), TaskID: e.GetExecution().GetRunId()}) {
			all.WriteString(decoded(t, event))
		}
		all.WriteString(protojson.Format(e))
	}
	logs, err := s.Logs()
	require.NoError(t, err)
	all.WriteString(logs)
	all.WriteString(pretty(s.bugs.Bugs()))
	require.Contains(t, all.String(), machine, "the export holds the runs")
	for what, secret := range secrets {
		require.NotEmpty(t, secret)
		require.NotContains(t, all.String(), secret, what)
	}
}

// decoded is an event as text, with its payloads' bytes read as such: protojson
// alone would show them in base64, in which no grep finds anything.
func decoded(t *testing.T, event interface{ String() string }) string {
	t.Helper()
	text := event.String()
	var unquoted string
	if json.Unmarshal([]byte(`"`+text+`"`), &unquoted) == nil {
		return text + unquoted
	}
	return text + strings.ReplaceAll(text, `\"`, `"`)
}
