package lab

import (
	"context"
	"net"
)

// stop is how an operating system ends.
type stop bool

const (
	softStop stop = false // an orderly shutdown: sshd closes its connections (FIN)
	hardStop stop = true  // power lost or reset: connections are reset (RST)
)

// life is one run of an operating system, from its first answer to a probe to
// its end. Its machine's mu guards it.
type life struct {
	listener net.Listener
	conns    map[*net.TCPConn]struct{}
	banner   bool
	hung     bool
	ready    chan struct{} // closed when sshd shows its banner
	gone     chan struct{} // closed at the end
	thawed   chan struct{} // closed unless hung
}

func newLife() *life {
	l := &life{
		conns: make(map[*net.TCPConn]struct{}),
		ready: make(chan struct{}), gone: make(chan struct{}), thawed: make(chan struct{}),
	}
	close(l.thawed)
	return l
}

// freeze makes a system answer nothing, while its connections stay open.
func (l *life) freeze() {
	l.hung = true
	l.thawed = make(chan struct{})
	l.closeListener()
}

func (l *life) resume() {
	l.hung = false
	close(l.thawed)
}

func (l *life) end(how stop) {
	l.closeListener()
	l.dropConns(how)
	close(l.gone)
	if l.hung {
		l.resume()
	}
}

func (l *life) closeListener() {
	if l.listener == nil {
		return
	}
	_ = l.listener.Close() // its only error is that it is closed already
	l.listener = nil
}

func (l *life) dropConns(how stop) {
	for c := range l.conns {
		closeConn(c, how)
		delete(l.conns, c)
	}
}

// closeConn closes with FIN or RST. Errors say that the other side was faster.
func closeConn(c *net.TCPConn, how stop) {
	if how == hardStop {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}

// listen opens the machine's port; m.mu is held.
func (m *Machine) listen(ctx context.Context, os *life) error {
	ln, err := listenTCP(ctx, m.addr)
	if err != nil {
		return err
	}
	os.listener = ln
	m.lab.running.Go(func() { m.acceptAll(os, ln) })
	return nil
}

func (m *Machine) acceptAll(os *life, ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			continue
		}
		if !m.adopt(os, tcp) {
			closeConn(tcp, hardStop)
			continue
		}
		m.lab.running.Go(func() {
			defer m.release(os, tcp)
			m.serveConn(os, tcp)
		})
	}
}

func (m *Machine) adopt(os *life, c *net.TCPConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.os != os || m.closed {
		return false
	}
	os.conns[c] = struct{}{}
	return true
}

func (m *Machine) release(os *life, c *net.TCPConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(os.conns, c)
	_ = c.Close() // closed already when the machine went down
}

// conn is a connection of a system that may hang: nothing read is handed on,
// and nothing is written, while it does.
type conn struct {
	*net.TCPConn
	m  *Machine
	os *life
}

// Read implements net.Conn.
func (c conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.awaitThaw()
	return n, err
}

// Write implements net.Conn.
func (c conn) Write(b []byte) (int, error) {
	c.awaitThaw()
	return c.TCPConn.Write(b)
}

func (c conn) awaitThaw() {
	c.m.mu.Lock()
	thawed := c.os.thawed
	c.m.mu.Unlock()
	<-thawed
}
