package activities

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// toolChild, when set, makes the test below play a worker that runs ipmitool.
const toolChild = "ROLLER_TEST_TOOL_CHILD"

// Promise 2: an ipmitool that has not yet sent its command when the worker is
// killed never sends it.
func TestToolDiesWithItsWorker(t *testing.T) {
	if os.Getenv(toolChild) != "" {
		_, err := toolCall{bmc: config.IPMI{Host: "bmc", Port: 623}, words: []string{"chassis"}, session: time.Hour}.run(t.Context())
		require.NoError(t, err)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	script := "#!/bin/sh\necho $$ > " + pid + ".new\nmv " + pid + ".new " + pid + "\nexec sleep 600\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ipmitool"), []byte(script), 0o700))
	worker := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestToolDiesWithItsWorker$")
	worker.Env = append(os.Environ(), toolChild+"=1", "PATH="+dir+":"+os.Getenv("PATH"))
	require.NoError(t, worker.Start())
	var tool string
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(pid)
		tool = strings.TrimSpace(string(text))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	t.Cleanup(func() { _ = exec.Command("kill", "-9", tool).Run() })
	require.NoError(t, worker.Process.Kill())
	_ = worker.Wait()
	require.Eventually(t, func() bool { return !runs(tool) }, time.Minute, 10*time.Millisecond)
}

// runs reports whether a process is there and no zombie (proc(5), stat).
func runs(pid string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, rest, _ := strings.Cut(string(text), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}
