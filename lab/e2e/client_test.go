package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// tell carries out a command of the real program and returns its standard output
// and exit status.
func (s *site) tell(t *testing.T, env []string, line string) (out, errOut string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), rollerBinary, strings.Fields(line)...)
	cmd.Env, cmd.Dir = append(s.Environ(), env...), t.TempDir()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		require.NoError(t, err)
	}
	require.NotContains(t, stdout.String()+stderr.String(), accessToken)
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// The command line through the API, and through Temporal: the same ladders, the
// same lines, the same exit statuses.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,ipmi_reset,file_bugzilla_bug"},
		lab.Spec{WorkerID: "well", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "well-2", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "dead", WorkerGroup: "mdc1", Faults: lab.Faults{NeverReturns: true}},
		lab.Spec{WorkerID: "dead-2", WorkerGroup: "mdc1", Faults: lab.Faults{NeverReturns: true}})
	master := tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}
	temporary, err := master.CreateTemporaryCredentials(time.Hour, "project:releng:roller:*")
	require.NoError(t, err)
	throughAPI := []string{
		"ROLLER_API_URL=" + s.APIURL, "TEMPORAL_ADDRESS=127.0.0.1:1", "TASKCLUSTER_CLIENT_ID=" + temporary.ClientID,
		"TASKCLUSTER_ACCESS_TOKEN=" + temporary.AccessToken, "TASKCLUSTER_CERTIFICATE=" + temporary.Certificate,
	}
	for name, tc := range map[string]struct {
		env        []string
		well, dead string
	}{
		"API":      {throughAPI, "well", "dead"},
		"Temporal": {nil, "well-2", "dead-2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, errOut, status := s.tell(t, tc.env, "start reboot "+tc.well+" mdc1 --follow")
			require.Zero(t, status, "%s%s", out, errOut)
			require.Regexp(t, `(?m)^\d\d:\d\d:\d\d  ssh_reboot +back `, out)
			require.True(t, strings.HasSuffix(out, "\nback\n"), out)

			out, errOut, status = s.tell(t, tc.env, "start reboot "+strings.ToUpper(tc.dead)+" mdc1 --follow -o json")
			require.Equal(t, 3, status, "%s%s", out, errOut)
			var j api.JobDetail
			require.NoError(t, json.Unmarshal([]byte(out), &j), out)
			require.Equal(t, workflows.BugFiled, j.Outcome)
			require.NotEmpty(t, j.Bug.URL)

			out, errOut, status = s.tell(t, tc.env, "show machine/mdc1/"+tc.dead)
			require.Zero(t, status, errOut)
			require.Contains(t, out, "Ended: **bug_filed**")
			out, errOut, status = s.tell(t, tc.env, "list --machine mdc1/"+tc.dead)
			require.Zero(t, status, errOut)
			require.Contains(t, out, j.TaskID)
			_, errOut, status = s.tell(t, tc.env, "cancel machine/mdc1/"+tc.dead)
			require.Equal(t, 10, status, errOut)
			require.Contains(t, errOut, "the job has ended already")
		})
	}
}
