package lab

// setNetboot lets the next boot be from the network, or not. It reports whether
// the device takes it; it takes m.mu.
func (m *Machine) setNetboot(on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on && m.faults.RefuseNetboot {
		return false
	}
	m.netboot = on && !m.faults.DropNetboot
	return true
}

// install ends an installer: it has answered probes and shown no SSH banner, and
// restarts into a system with a host key of its own. It needs m.mu held.
func (m *Machine) install() {
	key, err := newSigner()
	if err != nil {
		m.lab.journal.log.Error("install", "machine", m.FQDN(), "err", err)
		return
	}
	m.host.right = key
	m.installs++
	m.restart(softStop)
}
