package deploy_test

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// readUnits returns the systemd units: each setting with its values, an empty one too.
func readUnits(t *testing.T) map[string]map[string][]string {
	t.Helper()
	paths, err := filepath.Glob("systemd/*.service")
	require.NoError(t, err)
	require.Len(t, paths, 8)
	units := map[string]map[string][]string{}
	for _, path := range paths {
		f, err := os.Open(path)
		require.NoError(t, err)
		u := map[string][]string{}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if key, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(key, "#") {
				u[key] = append(u[key], value)
			}
		}
		require.NoError(t, lines.Err())
		require.NoError(t, f.Close())
		units[path] = u
	}
	return units
}

func TestUnits(t *testing.T) {
	t.Parallel()
	install, err := os.ReadFile("install")
	require.NoError(t, err)
	defaults, err := config.Load(nil)
	require.NoError(t, err)
	for path, u := range readUnits(t) {
		for key, want := range map[string]string{
			"DynamicUser": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "NoNewPrivileges": "yes", "PrivateDevices": "yes",
			"MemoryDenyWriteExecute": "yes", "RestrictNamespaces": "yes", "SystemCallErrorNumber": "EPERM", "SupplementaryGroups": "roller",
		} {
			require.Equal(t, []string{want}, u[key], "%s: %s", path, key)
		}
		capabilities := ""
		if strings.HasPrefix(path, "systemd/roller-worker") {
			capabilities = "CAP_NET_RAW"
			stop, err := strconv.Atoi(u["TimeoutStopSec"][0])
			require.NoError(t, err)
			require.Greater(t, time.Duration(stop)*time.Second, defaults.Ladder.StopTimeout.D(), "a command under way is let end")
		}
		if path == "systemd/roller-api.service" || path == "systemd/roller-taskcluster.service" {
			stop, err := strconv.Atoi(u["TimeoutStopSec"][0])
			require.NoError(t, err)
			require.Greater(t, time.Duration(stop)*time.Second, defaults.Taskcluster.Timeout.D()+defaults.API.StartTimeout.D()+30*time.Second, "what was accepted is carried out")
		}
		require.Equal(t, []string{capabilities}, u["CapabilityBoundingSet"], path)
		require.Equal(t, []string{capabilities}, u["AmbientCapabilities"], path)
		program := filepath.Base(strings.Fields(u["ExecStart"][0])[0])
		require.Regexp(t, `\b`+program+`\b`, string(install), "%s: is not installed", path)
		for _, file := range u["EnvironmentFile"] {
			require.Contains(t, string(install), " "+file+"\n", "%s: is not installed", path)
		}
	}
}

// What the sample environment files set is read by somebody.
func TestEnvironmentFiles(t *testing.T) {
	t.Parallel()
	for file, reader := range map[string]string{
		"env/temporal.env": "temporal/production.yaml", "env/ui.env": "temporal-ui/production.yaml",
		"env/api.env": "../.env-dist", "env/worker.env": "../.env-dist", "env/roller-temporal.env": "temporal-ui/production.yaml",
		"env/taskcluster.env": "../.env-dist",
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		known, n := names(t, reader), 0
		for line := range strings.Lines(string(text)) {
			name, _, ok := strings.Cut(strings.TrimPrefix(line, "#"), "=")
			if !ok || strings.Contains(name, " ") || name == "TEMPORAL_TLS" { // the SDK's own
				continue
			}
			require.True(t, known[name], "%s: %s: %s does not name it", file, name, reader)
			n++
		}
		require.Positive(t, n, file)
	}
}

// The documented set-up hands its password to nothing but the shell's own printf:
// what is in a program's arguments, everybody on the machine may read.
func TestDocumentedPasswordIsInNoArguments(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/operate.md")
	require.NoError(t, err)
	uses := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "$password") {
			require.Regexp(t, `^printf [^|]*"\$password" (\||>>)`, line)
			require.Equal(t, 1, strings.Count(line, "$password"), line)
			uses++
		}
	}
	require.Equal(t, 2, uses)
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	status := make(chan int, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/__lbheartbeat__" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(<-status)
	}))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	healthy := func(args ...string) error {
		return exec.CommandContext(t.Context(), "./healthy", args...).Run()
	}
	require.NoError(t, healthy(port))
	status <- http.StatusOK
	require.NoError(t, healthy(port, "/__lbheartbeat__"))
	status <- http.StatusServiceUnavailable
	require.Error(t, healthy(port, "/__lbheartbeat__"))
	require.Error(t, healthy(port, "/elsewhere"))
	s.Close()
	require.Error(t, healthy(port), "nobody listens")
}

func TestWithSecrets(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("hunter2\n"), 0o600))
	cmd := exec.CommandContext(t.Context(), "temporal/with-secrets", "sh", "-c", `printf %s "$TEMPORAL_POSTGRES_PASSWORD"`)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TEMPORAL_POSTGRES_PASSWORD_FILE=" + file}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "hunter2", string(out))
}
