package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const script = "roller-forcecommand"

// shells are the POSIX shells of this machine; sh is always among them. They
// are named by path, since the tests leave nothing of PATH.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for name, args := range map[string][]string{"sh": nil, "dash": nil, "bash": {"--posix"}, "mksh": nil, "busybox": {"sh"}} {
		path, err := exec.LookPath(name)
		if err == nil {
			found[name] = append([]string{path}, args...)
		}
	}
	require.Contains(t, found, "sh")
	return found
}

// machine is a directory of commands that note how they were called. It is the
// whole PATH of the script: no real reboot can be reached.
type machine struct {
	dir, log, bootID string
}

func newMachine(t *testing.T, uid int, without ...string) machine {
	t.Helper()
	m := machine{dir: t.TempDir(), log: filepath.Join(t.TempDir(), "log"), bootID: filepath.Join(t.TempDir(), "boot_id")}
	require.NoError(t, os.WriteFile(m.bootID, []byte("11111111-2222-3333-4444-555555555555\n"), 0o600))
	commands := map[string]string{
		"id":       fmt.Sprintf("echo %d", uid),
		"sysctl":   `[ "$*" = "-n kern.bootsessionuuid" ] && echo MAC-UUID`,
		"reboot":   fmt.Sprintf(`echo "reboot $*" >>'%s'`, m.log),
		"shutdown": fmt.Sprintf(`echo "shutdown $*" >>'%s'`, m.log),
		"sudo":     fmt.Sprintf(`echo "sudo $*" >>'%s'; [ "$1" = -n ] && shift && exec "$@"`, m.log),
	}
	for _, name := range without {
		delete(commands, name)
	}
	for name, body := range commands {
		m.put(t, name, body)
	}
	return m
}

// put writes one command. No other test may fork meanwhile: its child would hold
// the file open for writing for a moment, and to run it then is "text file busy".
func (m machine) put(t *testing.T, name, body string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700))
}

type outcome struct {
	exit           int
	stdout, stderr string
}

func run(t *testing.T, shell, args, env []string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shell[0], append(append(shell[1:len(shell):len(shell)], script), args...)...)
	cmd.Env = env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func (m machine) ask(t *testing.T, shell []string, command string, env ...string) outcome {
	t.Helper()
	return run(t, shell, []string{"-p", m.dir, "-f", m.bootID}, append([]string{"SSH_ORIGINAL_COMMAND=" + command}, env...))
}

func (m machine) ran(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(m.log)
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	return string(text)
}

func TestForceCommandRuns(t *testing.T) {
	t.Parallel()
	const id = "11111111-2222-3333-4444-555555555555\n"
	cases := map[string]struct {
		command string
		uid     int
		without []string
		spoil   func(t *testing.T, m machine)
		want    outcome
		ran     string
	}{
		"boot id":             {command: "boot_id", uid: 1000, want: outcome{stdout: id}},
		"boot id, macOS":      {command: "boot_id", uid: 1000, spoil: noBootIDFile, want: outcome{stdout: "MAC-UUID\n"}},
		"boot id, neither":    {command: "boot_id", uid: 1000, spoil: noBootIDFile, without: []string{"sysctl"}, want: outcome{exit: 1, stderr: "roller-forcecommand: this machine has no boot ID\n"}},
		"reboot":              {command: "reboot", uid: 1000, want: outcome{stdout: id}, ran: "sudo -n reboot\nreboot \n"},
		"reboot as root":      {command: "reboot", uid: 0, want: outcome{stdout: id}, ran: "reboot \n"},
		"reboot, no sudo":     {command: "reboot", uid: 1000, without: []string{"sudo"}, want: outcome{stdout: id}, ran: "reboot \n"},
		"reboot, no boot id":  {command: "reboot", uid: 0, spoil: noBootIDFile, without: []string{"sysctl"}, want: outcome{stderr: "roller-forcecommand: this machine has no boot ID\n"}, ran: "reboot \n"},
		"shutdown":            {command: "shutdown -f -t 3 -r", uid: 1000, want: outcome{stdout: id}, ran: "sudo -n shutdown -f -t 3 -r\nshutdown -f -t 3 -r\n"},
		"shutdown on Windows": {command: "shutdown -f -t 3 -r", uid: 197609, without: []string{"sudo", "sysctl"}, spoil: noBootIDFile, want: outcome{stderr: "roller-forcecommand: this machine has no boot ID\n"}, ran: "shutdown -f -t 3 -r\n"},
		"sudo says no":        {command: "reboot", uid: 1000, spoil: sudoSaysNo, want: outcome{exit: 7, stdout: id}},
	}
	for name, c := range cases {
		for shell, argv := range shells(t) {
			t.Run(name+", "+shell, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t, c.uid, c.without...)
				if c.spoil != nil {
					c.spoil(t, m)
				}
				require.Equal(t, c.want, m.ask(t, argv, c.command))
				require.Equal(t, c.ran, m.ran(t))
			})
		}
	}
}

