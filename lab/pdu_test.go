package lab

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
	"github.com/stretchr/testify/require"
)

func column(column, outlet int) string {
	return fmt.Sprintf("%s.%d.1.1.%d", oidOutletEntry, column, outlet)
}

func dialPDU(t *testing.T, m *Machine, community string, timeout time.Duration) *gosnmp.GoSNMP {
	t.Helper()
	c := &gosnmp.GoSNMP{
		Target: m.PDUAddr(), Port: PDUPort, Version: gosnmp.Version2c,
		Community: community, Timeout: timeout, MaxOids: gosnmp.MaxOids,
	}
	require.NoError(t, c.Connect())
	t.Cleanup(func() { require.NoError(t, c.Conn.Close()) })
	return c
}

func setOutlet(t *testing.T, c *gosnmp.GoSNMP, outlet, action int) gosnmp.SNMPError {
	t.Helper()
	r, err := c.Set([]gosnmp.SnmpPDU{{Name: column(columnAction, outlet), Type: gosnmp.Integer, Value: action}})
	require.NoError(t, err)
	return r.Error
}

func getInt(t *testing.T, c *gosnmp.GoSNMP, oid string) int {
	t.Helper()
	r, err := c.Get([]string{oid})
	require.NoError(t, err)
	require.Len(t, r.Variables, 1)
	v, ok := r.Variables[0].Value.(int)
	require.True(t, ok, "%v", r.Variables[0])
	return v
}

func TestPDUActions(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		action  int
		faults  Faults
		command string
		acts    bool
		want    []string
	}{
		"off":        {actionOff, Faults{}, "set AA1 off", true, []string{EdgeDown, EdgePowerOff}},
		"reboot":     {actionReboot, Faults{}, "set AA1 reboot", true, []string{EdgeDown, EdgePowerOff, EdgePowerOn, EdgeUp, EdgeSSH}},
		"on, was on": {actionOn, Faults{}, "set AA1 on", true, nil},
		"none":       {actionNone, Faults{}, "set AA1 none", true, nil},
		"stuck":      {actionOff, Faults{OutletStuck: true}, "set AA1 off", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{Faults: tt.faults})
			m := l.Machines()[0]
			c := dialPDU(t, m, CommunityWrite, patience)
			require.Equal(t, statusOn, getInt(t, c, column(columnStatus, 1)))
			require.Equal(t, gosnmp.NoError, setOutlet(t, c, 1, tt.action))
			await(t, l, func() bool { return len(events(l, m)) == len(tt.want) })
			require.Equal(t, tt.want, events(l, m))
			require.Equal(t, m.State().Outlet, getInt(t, c, column(columnStatus, 1)) == statusOn)
			require.Zero(t, getInt(t, c, column(columnAction, 1)), "the action column reads none")
			sets := l.Entries(m.FQDN(), func(e Entry) bool { return e.Control })
			require.Len(t, sets, 1)
			require.Equal(t, []string{DevicePDU, "pdu1.mdc1.example", tt.command}, []string{sets[0].Device, sets[0].Host, sets[0].Command})
			require.Equal(t, tt.acts, sets[0].Executed)
		})
	}
}

// TestPDUAcknowledgesBeforeItActs is why a client has to read the status.
func TestPDUAcknowledgesBeforeItActs(t *testing.T) {
	t.Parallel()
	timing := quick
	timing.PDULag, timing.PDUDelay = never, never
	l := startLab(t, Spec{Timing: timing})
	m := l.Machines()[0]
	c := dialPDU(t, m, CommunityWrite, patience)
	require.Equal(t, gosnmp.NoError, setOutlet(t, c, 1, actionOff))
	require.Equal(t, statusOn, getInt(t, c, column(columnStatus, 1)))
	require.Equal(t, controlOff, getInt(t, c, column(columnControl, 1)))
	require.True(t, m.State().Up)
}

