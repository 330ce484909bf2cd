package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The commands that the account's ForceCommand lets through.
const (
	commandReboot   = "reboot"
	commandShutdown = "shutdown -f -t 3 -r" // Windows, through a bash shell
	commandBootID   = "boot_id"             // only of roller's own ForceCommand
)

var errNoAccount = errors.New("no such account or key")

// serveConn is one connection's whole dialogue. Until sshd is ready the
// connection is open and silent, as on a machine whose network is up first.
func (m *Machine) serveConn(os *life, tcp *net.TCPConn) {
	select {
	case <-os.ready:
	case <-os.gone:
		return
	}
	server, channels, requests, err := ssh.NewServerConn(conn{tcp, m, os}, m.sshConfig())
	if err != nil {
		return // a probe, a wrong key, or a client that knows another host key
	}
	m.lab.running.Go(func() { ssh.DiscardRequests(requests) })
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.Prohibited, "sessions only") // the client has gone
			continue
		}
		m.serveSession(server, tcp, offered)
	}
}

func (m *Machine) sshConfig() *ssh.ServerConfig {
	config := &ssh.ServerConfig{ServerVersion: "SSH-2.0-lab", PublicKeyCallback: m.authorize}
	keys := m.hostKeys()
	key := keys.right
	if m.Faults().WrongHostKey {
		key = keys.wrong
	}
	config.AddHostKey(key)
	return config
}

func (m *Machine) authorize(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if m.spec.NoSSH || meta.User() != SSHUser || !bytes.Equal(key.Marshal(), m.lab.account.Marshal()) {
		return nil, errNoAccount
	}
	return &ssh.Permissions{}, nil
}

// serveSession runs the one command of a session: what was asked for, or an
// empty one for a shell, which the ForceCommand refuses like any other.
func (m *Machine) serveSession(server *ssh.ServerConn, tcp *net.TCPConn, offered ssh.NewChannel) {
	session, requests, err := offered.Accept()
	if err != nil {
		return
	}
	defer func() { _ = session.Close() }() // closed already when the connection is
	for r := range requests {
		if r.Type != "exec" && r.Type != "shell" {
			_ = r.Reply(false, nil) // no pty, no environment, no subsystem
			continue
		}
		var exec struct{ Command string }
		if r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) != nil {
			return
		}
		_ = r.Reply(true, nil)
		answer := m.forceCommand(strings.TrimSpace(exec.Command), server.RemoteAddr().String())
		if answer.lost {
			closeConn(tcp, hardStop)
			return
		}
		answer.send(session)
		return
	}
}

type answer struct {
	stdout, stderr string
	status         uint32
	lost           bool
}

// send's errors all say that the connection has gone, as it may while the
// machine reboots.
func (a answer) send(session ssh.Channel) {
	_, _ = io.WriteString(session, a.stdout)
	_, _ = io.WriteString(session.Stderr(), a.stderr)
	_, _ = session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{a.status})) // RFC 4254, 6.10
}

// forceCommand is the script that the account is limited to.
func (m *Machine) forceCommand(command, from string) answer {
	control := command == commandReboot || command == commandShutdown
	end := m.lab.journal.begin(Entry{
		Device: DeviceSSH, Host: m.FQDN(), Machine: m.FQDN(), Command: command, Control: control, From: from,
	})
	faults, bootID := m.Faults(), ""
	if m.spec.SSHBootID {
		bootID = m.State().BootID + "\n"
	}
	switch {
	case control && faults.LoseCommand:
		end(false)
		return answer{lost: true}
	case control:
		if !faults.IgnoreSSH {
			m.reboot()
		}
		end(!faults.IgnoreSSH)
		return answer{stdout: bootID, lost: faults.LoseCommandReply}
	case command == commandBootID && m.spec.SSHBootID:
		end(true)
		return answer{stdout: bootID}
	}
	end(false)
	return answer{stderr: fmt.Sprintf("%q is not allowed\n", command), status: 1}
}
