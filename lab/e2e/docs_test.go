package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

// What docs/api.md tells people to type does what it says, word for word but for the
// address and the task_id.
func TestDocumentedRequests(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed here; CI has it", tool)
		}
	}
	text, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	functions := regexp.MustCompile("(?s)```bash\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, functions)
	commands := regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, commands, 6)

	s := newSite(t, nil, lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: time.Minute}})
	id := "e62c4d06-..."
	type body struct {
		TaskID     string `json:"task_id"`
		State      string
		Cancelling bool
		Jobs       []struct{ State string }
		Workers    []struct {
			WorkerID string `json:"worker_id"`
		}
	}
	setting := ""
	run := func(i int) (said body) {
		command := strings.NewReplacer("https://roller.example.com", s.APIURL, "e62c4d06-...", id).Replace(commands[i][1])
		cmd := exec.CommandContext(t.Context(), "bash", "-c", string(functions[1])+setting+command)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TASKCLUSTER_CLIENT_ID=" + sheriff, "TASKCLUSTER_ACCESS_TOKEN=" + accessToken}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", command, out)
		if strings.HasPrefix(command, "jobs=") {
			setting = command + "\n"
			return said
		}
		require.NoError(t, json.Unmarshal(out, &said), "%s: %s", command, out)
		return said
	}
	run(0)
	id = run(1).TaskID
	require.NotEmpty(t, id)
	require.Eventually(t, func() bool { return len(run(2).Jobs) == 1 }, enough, 100*time.Millisecond)
	require.Equal(t, "running", run(3).State)
	require.True(t, run(4).Cancelling)
	require.Equal(t, "ms1-10", run(5).Workers[0].WorkerID)
}
