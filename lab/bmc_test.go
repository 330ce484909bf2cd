package lab

import (
	"context"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/stretchr/testify/require"
)

// short is a client's timeout where a reply is known to be lost.
const short = 100 * time.Millisecond

func dialBMC(t *testing.T, m *Machine, user, password string, priv types.PrivilegeLevel, suite types.CipherSuiteID, timeout time.Duration) (*client.Client, error) {
	t.Helper()
	c, err := client.NewClient(m.Addr(), BMCPort, user, password)
	require.NoError(t, err)
	c.WithInterface(client.InterfaceLanplus).WithTimeout(timeout).WithRetry(0).
		WithCipherSuiteID(suite).WithMaxPrivilegeLevel(priv)
	if err := c.Connect(t.Context()); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), short)
		defer cancel()
		_ = c.Close(ctx) // the BMC may be dead by now
	})
	return c, nil
}

func openBMC(t *testing.T, m *Machine) *client.Client {
	t.Helper()
	c, err := dialBMC(t, m, BMCUser, BMCPassword, types.PrivilegeLevelAdministrator, types.CipherSuiteID3, patience)
	require.NoError(t, err)
	return c
}

func powered(t *testing.T, c *client.Client) bool {
	t.Helper()
	s, err := c.GetChassisStatus(t.Context())
	require.NoError(t, err)
	return s.PowerIsOn
}

func TestBMCControls(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		action  chassis.ChassisControl
		off     bool // before
		command string
		want    []string
	}{
		"off":        {chassis.ChassisControlPowerDown, false, "chassis power off", []string{EdgeDown, EdgePowerOff}},
		"soft":       {chassis.ChassisControlSoftShutdown, false, "chassis power soft", []string{EdgeDown, EdgePowerOff}},
		"reset":      {chassis.ChassisControlHardReset, false, "chassis power reset", []string{EdgeDown, EdgeUp, EdgeSSH}},
		"cycle":      {chassis.ChassisControlPowerCycle, false, "chassis power cycle", []string{EdgeDown, EdgePowerOff, EdgePowerOn, EdgeUp, EdgeSSH}},
		"on":         {chassis.ChassisControlPowerUp, true, "chassis power on", []string{EdgeDown, EdgePowerOff, EdgePowerOn, EdgeUp, EdgeSSH}},
		"on, was on": {chassis.ChassisControlPowerUp, false, "chassis power on", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{})
			m := l.Machines()[0]
			if tt.off {
				m.Kill()
			}
			c := openBMC(t, m)
			require.Equal(t, !tt.off, powered(t, c))
			_, err := c.ChassisControl(t.Context(), tt.action)
			require.NoError(t, err)
			await(t, l, func() bool { return len(events(l, m)) == len(tt.want) })
			require.Equal(t, tt.want, events(l, m))
			require.Equal(t, m.State().Power, powered(t, c))
			controls := l.Controls(m.FQDN())
			require.Len(t, controls, 1)
			require.Equal(t, []string{DeviceBMC, tt.command}, []string{controls[0].Device, controls[0].Command})
		})
	}
}

func TestBMCRefusesInPresentState(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	m.Kill()
	c := openBMC(t, m)
	for _, action := range []chassis.ChassisControl{
		chassis.ChassisControlHardReset, chassis.ChassisControlPowerCycle, chassis.ChassisControlSoftShutdown,
	} {
		_, err := c.ChassisControl(t.Context(), action)
		require.Equal(t, types.CodeNotSupported, completionCode(t, err))
	}
	require.Empty(t, l.Controls(m.FQDN()))
	require.Equal(t, 3, l.Count(m.FQDN(), func(e Entry) bool { return e.Control }))
}

func TestBMCRefusesControl(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{Faults: Faults{RefuseControl: true}})
	m := l.Machines()[0]
	c := openBMC(t, m)
	require.True(t, powered(t, c), "reads go on")
	_, err := c.ChassisControl(t.Context(), chassis.ChassisControlPowerDown)
	require.Equal(t, types.CodeInsufficientPrivilege, completionCode(t, err))
	require.True(t, m.State().Power)
	require.Empty(t, l.Controls(m.FQDN()))
}

