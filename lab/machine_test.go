package lab

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// quick is a machine that needs as little time as can still be told apart.
var quick = Timing{
	Shutdown: 5 * time.Millisecond, Boot: 20 * time.Millisecond, SSHDelay: 5 * time.Millisecond,
	PDUDelay: 20 * time.Millisecond, PDULag: 5 * time.Millisecond, Cycle: 5 * time.Millisecond,
}

func startLab(t *testing.T, specs ...Spec) *Lab {
	t.Helper()
	for i := range specs {
		if specs[i].WorkerID == "" {
			specs[i].WorkerID = "ms1-10"
		}
		if specs[i].WorkerGroup == "" {
			specs[i].WorkerGroup = "mdc1"
		}
		if specs[i].Timing == (Timing{}) {
			specs[i].Timing = quick
		}
	}
	l, err := Start(Options{Machines: specs})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func await(t *testing.T, l *Lab, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, l.Wait(ctx, condition))
}

func (l *Lab) login(t *testing.T, m *Machine) *ssh.Client {
	t.Helper()
	c, err := l.tryLogin(t, m, SSHUser)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // the machine may have closed it
	return c
}

func (l *Lab) tryLogin(t *testing.T, m *Machine, user string) (*ssh.Client, error) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(l.key)
	require.NoError(t, err)
	return ssh.Dial("tcp", hostPort(m.Addr(), SSHPort), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(m.HostKey()), Timeout: patience,
	})
}

func probe(m *Machine) error {
	c, err := net.DialTimeout("tcp", hostPort(m.Addr(), SSHPort), patience)
	if err != nil {
		return err
	}
	return c.Close()
}
