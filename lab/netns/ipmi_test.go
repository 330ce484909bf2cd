//go:build lab && linux

package netns

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// ipmitool runs it with cipher suite 3, the only one that ipmi_sim has.
func ipmitool(t *testing.T, l *Lab, m *Machine, words ...string) (string, error) {
	t.Helper()
	return tool(t, l, "ipmitool", append([]string{"-I", "lanplus", "-C", "3", "-H", m.BMC().Addr, "-U", BMCUser, "-E"}, words...)...)
}

func mustIPMI(t *testing.T, l *Lab, m *Machine, words ...string) string {
	t.Helper()
	out, err := ipmitool(t, l, m, words...)
	require.NoError(t, err)
	return out
}

// ipmiShell opens one session and returns what sends a command in it and what
// ends it.
func ipmiShell(t *testing.T, l *Lab, m *Machine) (say func(string), end func()) {
	t.Helper()
	cmd := l.Command(t.Context(), "ipmitool", "-I", "lanplus", "-C", "3", "-N", "1", "-H", m.BMC().Addr, "-U", BMCUser, "-E", "shell")
	cmd.Env = append(os.Environ(), "IPMI_PASSWORD="+BMCPassword)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	say = func(line string) {
		_, err := io.WriteString(in, line+"\n")
		require.NoError(t, err)
	}
	return say, func() {
		require.NoError(t, cmd.Process.Kill()) // the shell does not end with its input
		require.ErrorContains(t, cmd.Wait(), "signal: killed")
	}
}

func TestIPMIPowersTheMachine(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	require.Equal(t, "Chassis Power is on", mustIPMI(t, l, m, "power", "status"))

	mustIPMI(t, l, m, "power", "off")
	require.Equal(t, "Chassis Power is off", mustIPMI(t, l, m, "power", "status"))
	require.False(t, pings(t, l, m))
	_, err := ipmitool(t, l, m, "power", "reset")
	require.Error(t, err, "a machine that is off cannot be reset")

	began := rig.Now()
	mustIPMI(t, l, m, "power", "on")
	boot := edgeAfter(t, l, m, rig.Banner, began)
	require.True(t, pings(t, l, m))

	began = rig.Now()
	mustIPMI(t, l, m, "power", "reset")
	again := edgeAfter(t, l, m, rig.Banner, began)
	require.NotEqual(t, boot.BootID, again.BootID)

	began = rig.Now()
	mustIPMI(t, l, m, "power", "cycle") // ipmi_sim's own: off, a second, on
	edgeAfter(t, l, m, rig.PowerOff, began)
	edgeAfter(t, l, m, rig.Banner, began)

	began = rig.Now()
	mustIPMI(t, l, m, "power", "soft")
	edgeAfter(t, l, m, rig.PowerOff, began)
	require.Equal(t, "Chassis Power is off", mustIPMI(t, l, m, "power", "status"))

	var sent []string
	for _, c := range l.Controls(m.ID) {
		sent = append(sent, c.Command)
	}
	require.Equal(t, []string{
		"chassis power off", "chassis power on", "chassis power reset", "chassis power off", "chassis power on", "chassis power soft",
	}, sent)
}

func TestIPMIRefusesAWrongPassword(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	_, err := tool(t, l, "ipmitool", "-I", "lanplus", "-C", "3", "-R", "1", "-H", m.BMC().Addr, "-U", BMCUser, "-P", "wrong", "power", "off")
	require.Error(t, err)
	require.Empty(t, l.Commands(m.ID))
	require.True(t, pings(t, l, m))
}

func TestLaterPowerActionOvertakesABoot(t *testing.T) {
	t.Parallel()
	opts := quick
	opts.Boot = time.Second
	l := Start(t, opts)
	m := l.Machines()[0]
	mustIPMI(t, l, m, "power", "off")
	mustIPMI(t, l, m, "power", "on")
	mustIPMI(t, l, m, "power", "off")
	slow := 3 * time.Second
	require.NoError(t, m.SetFaults(Faults{Boot: slow}))
	began := rig.Now()
	mustIPMI(t, l, m, "power", "on")
	edgeAfter(t, l, m, rig.Banner, began)
	var ups []Edge
	for _, e := range l.Edges(m.ID)[3:] { // behind the first boot
		if e.Event == rig.Up {
			ups = append(ups, e)
		}
	}
	require.Len(t, ups, 1, "the overtaken boot brought the machine up as well")
	require.GreaterOrEqual(t, ups[0].At.Sub(began), slow-time.Millisecond)
}