// A command is held at both moments: whoever holds it finds it in the log,
// without an end, and knows at the second one what became of it.
func TestDuring(t *testing.T) {
	t.Parallel()
	held, goOn := make(chan Entry), make(chan struct{})
	l, err := Start(Options{
		Machines: []Spec{{WorkerID: "ms1-10", WorkerGroup: "mdc1"}},
		During: func(at Moment, e Entry) {
			if e.Control {
				e.Command = string(at)
				held <- e
				<-goOn
			}
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	m, c := l.Machines()[0], openBMC(t, l.Machines()[0])
	sent := make(chan error, 1)
	go func() {
		_, err := c.ChassisControl(t.Context(), chassis.ChassisControlPowerDown)
		sent <- err
	}()
	for _, want := range []struct {
		moment          Moment
		executed, power bool
	}{{Arrived, false, true}, {Acted, true, false}} {
		e := <-held
		require.Equal(t, string(want.moment), e.Command)
		require.Equal(t, want.executed, e.Executed)
		require.Equal(t, want.power, m.State().Power)
		logged := l.Entries(m.FQDN(), func(e Entry) bool { return e.Control })
		require.Len(t, logged, 1)
		require.True(t, logged[0].End.IsZero())
		require.Empty(t, sent, "no reply yet")
		goOn <- struct{}{}
	}
	require.NoError(t, <-sent)
	require.False(t, l.Controls("")[0].End.IsZero())
}

func completionCode(t *testing.T, err error) types.CompletionCode {
	t.Helper()
	r, ok := types.IsResponseError(err)
	require.True(t, ok, "%v", err)
	return r.CompletionCode()
}

func TestBMCAccounts(t *testing.T) {
	t.Parallel()
	const noLogin, mayNot, may = "no login", "may not", "may"
	for name, tt := range map[string]struct {
		user, password string
		priv           types.PrivilegeLevel
		suite          types.CipherSuiteID
		want           string
	}{
		"administrator":           {BMCUser, BMCPassword, types.PrivilegeLevelAdministrator, types.CipherSuiteID3, may},
		"suite 17":                {BMCUser, BMCPassword, types.PrivilegeLevelAdministrator, types.CipherSuiteID17, may},
		"operator":                {BMCOperator, BMCPassword, types.PrivilegeLevelOperator, types.CipherSuiteID3, may},
		"operator asks for admin": {BMCOperator, BMCPassword, types.PrivilegeLevelAdministrator, types.CipherSuiteID3, noLogin},
		"user":                    {BMCReader, BMCPassword, types.PrivilegeLevelUser, types.CipherSuiteID3, mayNot},
		"administrator as user":   {BMCUser, BMCPassword, types.PrivilegeLevelUser, types.CipherSuiteID17, mayNot},
		"wrong password":          {BMCUser, "guess", types.PrivilegeLevelAdministrator, types.CipherSuiteID3, noLogin},
		"unknown user":            {"root", BMCPassword, types.PrivilegeLevelAdministrator, types.CipherSuiteID3, noLogin},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{})
			m := l.Machines()[0]
			c, err := dialBMC(t, m, tt.user, tt.password, tt.priv, tt.suite, patience)
			if tt.want == noLogin {
				require.Error(t, err)
				require.Empty(t, l.Controls(""))
				return
			}
			require.NoError(t, err)
			require.True(t, powered(t, c))
			_, err = c.ChassisControl(t.Context(), chassis.ChassisControlPowerDown)
			if tt.want == mayNot {
				require.Equal(t, types.CodeInsufficientPrivilege, completionCode(t, err))
				require.True(t, m.State().Power)
				return
			}
			require.NoError(t, err)
			require.False(t, m.State().Power)
		})
	}
}

