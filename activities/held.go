package activities

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// Keepalives find a machine that has lost its state soon after its network is
// back; a machine that is down answers none of them for some minutes, which
// must not end the connection.
const (
	keepaliveEvery = 5 * time.Second
	keepaliveCount = 120 // Linux takes up to 127 (tcp(7), TCP_KEEPCNT)
)

// held is a TCP connection to the machine's SSH port that is kept open across a
// command. A kernel that does not know the connection answers with a reset
// (RFC 9293, 3.5.1): the machine has lost its state. A FIN, or silence, proves
// nothing: sshd closes a connection that says nothing after a while.
type held struct {
	conn  net.Conn
	reset chan struct{} // closed when a reset came and no FIN before it
	done  chan struct{}

	mu   sync.Mutex
	next int // byte of the greeting that is to be sent

	unacked func() (int, error) // bytes that the other kernel has not acknowledged
}

// greeting is a client's version string (RFC 4253, 4.2), sent one byte a check
// and never ended: sshd reads on, and leaves nothing unread that would make its
// kernel answer a later close with a reset.
const greeting = "SSH-2.0-roller_is_waiting_for_this_machine_to_restart"

// hold connects, or returns nil where there is nothing to hold on to.
func (a *Activities) hold(ctx context.Context, m config.Machine) *held {
	// By way of a bastion, its kernel answers for the connection and not the machine's.
	if m.SSH == nil || m.SSH.Jump != nil {
		return nil
	}
	d := net.Dialer{
		Timeout:         a.Config.Devices.SSHTimeout.D(),
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepaliveEvery, Interval: keepaliveEvery, Count: keepaliveCount},
	}
	conn, err := d.DialContext(ctx, "tcp", sshAddr(m))
	if err != nil {
		return nil
	}
	h := &held{conn: conn, reset: make(chan struct{}), done: make(chan struct{}), unacked: unackedOf(conn)}
	go h.read()
	return h
}

func (h *held) read() {
	defer close(h.done)
	_, err := io.Copy(io.Discard, h.conn)
	// No error is a FIN.
	if errors.Is(err, syscall.ECONNRESET) {
		close(h.reset)
	}
}

// wasReset is closed by a reset; nil where nothing is held.
func (h *held) wasReset() <-chan struct{} {
	if h == nil {
		return nil
	}
	return h.reset
}

// alive reports whether the connection can still prove something. One that was
// reset before the command was sent proves nothing about the command.
func (h *held) alive() bool {
	if h == nil {
		return false
	}
	select {
	case <-h.done:
		return false
	default:
		return true
	}
}

// ask makes the machine's kernel say whether it knows the connection: by a reset,
// or by acknowledging what was sent. It reports whether it could.
func (h *held) ask() bool {
	if !h.alive() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == len(greeting) {
		return false
	}
	_, err := h.conn.Write([]byte{greeting[h.next]}) // an error shows in read, too
	h.next++
	return err == nil
}

// acknowledged reports whether the kernel at the other end, which is the one that
// the connection was made with, has got all that was sent: it has not restarted.
// False also where that cannot be known.
func (h *held) acknowledged() bool {
	if !h.alive() || h.unacked == nil {
		return false
	}
	n, err := h.unacked()
	return err == nil && n == 0 && h.alive()
}

// close lets go; it may be called on nil.
func (h *held) close() {
	if h != nil {
		_ = h.conn.Close()
		<-h.done
	}
}
