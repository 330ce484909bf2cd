package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

func readEnv(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	env := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		require.True(t, ok, line)
		env[name] = value
	}
	return env
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := new(http.Client).Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	machines := filepath.Join(dir, "machines.json")
	require.NoError(t, os.WriteFile(machines, []byte(`[{"worker_id":"a","worker_group":"mdc1","timing":{"boot":"5ms"}}]`), 0o600))

	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	out, in := io.Pipe()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code <- run(ctx, []string{"serve", "--dir", dir, "--machines", machines}, in, &stderr)
		_ = in.Close()
	}()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "ready", lines.Text())

	env := readEnv(t, filepath.Join(dir, "env"))
	var views []lab.View
	require.NoError(t, json.Unmarshal([]byte(get(t, env["LAB_URL"]+"/machines")), &views))
	require.Len(t, views, 1)
	require.True(t, views[0].State.SSH)
	for _, name := range []string{"BUGZILLA_URL", "TASKCLUSTER_ROOT_URL"} {
		require.NotEmpty(t, get(t, env[name]), name)
	}
	for _, name := range []string{"FQDN_TO_SSH_FILE", "FQDN_TO_IPMI_FILE", "FQDN_TO_PDU_FILE", "FQDN_TO_XEN_FILE", "SSH_KNOWN_HOSTS_FILE"} {
		require.FileExists(t, env[name])
	}
	for _, name := range []string{"SNMP_COMMUNITY", "BUGZILLA_API_KEY", "TASKCLUSTER_CLIENT_ID", "TASKCLUSTER_ACCESS_TOKEN", "LAB_SHERIFF_ACCESS_TOKEN"} {
		require.NotEmpty(t, env[name])
	}
	info, err := os.Stat(filepath.Join(dir, "env"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	cancel()
	require.False(t, lines.Scan(), "one line is all it prints")
	require.Zero(t, <-code, "%s", stderr.String())
	require.Contains(t, stderr.String(), `"msg":"edge"`)
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":         {nil, 2, "usage:"},
		"another command": {[]string{"stop"}, 2, "usage:"},
		"no directory":    {[]string{"serve"}, 2, "usage:"},
		"too much":        {[]string{"serve", "--dir", dir, "x"}, 2, "usage:"},
		"unknown flag":    {[]string{"serve", "--port", "1"}, 2, "flag provided but not defined: -port"},
		"help":            {[]string{"serve", "--help"}, 0, "usage:"},
		"no file":         {[]string{"serve", "--dir", dir, "--machines", dir + "/absent"}, 1, "absent: no such file"},
		"unknown key":     {[]string{"serve", "--dir", dir, "--machines", write("key", `[{"id":"a"}]`)}, 1, `unknown field "id"`},
		"unknown fault":   {[]string{"serve", "--dir", dir, "--machines", write("fault", `[{"faults":{"hang":true}}]`)}, 1, `unknown field "hang"`},
		"bad address":     {[]string{"serve", "--dir", dir, "--listen", "127.0.0.1:x"}, 1, "unknown port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			require.Equal(t, tt.code, run(t.Context(), tt.args, &stdout, &stderr))
			require.Contains(t, stderr.String(), tt.want)
			require.Empty(t, stdout.String())
		})
	}
}
