package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// pseudoterminal is a terminal of 50 columns, and where its user looks.
func pseudoterminal(t *testing.T) (user, tty *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = user.Close() })
	fd := int(user.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 50}))
	return user, tty
}

// The real program on a real terminal draws, and in a pipe it does not.
func TestFollowOnARealTerminal(t *testing.T) {
	t.Parallel()
	view := viewOf("reboot", workflows.BugFiled)
	view.Result.Attempts[0].Why = strings.Repeat("long ", 40)
	env := append(served(t, &oneJob{view: view}), "TERM=xterm")
	user, tty := pseudoterminal(t)
	cmd := exec.CommandContext(t.Context(), rollerBinary, "start", "reboot", "ms1-10", "mdc1", "--follow")
	cmd.Env, cmd.Dir = env, t.TempDir()
	var errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = tty, &errOut
	require.NoError(t, cmd.Start())
	require.NoError(t, tty.Close())
	shown, _ := io.ReadAll(user) // it ends with an error when the terminal has no program any more
	require.Error(t, cmd.Wait())
	require.Equal(t, 3, cmd.ProcessState.ExitCode(), "%s%s", shown, errOut.String())
	text := strings.ReplaceAll(string(shown), "\r\n", "\n")
	require.Contains(t, text, "\nreboot of mdc1/ms1-10  bug_filed  1:00\n")
	require.Contains(t, text, "\n  1 ssh_reboot         no_effect    1:00  long lo\n", "a wider line would wrap")
	require.NotContains(t, tell(t, env, "start reboot ms1-10 mdc1 --follow").out, "reboot of mdc1/ms1-10")
}
