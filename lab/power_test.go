package lab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// never is a time that no test lives to see.
const never = time.Hour

func events(l *Lab, m *Machine) []string {
	var names []string
	for _, e := range l.edgesOf(m.FQDN())[3:] { // the first three are the start
		names = append(names, e.Event)
	}
	return names
}

// pending reports whether something was still to happen, which it no longer is.
func pending(m *Machine) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.timer != nil && m.timer.Stop()
}

func TestMachineComesBack(t *testing.T) {
	t.Parallel()
	down := []string{EdgeDown}
	lost := []string{EdgeDown, EdgePowerOff, EdgePowerOn}
	up := []string{EdgeUp, EdgeSSH}
	for name, tt := range map[string]struct {
		act    func(*Machine)
		faults Faults
		want   []string
	}{
		"os reboot":        {(*Machine).reboot, Faults{}, append(down, up...)},
		"reset":            {func(m *Machine) { m.reset() }, Faults{}, append(down, up...)},
		"cycle":            {func(m *Machine) { m.cycle() }, Faults{}, append(lost, up...)},
		"kill, then on":    {func(m *Machine) { m.Kill(); m.switchOn() }, Faults{}, append(lost, up...)},
		"outlet":           {func(m *Machine) { m.feed(false); m.feed(true) }, Faults{}, append(lost, up...)},
		"off, then outlet": {func(m *Machine) { m.switchOff(); m.feed(false); m.feed(true) }, Faults{}, append(lost, up...)},
		"slow":             {func(m *Machine) { m.reset() }, Faults{SlowBoot: time.Millisecond}, append(down, up...)},
		"too fast reboot":  {(*Machine).reboot, Faults{TooFast: true}, []string{EdgeRestart}},
		"too fast reset":   {func(m *Machine) { m.reset() }, Faults{TooFast: true}, []string{EdgeRestart}},
		"too fast cycle":   {func(m *Machine) { m.cycle() }, Faults{TooFast: true}, []string{EdgeRestart}},
		"hung, reset":      {func(m *Machine) { m.reset() }, Faults{Hung: true}, append([]string{EdgeHung}, append(down, up...)...)},
		"hung, cycle":      {func(m *Machine) { m.cycle() }, Faults{Hung: true}, append([]string{EdgeHung}, append(lost, up...)...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{})
			m := l.Machines()[0]
			first := m.State()
			require.True(t, first.SSH)
			m.SetFaults(tt.faults)
			tt.act(m)
			await(t, l, func() bool { s := m.State(); return s.Boots == 2 && s.SSH })
			require.Equal(t, tt.want, events(l, m))
			last := m.State()
			require.NotEqual(t, first.BootID, last.BootID)
			require.Equal(t, State{Power: true, Outlet: true, Up: true, SSH: true, BootID: last.BootID, Boots: 2}, last)
			require.False(t, m.Faults().Hung, "whatever ends a hung system cures it")
			require.NoError(t, probe(m))
		})
	}
}

func TestMachineStaysDown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		act   func(*Machine)
		power bool
	}{
		"os reboot": {(*Machine).reboot, true},
		"reset":     {func(m *Machine) { m.reset() }, true},
		"on":        {func(m *Machine) { m.switchOff(); m.switchOn() }, true},
		"outlet":    {func(m *Machine) { m.feed(false); m.feed(true) }, true},
		"kill":      {(*Machine).Kill, false},
		"button":    {(*Machine).PressPower, false},
		"no power":  {func(m *Machine) { m.feed(false); m.switchOn() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{Faults: Faults{NeverReturns: true, TooFast: true}})
			m := l.Machines()[0]
			require.True(t, m.State().SSH, "the fault is not one of the first boot")
			tt.act(m)
			await(t, l, func() bool { return !m.State().Up })
			require.Equal(t, tt.power, m.State().Power)
			require.False(t, pending(m), "nothing is to happen any more")
			require.Error(t, probe(m))
			require.Equal(t, 1, m.State().Boots)
		})
	}
}

func TestMachineOffOvertakesBoot(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]func(*Machine){
		"boot":     func(m *Machine) { m.reset() },
		"shutdown": (*Machine).reboot,
		"cycle":    func(m *Machine) { m.cycle() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{Timing: Timing{Boot: never, Shutdown: never, Cycle: never}})
			m := l.Machines()[0]
			tt(m)
			m.Kill()
			require.False(t, pending(m))
			require.False(t, m.State().Power)
			require.False(t, m.State().Up)
		})
	}
}

func TestMachineOvertakenEventDoesNothing(t *testing.T) {
	t.Parallel()
	var m Machine
	ran := 0
	stale := m.event(func() { ran++ })
	m.cancel()
	stale()
	require.Zero(t, ran)
	m.event(func() { ran++ })()
	require.Equal(t, 1, ran)
}

func TestMachineOffRefusesWhatNeedsPower(t *testing.T) {
	t.Parallel()
	m := startLab(t, Spec{}).Machines()[0]
	m.Kill()
	require.False(t, m.reset())
	require.False(t, m.cycle())
	require.False(t, m.softOff())
	require.False(t, m.State().Power)
}

func TestMachineSoftOff(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	require.True(t, m.softOff())
	await(t, l, func() bool { return !m.State().Power })
	m.PressPower()
	await(t, l, func() bool { return m.State().SSH })
	require.Equal(t, []string{EdgeDown, EdgePowerOff, EdgePowerOn, EdgeUp, EdgeSSH}, events(l, m))
}

func TestMachineCycledNeverReturns(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{Faults: Faults{NeverReturns: true}})
	m := l.Machines()[0]
	require.True(t, m.cycle())
	await(t, l, func() bool { return len(events(l, m)) == 3 })
	require.Equal(t, []string{EdgeDown, EdgePowerOff, EdgePowerOn}, events(l, m))
	require.False(t, pending(m), "nothing is to happen any more")
}

func TestMachineSecondRebootChangesNothing(t *testing.T) {
	t.Parallel()
	m := startLab(t, Spec{Timing: Timing{Shutdown: never}}).Machines()[0]
	m.reboot()
	first := m.timer
	m.reboot()
	require.Same(t, first, m.timer, "the shutdown that is on its way goes on")
	require.True(t, pending(m))
}

func TestMachineHungStartsAndThaws(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{Faults: Faults{Hung: true}})
	m := l.Machines()[0]
	require.Error(t, probe(m))
	boot := m.State()
	require.Equal(t, State{Power: true, Outlet: true, BootID: boot.BootID, Boots: 1}, boot)
	m.softOff()
	require.False(t, pending(m), "a hung system ignores the power button")
	m.SetFaults(Faults{})
	await(t, l, func() bool { return m.State().SSH })
	require.NoError(t, probe(m))
	require.Equal(t, boot.BootID, m.State().BootID)
}
