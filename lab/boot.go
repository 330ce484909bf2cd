package lab

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// All of this file needs m.mu held.

const (
	// tooFast is the shutdown of a machine that restarts too fast to be seen.
	tooFast = 5 * time.Millisecond
	// listenRetry is the pause before a port that could not be opened is tried again.
	listenRetry = 20 * time.Millisecond
)

func (m *Machine) blinks() bool { return m.faults.TooFast && !m.faults.NeverReturns }

func (m *Machine) restart(how stop) {
	if m.blinks() {
		m.blink()
		return
	}
	m.goDown(how)
	m.boot()
}

// blink is a restart that no probe can see: the port stays open throughout.
func (m *Machine) blink() {
	if m.os == nil || m.os.hung {
		m.goDown(hardStop)
		m.boot()
		return
	}
	m.stopping = false
	m.os.dropConns(hardStop)
	m.newBootID()
	m.edge(EdgeRestart)
	if !m.os.banner {
		m.serveBanner()
	}
}

func (m *Machine) newBootID() {
	m.bootID = uuid.NewString()
	m.boots++
}

func (m *Machine) boot() {
	m.cancel()
	if m.faults.NeverReturns {
		return
	}
	m.fromNet = m.netboot && !m.faults.IgnoreNetboot
	if m.fromNet {
		m.netboot = false // the firmware has read it
	}
	delay := m.timing.Boot + m.faults.SlowBoot
	if m.faults.TooFast {
		delay = 0
	}
	m.plan(delay, m.bootDone)
}

// bootDone brings the network up. A port that cannot be opened is tried again:
// nobody would be there to see an error.
func (m *Machine) bootDone() {
	if err := m.comeUp(); err != nil {
		m.lab.journal.log.Error("boot", "machine", m.FQDN(), "err", err)
		m.plan(listenRetry, m.bootDone)
		return
	}
	switch {
	case m.os.hung:
	case m.fromNet:
		m.plan(m.timing.Install, m.install)
	default:
		m.planBanner()
	}
}

func (m *Machine) planBanner() {
	delay := m.timing.SSHDelay
	if m.faults.TooFast {
		delay = 0
	}
	m.plan(delay, m.serveBanner)
}

func (m *Machine) comeUp() error {
	os := newLife()
	if m.faults.Hung {
		os.freeze()
	} else if err := m.listen(context.Background(), os); err != nil {
		return err
	}
	m.os = os
	m.newBootID()
	if os.hung {
		m.edge(EdgeHung)
		return nil
	}
	m.edge(EdgeUp)
	return nil
}

func (m *Machine) serveBanner() {
	m.os.banner = true
	close(m.os.ready)
	m.edge(EdgeSSH)
}

func (m *Machine) goDown(how stop) {
	if m.os == nil {
		return
	}
	if m.os.hung {
		m.faults.Hung = false // whatever ends a hung system cures it
	}
	m.os.end(how)
	m.os = nil
	m.edge(EdgeDown)
}

// setHung wedges a running system or lets it go on.
func (m *Machine) setHung(hung bool) {
	m.cancel()
	if hung {
		m.os.freeze()
		m.edge(EdgeHung)
		return
	}
	if err := m.listen(context.Background(), m.os); err != nil {
		m.lab.journal.log.Error("thaw", "machine", m.FQDN(), "err", err)
		m.plan(listenRetry, func() { m.setHung(false) })
		return
	}
	m.os.resume()
	m.edge(EdgeUp)
	if !m.os.banner {
		m.planBanner()
	}
}
