package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNetboot: network boot is for once; an installer answers probes, shows no
// SSH, and leaves a system with a host key of its own.
func TestNetboot(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	before := m.HostKey()
	require.True(t, m.setNetboot(true))
	require.True(t, m.State().Netboot)
	require.True(t, m.cycle())
	await(t, l, func() bool { return m.State().Installed == 1 && m.State().SSH })
	require.False(t, m.State().Netboot, "used")
	require.NotEqual(t, before.Marshal(), m.HostKey().Marshal())
	require.Equal(t, []string{EdgeDown, EdgePowerOff, EdgePowerOn, EdgeUp, EdgeDown, EdgeUp, EdgeSSH}, events(l, m))

	after := m.HostKey()
	require.True(t, m.reset())
	await(t, l, func() bool { return m.State().SSH && m.State().Boots == 4 })
	require.Equal(t, 1, m.State().Installed, "the next boot is from the disk")
	require.Equal(t, after.Marshal(), m.HostKey().Marshal())
}

func TestNetbootFaults(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	m.SetFaults(Faults{RefuseNetboot: true})
	require.False(t, m.setNetboot(true))
	m.SetFaults(Faults{DropNetboot: true})
	require.True(t, m.setNetboot(true))
	require.False(t, m.State().Netboot)
	m.SetFaults(Faults{IgnoreNetboot: true})
	require.True(t, m.setNetboot(true))
	require.True(t, m.reset())
	await(t, l, func() bool { return m.State().SSH && m.State().Boots == 2 })
	require.True(t, m.State().Netboot, "left as it was")
	require.True(t, m.setNetboot(false))
	require.False(t, m.State().Netboot)
	m.SetFaults(Faults{CycleSticks: true})
	require.True(t, m.cycle())
	require.False(t, m.State().Power)
}
