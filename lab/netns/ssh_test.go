//go:build lab && linux

package netns

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// sshTo runs OpenSSH's client with the files that WriteFiles gives to roller.
func sshTo(t *testing.T, l *Lab, m *Machine, command string, options ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	l.WriteFiles(dir)
	args := append([]string{
		"-F", "none", "-i", filepath.Join(dir, "ssh.key"), "-o", "UserKnownHostsFile=" + filepath.Join(dir, "known_hosts"),
		"-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=2",
	}, options...)
	return tool(t, l, "ssh", append(args, SSHUser+"@"+m.Addr, command)...)
}

func TestSSHRebootGoesDownAndComesBack(t *testing.T) {
	t.Parallel()
	opts := with(quick, "ms1-1", "ms1-2")
	opts.Boot, opts.SSHDelay = 2*time.Second, 3*time.Second
	l := Start(t, opts)
	m, other := l.Machines()[0], l.Machines()[1]
	before, err := sshTo(t, l, m, "boot_id")
	require.NoError(t, err)
	require.Equal(t, state(t, m).BootID, before)
	held := hold(t, l, m)

	began := time.Now().Truncate(time.Millisecond)
	_, err = sshTo(t, l, m, "reboot", "-o", "HostKeyAlias="+m.FQDN)
	require.NoError(t, err, "the answer comes before the machine goes")
	down := edgeAfter(t, l, m, rig.Down, began)
	require.False(t, pings(t, l, m))
	up := edgeAfter(t, l, m, rig.Up, began)
	_, err = sshTo(t, l, m, "boot_id")
	require.Error(t, err, "it pings, and sshd is not there yet")
	banner := edgeAfter(t, l, m, rig.Banner, began)
	require.GreaterOrEqual(t, up.At.Sub(down.At), opts.Boot-time.Millisecond)
	require.GreaterOrEqual(t, banner.At.Sub(up.At), opts.SSHDelay-time.Millisecond)
	require.True(t, pings(t, l, m))
	after, err := sshTo(t, l, m, "boot_id")
	require.NoError(t, err)
	require.NotEqual(t, before, after)
	require.Contains(t, held(), "Connection reset by peer", "as after a real reboot")

	controls := l.Controls(m.ID)
	require.Len(t, controls, 1)
	require.Equal(t, Entry{At: controls[0].At, Device: rig.SSH, Machine: m.ID, Command: "reboot", Control: true, Executed: true, From: bridgeAddr}, controls[0])
	require.False(t, controls[0].At.After(down.At))
	require.Equal(t, []string{rig.PowerOn, rig.Up, rig.Banner}, events(l, other), "the neighbour noticed nothing")
}

// hold opens a TCP connection to sshd; the function it returns sends on it and
// returns what became of it.
func hold(t *testing.T, l *Lab, m *Machine) func() string {
	t.Helper()
	const script = `exec 3<>/dev/tcp/$0/22; read -r banner <&3; echo ready; read -r go; echo x >&3; while read -r line <&3; do :; done 2>&1`
	cmd := l.Command(t.Context(), "bash", "-c", script, m.Addr)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ready := make([]byte, len("ready\n"))
	_, err = out.Read(ready)
	require.NoError(t, err)
	return func() string {
		_, err := in.Write([]byte("go\n"))
		require.NoError(t, err)
		rest := make([]byte, 4096)
		n, _ := out.Read(rest) // an end without a word is what the caller must see
		_ = cmd.Wait()         // its status says nothing more
		return string(rest[:n])
	}
}

func TestSSHAllowsNothingElse(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	for name, tc := range map[string]struct {
		command string
		options []string
		want    string
	}{
		"another command": {"id", nil, `"id" is not allowed`},
		"no shell":        {"", []string{"-T"}, `"" is not allowed`},
		"without the key": {"reboot", []string{"-o", "PubkeyAuthentication=no"}, "Permission denied (publickey)"},
	} {
		out, err := sshTo(t, l, m, tc.command, tc.options...)
		require.Error(t, err, name)
		require.Contains(t, out, tc.want, name)
	}
	require.Empty(t, l.Controls(m.ID))
	require.Equal(t, []string{rig.PowerOn, rig.Up, rig.Banner}, events(l, m))
}
