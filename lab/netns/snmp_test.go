//go:build lab && linux

package netns

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// object is a column of Sentry3-MIB's outletEntry for the machine's outlet.
func object(m *Machine, column int) string {
	return fmt.Sprintf(".1.3.6.1.4.1.1718.3.2.3.1.%d.%s", column, m.OutletIndex())
}

func snmp(t *testing.T, l *Lab, program string, args ...string) (string, error) {
	t.Helper()
	return tool(t, l, program, append([]string{"-v2c", "-c", Community, "-On", "-r", "0", "-t", "10", l.PDU().Addr}, args...)...)
}

// outlet reads a column until it has the value.
func outlet(t *testing.T, l *Lab, m *Machine, column, value int) {
	t.Helper()
	name := object(m, column)
	eventually(t, l, name, func() bool {
		out, err := snmp(t, l, "snmpget", name)
		return err == nil && out == fmt.Sprintf("%s = INTEGER: %d", name, value)
	})
}

func act(t *testing.T, l *Lab, m *Machine, value string) {
	t.Helper()
	_, err := snmp(t, l, "snmpset", object(m, 11), "i", value)
	require.NoError(t, err)
}

func TestSNMPOutletPowersTheMachine(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2"))
	m, other := l.Machines()[1], l.Machines()[0]
	outlet(t, l, m, 5, 1)
	outlet(t, l, m, 10, 1)

	act(t, l, m, "2")
	outlet(t, l, m, 5, 0)
	outlet(t, l, m, 10, 0)
	require.False(t, pings(t, l, m))
	require.Equal(t, "Chassis Power is off", mustIPMI(t, l, m, "power", "status"), "its BMC has a feed of its own")
	_, err := ipmitool(t, l, m, "power", "on")
	require.Error(t, err, "without the outlet nothing switches it on")

	began := rig.Now()
	act(t, l, m, "1")
	boot := edgeAfter(t, l, m, rig.Banner, began)
	outlet(t, l, m, 5, 1)
	sofar := events(l, m)
	act(t, l, m, "1")
	outlet(t, l, m, 10, 1)
	require.Equal(t, sofar, events(l, m), "on does nothing to an outlet that is on")

	began = rig.Now()
	act(t, l, m, "3")
	edgeAfter(t, l, m, rig.PowerOff, began)
	again := edgeAfter(t, l, m, rig.Banner, began)
	require.NotEqual(t, boot.BootID, again.BootID)
	outlet(t, l, m, 10, 1)

	var sent []string
	for _, c := range l.Controls("") {
		sent = append(sent, c.Machine+" "+c.Command)
	}
	require.Equal(t, []string{"ms1-2 set AA2 off", "ms1-2 set AA2 on", "ms1-2 set AA2 on", "ms1-2 set AA2 reboot"}, sent)
	require.Equal(t, []string{rig.PowerOn, rig.Up, rig.Banner}, events(l, other))
}

func TestSNMPRefusals(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	for name, tc := range map[string]struct {
		object, kind, value string
		want                string
	}{
		"no such action":   {object(m, 11), "i", "9", "wrongValue"},
		"not a number":     {object(m, 11), "s", "off", "wrongType"},
		"no such outlet":   {object(m, 11) + "7", "i", "2", "notWritable"},
		"status is read":   {object(m, 5), "i", "0", "notWritable"},
		"action's default": {object(m, 11), "i", "0", "wrongValue"},
	} {
		out, err := snmp(t, l, "snmpset", tc.object, tc.kind, tc.value)
		require.Error(t, err, name)
		require.Contains(t, out, tc.want, name)
	}
	out, err := tool(t, l, "snmpget", "-v2c", "-c", "wrong", "-r", "0", "-t", "1", l.PDU().Addr, object(m, 5))
	require.Error(t, err)
	require.Contains(t, out, "Timeout")
	require.Empty(t, l.Controls(""))
}

func TestSNMPv3AndWalk(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2"))
	m := l.Machines()[1]
	out, err := tool(t, l, "snmpset", "-v3", "-l", "authPriv", "-u", V3User, "-a", "SHA", "-A", V3AuthPassword, "-x", "AES", "-X", V3PrivPassword,
		"-On", l.PDU().Addr, object(m, 11), "i", "2")
	require.NoError(t, err, out)
	outlet(t, l, m, 5, 0)
	out, err = snmp(t, l, "snmpwalk", ".1.3.6.1.4.1.1718")
	require.NoError(t, err)
	const entry = ".1.3.6.1.4.1.1718.3.2.3.1."
	require.Equal(t, entry+"2.1.1.1 = STRING: \"AA1\"\n"+entry+"2.1.1.2 = STRING: \"AA2\"\n"+
		entry+"5.1.1.1 = INTEGER: 1\n"+entry+"5.1.1.2 = INTEGER: 0\n"+
		entry+"10.1.1.1 = INTEGER: 1\n"+entry+"10.1.1.2 = INTEGER: 0\n"+
		entry+"11.1.1.1 = INTEGER: 0\n"+entry+"11.1.1.2 = INTEGER: 0", out)
}

func TestSNMPSetIsAcknowledgedBeforeTheOutletActs(t *testing.T) {
	t.Parallel()
	opts := quick
	opts.OutletDelay = 3 * time.Second
	l := Start(t, opts)
	m := l.Machines()[0]
	act(t, l, m, "2")
	outlet(t, l, m, 10, 11) // pendOff
	outlet(t, l, m, 5, 1)
	require.Equal(t, []string{rig.PowerOn, rig.Up, rig.Banner}, events(l, m))
	outlet(t, l, m, 5, 0)
	require.Equal(t, []string{rig.PowerOn, rig.Up, rig.Banner, rig.Down, rig.PowerOff}, events(l, m))
}

func TestSNMPOffOvertakesAReboot(t *testing.T) {
	t.Parallel()
	opts := with(quick, "ms1-1", "ms1-2")
	opts.OutletOff = 2 * time.Second
	l := Start(t, opts)
	m, later := l.Machines()[0], l.Machines()[1]
	act(t, l, m, "3")
	outlet(t, l, m, 5, 0)
	outlet(t, l, m, 10, 8) // off, and on again soon
	act(t, l, m, "2")
	began := rig.Now()
	act(t, l, later, "3")
	edgeAfter(t, l, later, rig.Banner, began) // its outlet was to come on later than the first
	outlet(t, l, m, 5, 0)
	outlet(t, l, m, 10, 0)
	require.False(t, state(t, m).Power)
}
