package lab

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// runSSH runs one command and returns its output and exit status.
func runSSH(t *testing.T, c *ssh.Client, command string) (string, int) {
	t.Helper()
	s, err := c.NewSession()
	require.NoError(t, err)
	out, err := s.Output(command)
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return string(out), exit.ExitStatus()
	}
	require.NoError(t, err)
	return string(out), 0
}

func TestSSHForceCommand(t *testing.T) {
	t.Parallel()
	type want struct {
		status          int
		bootID          bool
		control, reboot bool
	}
	for name, tt := range map[string]struct {
		spec    Spec
		command string
		want    want
	}{
		"reboot":                  {Spec{}, "reboot", want{0, false, true, true}},
		"shutdown":                {Spec{}, "shutdown -f -t 3 -r", want{0, false, true, true}},
		"reboot with boot id":     {Spec{SSHBootID: true}, "reboot", want{0, true, true, true}},
		"boot id":                 {Spec{SSHBootID: true}, "boot_id", want{0, true, false, false}},
		"boot id, old script":     {Spec{}, "boot_id", want{1, false, false, false}},
		"another command":         {Spec{SSHBootID: true}, "reboot; id", want{1, false, false, false}},
		"no command":              {Spec{SSHBootID: true}, "", want{1, false, false, false}},
		"reboot that is ignored":  {Spec{Faults: Faults{IgnoreSSH: true}}, "reboot", want{0, false, true, false}},
		"windows that ignores it": {Spec{Faults: Faults{IgnoreSSH: true}}, "shutdown -f -t 3 -r", want{0, false, true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.spec.Timing = Timing{Shutdown: never}
			l := startLab(t, tt.spec)
			m := l.Machines()[0]
			out, status := runSSH(t, l.login(t, m), tt.command)
			require.Equal(t, tt.want.status, status)
			id := ""
			if tt.want.bootID {
				id = m.State().BootID + "\n"
			}
			require.Equal(t, id, out)

			log := l.Log()
			require.Len(t, log, 1)
			e := log[0]
			require.Equal(t, []any{DeviceSSH, tt.command, tt.want.control, m.FQDN()}, []any{e.Device, e.Command, e.Control, e.Machine})
			require.Equal(t, tt.want.status == 0 && !tt.spec.Faults.IgnoreSSH, e.Executed)
			require.False(t, e.End.Before(e.At))
			require.Equal(t, tt.want.reboot, pending(m), "a shutdown is on its way")
		})
	}
}

func TestSSHReboots(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{SSHBootID: true})
	m := l.Machines()[0]
	before, _ := runSSH(t, l.login(t, m), "reboot")
	await(t, l, func() bool { return m.State().Boots == 2 && m.State().SSH })
	after, _ := runSSH(t, l.login(t, m), "boot_id")
	require.NotEqual(t, before, after)
	require.Equal(t, m.State().BootID+"\n", after)
	require.Len(t, l.Controls(m.FQDN()), 1)
}

func TestSSHRefusesLogin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spec Spec
		user string
		want string
	}{
		"another user":   {Spec{}, "root", "unable to authenticate"},
		"no account":     {Spec{NoSSH: true}, SSHUser, "unable to authenticate"},
		"wrong host key": {Spec{Faults: Faults{WrongHostKey: true}}, SSHUser, "host key mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, tt.spec)
			m := l.Machines()[0]
			_, err := l.tryLogin(t, m, tt.user)
			require.ErrorContains(t, err, tt.want)
			require.NoError(t, probe(m))
			require.Empty(t, l.Log())
		})
	}
}

func TestSSHReplyLost(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{Faults: Faults{LoseCommandReply: true}, SSHBootID: true})
	m := l.Machines()[0]
	c := l.login(t, m)
	id, _ := runSSH(t, c, "boot_id")
	require.NotEmpty(t, id, "only the replies to control commands are lost")
	s, err := c.NewSession()
	require.NoError(t, err)
	out, err := s.Output("reboot")
	require.Error(t, err)
	_, exited := errors.AsType[*ssh.ExitError](err)
	require.False(t, exited, "there is no exit status")
	require.Empty(t, out)
	await(t, l, func() bool { return m.State().Boots == 2 })
	require.Len(t, l.Controls(m.FQDN()), 1)
}

// TestSSHConnectionsEnd holds a connection while its machine goes down: an
// orderly shutdown closes it, everything else resets it.
func TestSSHConnectionsEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		act    func(*Machine)
		faults Faults
		want   error
	}{
		"os reboot":       {(*Machine).reboot, Faults{}, io.EOF},
		"soft off":        {func(m *Machine) { m.softOff() }, Faults{}, io.EOF},
		"reset":           {func(m *Machine) { m.reset() }, Faults{}, syscall.ECONNRESET},
		"power lost":      {(*Machine).Kill, Faults{}, syscall.ECONNRESET},
		"outlet off":      {func(m *Machine) { m.feed(false) }, Faults{}, syscall.ECONNRESET},
		"too fast":        {(*Machine).reboot, Faults{TooFast: true}, syscall.ECONNRESET},
		"hung, then lost": {(*Machine).Kill, Faults{Hung: true}, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startLab(t, Spec{}).Machines()[0]
			c, err := net.Dial("tcp", hostPort(m.Addr(), SSHPort))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, c.Close()) })
			banner := make([]byte, len("SSH-2.0-lab\r\n"))
			_, err = io.ReadFull(c, banner)
			require.NoError(t, err)
			require.Equal(t, "SSH-2.0-lab\r\n", string(banner))

			m.SetFaults(tt.faults)
			tt.act(m)
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, tt.want)
		})
	}
}

// TestSSHUpBeforeBanner is the state between network and sshd: connections are
// accepted and nothing is said on them.
func TestSSHUpBeforeBanner(t *testing.T) {
	t.Parallel()
	timing := quick
	timing.SSHDelay = never
	l := startLab(t, Spec{Timing: timing})
	m := l.Machines()[0]
	require.True(t, m.reset())
	await(t, l, func() bool { return m.State().Up })
	require.False(t, m.State().SSH)
	c, err := net.Dial("tcp", hostPort(m.Addr(), SSHPort))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "no banner")
}

func TestSSHHungSaysNothing(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	c := l.login(t, m)
	m.SetFaults(Faults{Hung: true})
	require.Error(t, probe(m), "no new connection")
	replied := make(chan error, 1)
	go func() {
		_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
		replied <- err
	}()
	select {
	case err := <-replied:
		require.Fail(t, "a hung machine answered", "%v", err)
	case <-time.After(50 * time.Millisecond):
	}
	m.SetFaults(Faults{})
	require.NoError(t, <-replied, "the connection has outlived it")
}