func TestBMCDead(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{Faults: Faults{DeadBMC: true}})
	m := l.Machines()[0]
	_, err := dialBMC(t, m, BMCUser, BMCPassword, types.PrivilegeLevelAdministrator, types.CipherSuiteID3, short)
	require.Error(t, err)
	require.Empty(t, l.Log())
	m.SetFaults(Faults{})
	c := openBMC(t, m).WithTimeout(short)
	m.SetFaults(Faults{DeadBMC: true})
	_, err = c.ChassisControl(t.Context(), chassis.ChassisControlPowerDown)
	require.Error(t, err)
	require.True(t, m.State().Power, "it does not act either")
	require.Empty(t, l.Controls(m.FQDN()))
}

func TestBMCCommandReplyLost(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{Faults: Faults{LoseCommandReply: true}})
	m := l.Machines()[0]
	c := openBMC(t, m).WithTimeout(short)
	_, err := c.ChassisControl(t.Context(), chassis.ChassisControlPowerDown)
	require.Error(t, err)
	require.False(t, m.State().Power)
	require.Len(t, l.Controls(m.FQDN()), 1)
	require.False(t, powered(t, openBMC(t, m)), "reads are answered")
}

// TestBMCRetransmissionIsSeen is the reason for the log: a client that resends
// a control command has it carried out again each time.
func TestBMCRetransmissionIsSeen(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{Timing: Timing{Boot: never}})
	m := l.Machines()[0]
	c := openBMC(t, m).WithTimeout(short)
	m.SetFaults(Faults{LoseReplies: 1})
	c.WithRetry(1)
	_, err := c.ChassisControl(t.Context(), chassis.ChassisControlHardReset)
	require.Error(t, err)
	require.Greater(t, len(l.Controls(m.FQDN())), 1)
}

func TestBMCEventLog(t *testing.T) {
	t.Parallel()
	m := startLab(t, Spec{}).Machines()[0]
	records, err := openBMC(t, m).GetSELEntries(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, records, 3)
	require.Equal(t, types.SensorTypePowerUnit, records[0].Standard.SensorType)
}

func TestMachineWithoutBMC(t *testing.T) {
	t.Parallel()
	m := startLab(t, Spec{NoBMC: true}).Machines()[0]
	_, err := dialBMC(t, m, BMCUser, BMCPassword, types.PrivilegeLevelAdministrator, types.CipherSuiteID3, short)
	require.Error(t, err)
}

// TestBMCByIpmitool has the protocol checked by code of other authors.
func TestBMCByIpmitool(t *testing.T) {
	t.Parallel()
	ipmitool, err := exec.LookPath("ipmitool")
	if err != nil {
		t.Skip("ipmitool is not installed: Debian's package ipmitool")
	}
	l := startLab(t, Spec{})
	m := l.Machines()[0]
	run := func(suite string, args ...string) string {
		all := append([]string{
			"-I", "lanplus", "-C", suite, "-H", m.Addr(), "-p", strconv.Itoa(BMCPort), "-U", BMCUser, "-E",
		}, args...)
		command := exec.CommandContext(t.Context(), ipmitool, all...)
		command.Env = append(command.Environ(), "IPMI_PASSWORD="+BMCPassword)
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	for _, suite := range []string{"3", "17"} {
		require.Contains(t, run(suite, "mc", "info"), "IPMI Version              : 2.0")
		require.Contains(t, run(suite, "chassis", "power", "status"), "is on")
		require.Contains(t, run(suite, "-L", "OPERATOR", "chassis", "power", "off"), "Down/Off")
		require.False(t, m.State().Power)
		require.Contains(t, run(suite, "chassis", "power", "status"), "is off")
		require.Contains(t, run(suite, "chassis", "power", "on"), "Up/On")
		require.True(t, m.State().Power)
		require.Contains(t, run(suite, "sel", "list", "last", "15"), "Power Unit")
	}
	require.Len(t, l.Controls(m.FQDN()), 4)
}