func TestPDURefusals(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	for name, tt := range map[string]struct {
		community string
		set       gosnmp.SnmpPDU
		want      gosnmp.SNMPError
	}{
		"wrong value":    {CommunityWrite, gosnmp.SnmpPDU{Name: column(columnAction, 1), Type: gosnmp.Integer, Value: 7}, gosnmp.WrongValue},
		"wrong type":     {CommunityWrite, gosnmp.SnmpPDU{Name: column(columnAction, 1), Type: gosnmp.OctetString, Value: "off"}, gosnmp.WrongType},
		"unknown outlet": {CommunityWrite, gosnmp.SnmpPDU{Name: column(columnAction, 2), Type: gosnmp.Integer, Value: actionOff}, gosnmp.NotWritable},
		"status column":  {CommunityWrite, gosnmp.SnmpPDU{Name: column(columnStatus, 1), Type: gosnmp.Integer, Value: statusOff}, gosnmp.NotWritable},
		"read only":      {CommunityRead, gosnmp.SnmpPDU{Name: column(columnAction, 1), Type: gosnmp.Integer, Value: actionOff}, gosnmp.NoAccess},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := dialPDU(t, m, tt.community, patience).Set([]gosnmp.SnmpPDU{tt.set})
			require.NoError(t, err)
			require.Equal(t, tt.want, r.Error)
			require.Equal(t, uint8(1), r.ErrorIndex)
			require.Empty(t, l.Controls(""))
			require.Empty(t, events(l, m))
		})
	}
}

func TestPDUSetsAllOrNothing(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{WorkerID: "a"}, Spec{WorkerID: "b"})
	c := dialPDU(t, l.Machine("a"), CommunityWrite, patience)
	off := func(outlet int) gosnmp.SnmpPDU {
		return gosnmp.SnmpPDU{Name: column(columnAction, outlet), Type: gosnmp.Integer, Value: actionOff}
	}
	r, err := c.Set([]gosnmp.SnmpPDU{off(1), off(9)})
	require.NoError(t, err)
	require.Equal(t, gosnmp.NotWritable, r.Error)
	require.Equal(t, uint8(2), r.ErrorIndex)
	require.Empty(t, l.Controls(""))
	_, err = c.Set([]gosnmp.SnmpPDU{off(1), off(2)})
	require.NoError(t, err)
	require.Len(t, l.Controls("a"), 1)
	require.Len(t, l.Controls("b"), 1)
}

func TestPDUReads(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{WorkerID: "a"}, Spec{WorkerID: "b"})
	c := dialPDU(t, l.Machine("b"), CommunityRead, patience)
	r, err := c.Get([]string{oidSysObjectID, oidSysUpTime, column(columnStatus, 3)})
	require.NoError(t, err)
	require.Equal(t, oidSentry3, r.Variables[0].Value)
	require.Equal(t, gosnmp.TimeTicks, r.Variables[1].Type)
	require.Equal(t, gosnmp.NoSuchInstance, r.Variables[2].Type)

	want := []string{oidSysDescr, oidSysObjectID, oidSysUpTime}
	for _, col := range []int{columnStatus, columnControl, columnAction} {
		want = append(want, column(col, 1), column(col, 2))
	}
	for name, walk := range map[string]func(string) ([]gosnmp.SnmpPDU, error){"next": c.WalkAll, "bulk": c.BulkWalkAll} {
		pdus, err := walk(".1.3.6.1")
		require.NoError(t, err, name)
		var got []string
		for _, p := range pdus {
			got = append(got, p.Name)
		}
		require.Equal(t, want, got, name)
	}
}

func TestPDUSilence(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		faults    Faults
		community string
		acts      bool
	}{
		"bad community":      {Faults{}, "guess", false},
		"dead":               {Faults{PDUDead: true}, CommunityWrite, false},
		"all replies lost":   {Faults{LoseReplies: 1}, CommunityWrite, true},
		"command reply lost": {Faults{LoseCommandReply: true}, CommunityWrite, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{Faults: tt.faults})
			m := l.Machines()[0]
			c := dialPDU(t, m, tt.community, short)
			_, err := c.Set([]gosnmp.SnmpPDU{{Name: column(columnAction, 1), Type: gosnmp.Integer, Value: actionOff}})
			require.ErrorContains(t, err, "timeout")
			if tt.acts {
				await(t, l, func() bool { return !m.State().Outlet })
			}
			require.Equal(t, tt.acts, len(l.Controls(m.FQDN())) == 1)
			for _, e := range l.Log() {
				require.NotContains(t, e.Command, tt.community)
			}
		})
	}
}

