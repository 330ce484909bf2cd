package lab

import "time"

// The methods of this file that are not exported need m.mu held, unless they
// say that they take it.

func (m *Machine) powered() bool { return m.feeds > 0 && m.switched }

// plan replaces whatever was to happen next. Nothing happens after the lab has closed.
func (m *Machine) plan(delay time.Duration, act func()) {
	m.cancel()
	if !m.closed {
		m.timer = time.AfterFunc(delay, m.event(act))
	}
}

// event returns an act that does nothing once a newer event has overtaken it:
// a timer that has fired already cannot be stopped. What it returns takes m.mu.
func (m *Machine) event(act func()) func() {
	gen := m.gen
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.gen == gen {
			act()
		}
	}
}

func (m *Machine) cancel() {
	m.gen++
	m.stopping = false
	if m.timer != nil {
		m.timer.Stop()
	}
}

// Kill takes the machine's power away at once, as a failed supply would: it is
// no command, and the machine stays off until something powers it on.
func (m *Machine) Kill() { m.switchOff() }

// PressPower presses the power button: on if it is off, off at once if it is on.
func (m *Machine) PressPower() {
	if m.State().Power {
		m.switchOff()
		return
	}
	m.switchOn()
}

// switchOff takes m.mu.
func (m *Machine) switchOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel()
	m.losePower(func() { m.switched = false })
}

// switchOn takes m.mu.
func (m *Machine) switchOn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gainPower(func() { m.switched = true })
}

// feed is an outlet's power coming or going; the other feed's, where there is
// one, is enough. A machine that gets power back switches itself on, as CI
// machines are set up to. It takes m.mu.
func (m *Machine) feed(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case on && m.feeds > 0:
		m.feeds++
	case on:
		m.gainPower(func() { m.feeds, m.switched = 1, true })
	case m.feeds > 1:
		m.feeds--
	default:
		m.cancel()
		m.losePower(func() { m.feeds = 0 })
	}
}

func (m *Machine) losePower(change func()) {
	was := m.powered()
	change()
	if was && !m.powered() {
		m.goDown(hardStop)
		m.edge(EdgePowerOff)
	}
}

func (m *Machine) gainPower(change func()) {
	was := m.powered()
	change()
	if !was && m.powered() {
		m.edge(EdgePowerOn)
		m.boot()
	}
}

// reset is a hard reset, false if the machine is off. It takes m.mu.
func (m *Machine) reset() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.powered() {
		return false
	}
	m.cancel()
	m.restart(hardStop)
	return true
}

// cycle is off and, a moment later, on; false if the machine is off. It takes m.mu.
func (m *Machine) cycle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.powered() {
		return false
	}
	if m.blinks() {
		m.cancel()
		m.blink()
		return true
	}
	m.losePower(func() { m.switched = false })
	if m.faults.CycleSticks {
		m.cancel()
		return true
	}
	m.plan(m.timing.Cycle, func() { m.gainPower(func() { m.switched = true }) })
	return true
}

// reboot is the operating system's own. It takes m.mu.
func (m *Machine) reboot() {
	m.shutdownOS(func() { m.restart(softStop) })
}

// softOff is the ACPI power button, which a hung or absent operating system
// ignores; false if the machine is off. It takes m.mu.
func (m *Machine) softOff() bool {
	m.shutdownOS(func() {
		m.goDown(softStop)
		m.losePower(func() { m.switched = false })
	})
	return m.State().Power
}

func (m *Machine) shutdownOS(then func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.os == nil || m.os.hung || m.stopping {
		return
	}
	delay := m.timing.Shutdown
	if m.blinks() {
		delay = tooFast
	}
	m.plan(delay, then)
	m.stopping = true
}