func noBootIDFile(t *testing.T, m machine) {
	t.Helper()
	require.NoError(t, os.Remove(m.bootID))
}

func sudoSaysNo(t *testing.T, m machine) {
	t.Helper()
	m.put(t, "sudo", "exit 7")
}

func TestForceCommandRefuses(t *testing.T) {
	t.Parallel()
	commands := []string{
		"", " ", "id", "reboot ", " reboot", "reboot -f", "reboot; id", "reboot\n", "REBOOT", "reboot\nid", "reboot*", "*", "?????",
		"shutdown -f -t 3 -r now", "shutdown  -f -t 3 -r", "shutdown -f -t 30 -r", "shutdown", "boot_id; reboot", "$(reboot)", "`reboot`",
		"-p /tmp reboot", "boot_id\treboot", "/sbin/reboot", "sh -c reboot", "internal-sftp", "scp -t /tmp",
	}
	for shell, argv := range shells(t) {
		for _, command := range commands {
			t.Run(fmt.Sprintf("%s, %q", shell, command), func(t *testing.T) {
				t.Parallel()
				m := newMachine(t, 1000)
				require.Equal(t, outcome{
					exit:   1,
					stderr: "roller-forcecommand: refused: only boot_id, reboot and \"shutdown -f -t 3 -r\" are allowed\n",
				}, m.ask(t, argv, command))
				require.Empty(t, m.ran(t))
			})
		}
	}
}

// A login without a command has no SSH_ORIGINAL_COMMAND, and a mistake in the
// options must not open anything.
func TestForceCommandOptions(t *testing.T) {
	t.Parallel()
	for shell, argv := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, 1000)
			got := run(t, argv, []string{"-p", m.dir}, nil)
			require.Equal(t, 1, got.exit)
			require.Contains(t, got.stderr, "refused")
			for _, args := range [][]string{{"-x"}, {"-p"}} {
				got := run(t, argv, append([]string{"-p", m.dir}, args...), []string{"SSH_ORIGINAL_COMMAND=reboot"})
				require.Equal(t, 1, got.exit)
				require.Empty(t, got.stdout)
			}
			require.Empty(t, m.ran(t))
		})
	}
}

// Only the options name other places, whatever variables sshd lets a client set.
func TestForceCommandIgnoresEnvironment(t *testing.T) {
	t.Parallel()
	for shell, argv := range shells(t) {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			m, theirs := newMachine(t, 1000), newMachine(t, 1000)
			env := []string{
				"PATH=" + theirs.dir, "boot_id_file=" + theirs.bootID, "OPTARG=" + theirs.dir, "OPTIND=7", "IFS=-o", "id=x",
				"option=p", "POSIXLY_CORRECT=1",
			}
			require.NoError(t, os.WriteFile(theirs.bootID, []byte("theirs\n"), 0o600))
			for _, command := range []string{"boot_id", "reboot"} {
				got := m.ask(t, argv, command, env...)
				require.Equal(t, outcome{stdout: "11111111-2222-3333-4444-555555555555\n"}, got)
			}
			require.Equal(t, "sudo -n reboot\nreboot \n", m.ran(t))
			require.Empty(t, theirs.ran(t))

			// Without options it is this machine's own boot ID.
			own, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
			require.NoError(t, err)
			got := run(t, argv, nil, append([]string{"SSH_ORIGINAL_COMMAND=boot_id"}, env...))
			require.Equal(t, outcome{stdout: string(own)}, got)

			// Nor does PATH say what is run for it on a machine without that file.
			got = run(t, argv, []string{"-f", filepath.Join(theirs.dir, "none")}, append([]string{"SSH_ORIGINAL_COMMAND=boot_id"}, env...))
			require.Equal(t, outcome{exit: 1, stderr: "roller-forcecommand: this machine has no boot ID\n"}, got)
		})
	}
}

func TestForceCommandSyntax(t *testing.T) {
	t.Parallel()
	for shell, argv := range shells(t) {
		out, err := exec.CommandContext(t.Context(), argv[0], append(argv[1:len(argv):len(argv)], "-n", script)...).CombinedOutput()
		require.NoError(t, err, "%s: %s", shell, out)
	}
	info, err := os.Stat(script)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o111, "operators copy it as it is")
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed here; CI has it")
	}
	out, err := exec.CommandContext(t.Context(), shellcheck, "--shell=sh", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, strings.TrimSpace(string(out)))
}
