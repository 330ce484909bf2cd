//go:build production

package production

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// within is set for the copy of the test that runs in the namespaces.
const within = "ROLLER_TEST_PRODUCTION"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "systemctl" {
		if err := systemctl(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "systemctl:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestOperate runs docs/operate.md in a network, mount and process namespace:
// /etc, /usr and /var are written to layers that vanish with it.
func TestOperate(t *testing.T) {
	if os.Getenv(within) != "" {
		operate(t)
		return
	}
	require.Zero(t, os.Getuid(), "run as root: make test-postgres")
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestOperate$", "-test.v")
	cmd.Env = append(os.Environ(), within+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestOperate", "%s", out)
}

func operate(t *testing.T) {
	layers(t, os.Getenv(within))
	stubs := filepath.Join("/run", "stubs")
	require.NoError(t, os.Mkdir(stubs, 0o755))
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(stubs, "systemctl")))
	// What is not this document's to prove: the packages are there, and the
	// binaries have been built by make.
	for name, text := range map[string]string{"apt-get": "exit 0", "make": `[ "$1" = install ] && exec deploy/install`} {
		require.NoError(t, os.WriteFile(filepath.Join(stubs, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	sh := func(text string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
		cmd.Dir = root
		cmd.Env = []string{"PATH=" + stubs + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		require.NoError(t, err, "%s\n%s\n%s", text, out, logs())
		return string(out)
	}
	sh("ip link set lo up && (pg_lsclusters -h | grep -q '^15 *main ' || pg_createcluster 15 main)")

	blocks := documented(t, filepath.Join(root, "docs", "operate.md"))
	require.Len(t, blocks, 2)
	sh(blocks[0])
	fillIn(t)
	sh(blocks[1])

	sh("timeout 60 bash -c 'until curl -sf http://127.0.0.1:8000/__lbheartbeat__; do sleep 0.2; done'")
	out := sh("TEMPORAL_NAMESPACE=roller ROLLER_CONFIGURATION=Prod roller start ping lo-1 mdc1 --follow")
	require.Contains(t, out, "4 of 4 probes answered (icmp)", "as an unprivileged user, by CAP_NET_RAW")
	sh("curl -sf http://127.0.0.1:9464/metrics | grep roller_build_info >/dev/null && curl -sf http://127.0.0.1:9465/metrics | grep roller_build_info >/dev/null")
	sh("systemd-analyze verify /etc/systemd/system/roller-*.service /etc/systemd/system/temporal*.service")
	// A second time everything is kept.
	sh("TEMPORAL_NAMESPACE=roller roller setup && deploy/install && grep -q 'TEMPORAL_POSTGRES_PASSWORD=.' /etc/temporal/temporal.env")
	require.NotContains(t, logs(), "panic: ")
	password := sh("sed -n 's/^TEMPORAL_POSTGRES_PASSWORD=//p' /etc/temporal/temporal.env")
	require.NotContains(t, logs(), strings.TrimSpace(password))
	sh("pg_ctlcluster 15 main stop -m immediate")
}

// layers makes the directories of the system private to this namespace.
func layers(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	require.NoError(t, syscall.Mount("proc", "/proc", "proc", 0, ""))
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"))
	require.NoError(t, syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"))
	for _, path := range []string{"/etc", "/usr/local", "/usr/lib", "/var/lib", "/var/log"} {
		name := strings.ReplaceAll(path, "/", "_")
		upper, work := filepath.Join(dir, name, "upper"), filepath.Join(dir, name, "work")
		require.NoError(t, os.MkdirAll(upper, 0o755))
		require.NoError(t, os.MkdirAll(work, 0o755))
		err := syscall.Mount("overlay", path, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", path, upper, work))
		require.NoError(t, err, "overlay on %s", path)
	}
}

// documented returns the shell blocks of the document's first section.
func documented(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## One machine, without containers\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for {
		_, rest, found := strings.Cut(section, "```sh\n")
		if !found {
			return blocks
		}
		block, after, _ := strings.Cut(rest, "```")
		blocks, section = append(blocks, block), after
	}
}

// fillIn is what the document leaves to the operator.
func fillIn(t *testing.T) {
	t.Helper()
	for path, values := range map[string][]string{
		"/etc/roller/api.env":    {"PUBLIC_URL=http://127.0.0.1:8000", "TASKCLUSTER_ROOT_URL=http://127.0.0.1:1", "ALLOWED_HOSTS=127.0.0.1"},
		"/etc/roller/worker.env": {"REBOOT_METHODS=ssh_reboot"},
	} {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		for _, v := range values {
			_, err = fmt.Fprintln(f, v)
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
	}
	inventory := `{"lo-1.test.releng.mdc1.mozilla.com": {"addr": "127.0.0.1", "ssh": {"user": "roller", "key_file": "/etc/roller/inventory/key"}}}`
	require.NoError(t, os.WriteFile("/etc/roller/inventory/ssh.json", []byte(inventory), 0o640))
	for _, cmd := range []string{
		"ssh-keygen -q -t ed25519 -N '' -f /etc/roller/inventory/key", "touch /etc/roller/inventory/known_hosts",
		"chgrp -R roller /etc/roller/inventory", "chmod 0640 /etc/roller/inventory/key",
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", cmd).CombinedOutput()
		require.NoError(t, err, "%s: %s", cmd, out)
	}
}

func logs() string {
	paths, _ := filepath.Glob("/run/*.log")
	var all strings.Builder
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&all, "== %s\n%s\n", filepath.Base(path), text[max(0, len(text)-1500):])
	}
	return all.String()
}