// TestPDUDeadForOne has one machine's outlet silent, and the PDU itself silent
// only when all are.
func TestPDUDeadForOne(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{WorkerID: "a", Faults: Faults{PDUDead: true}}, Spec{WorkerID: "b"})
	c := dialPDU(t, l.Machine("a"), CommunityRead, short)
	_, err := c.Get([]string{column(columnStatus, 1)})
	require.Error(t, err)
	require.Equal(t, statusOn, getInt(t, dialPDU(t, l.Machine("a"), CommunityRead, patience), column(columnStatus, 2)))
	_, err = dialPDU(t, l.Machine("a"), CommunityRead, patience).Get([]string{oidSysUpTime})
	require.NoError(t, err)
	l.Machine("b").SetFaults(Faults{PDUDead: true})
	_, err = c.Get([]string{oidSysUpTime})
	require.Error(t, err)
}

// TestPDUByNetSNMP has the protocol checked by code of other authors.
func TestPDUByNetSNMP(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"snmpget", "snmpset"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed: Debian's package snmp")
		}
	}
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	run := func(tool, community string, args ...string) string {
		all := append([]string{"-v2c", "-On", "-r", "0", "-t", "5", "-c", community, hostPort(m.PDUAddr(), PDUPort)}, args...)
		command := exec.CommandContext(t.Context(), tool, all...)
		command.Env = append(command.Environ(), "MIBS=", "SNMP_PERSISTENT_DIR="+t.TempDir(), "SNMPCONFPATH="+t.TempDir())
		out, _ := command.CombinedOutput() // a refusal's exit code says less than its text
		return string(out)
	}
	status, action := column(columnStatus, 1), column(columnAction, 1)
	require.Contains(t, run("snmpget", CommunityRead, status, oidSysObjectID), "INTEGER: 1\n"+oidSysObjectID+" = OID: "+oidSentry3)
	require.Contains(t, run("snmpset", CommunityRead, action, "i", "2"), "noAccess")
	require.Contains(t, run("snmpset", CommunityWrite, action, "i", "9"), "wrongValue")
	require.Contains(t, run("snmpset", CommunityWrite, column(columnAction, 9), "i", "2"), "notWritable")
	require.Contains(t, run("snmpset", CommunityWrite, action, "i", "2"), "INTEGER: 2")
	await(t, l, func() bool { return !m.State().Outlet })
	require.Contains(t, run("snmpget", CommunityRead, status, action), "INTEGER: 0\n"+action+" = INTEGER: 0")
	require.Len(t, l.Controls(m.FQDN()), 1)
}

// TestPDUVersion3ByNetSNMP has SNMPv3 checked by code of other authors: what is
// signed and encrypted is taken, all else is named.
func TestPDUVersion3ByNetSNMP(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"snmpget", "snmpset"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed: Debian's package snmp")
		}
	}
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	run := func(tool, user, level, password string, args ...string) string {
		all := append([]string{
			"-v3", "-On", "-r", "0", "-t", "5", "-u", user, "-l", level, "-a", "SHA-256", "-A", password, "-x", "AES", "-X", SNMPPrivPassword,
			hostPort(m.PDUAddr(), PDUPort),
		}, args...)
		command := exec.CommandContext(t.Context(), tool, all...)
		command.Env = append(command.Environ(), "MIBS=", "SNMP_PERSISTENT_DIR="+t.TempDir(), "SNMPCONFPATH="+t.TempDir())
		out, _ := command.CombinedOutput() // a refusal's exit code says less than its text
		return string(out)
	}
	status, action := column(columnStatus, 1), column(columnAction, 1)
	require.Contains(t, run("snmpget", SNMPUser, "authPriv", SNMPAuthPassword, status), "INTEGER: 1")
	require.Contains(t, run("snmpset", SNMPUser, "authPriv", "s3cret-wrong", action, "i", "2"), "Authentication failure")
	require.Contains(t, run("snmpset", "stranger", "authPriv", SNMPAuthPassword, action, "i", "2"), "Unknown user name")
	require.Contains(t, run("snmpset", SNMPUser, "authNoPriv", SNMPAuthPassword, action, "i", "2"), "Unsupported security level")
	require.Empty(t, l.Controls(m.FQDN()))
	require.Contains(t, run("snmpset", SNMPUser, "authPriv", SNMPAuthPassword, action, "i", "2"), "INTEGER: 2")
	await(t, l, func() bool { return !m.State().Outlet })
	require.Len(t, l.Controls(m.FQDN()), 1)
}
