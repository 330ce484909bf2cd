package activities

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// Every family's simulator has its numbers from the MIB, not from roller.
func TestSNMPProfiles(t *testing.T) {
	t.Parallel()
	for _, p := range config.Profiles() {
		for _, version := range []config.SNMPVersion{config.SNMPv1, config.SNMPv2c, config.SNMPv3} {
			t.Run(p.Name+" v"+string(version), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, lab.Spec{NoBMC: true, PDUModel: p.Name})
				m := r.entry(t)
				require.Equal(t, p.Name == "poe", m.Outlets[0].Profile != nil, "all others are found by sysObjectID")
				m.Outlets = append([]config.Outlet(nil), m.Outlets...)
				if m.Outlets[0].Version = version; version == config.SNMPv3 {
					r.snmpV3(&m.Outlets[0])
				}
				for _, action := range []Action{Off, On} {
					what, err := r.snmpSet(t.Context(), m, action, allowed)
					require.NoError(t, err)
					require.Contains(t, what, string(action))
					require.NoError(t, r.lab.Wait(t.Context(), func() bool { return r.machine.State().Outlet == (action == On) }))
					power, err := r.snmpPower(t.Context(), m)
					require.NoError(t, err)
					require.Equal(t, string(action), power)
				}
				require.Equal(t, 2, r.lab.Count("", isControl))
				_, err := r.snmpSet(t.Context(), m, Reboot, allowed)
				if p.Reboot.OID == "" {
					require.Equal(t, Refused, MeaningOf(err), "%v", err)
					require.Equal(t, 2, r.lab.Count("", isControl))
					return
				}
				require.NoError(t, err)
				controls := r.lab.Controls("")
				require.Contains(t, controls[len(controls)-1].Command, "reboot")
				require.NoError(t, r.lab.Wait(t.Context(), func() bool { return !r.machine.State().Outlet }))
				require.NoError(t, r.lab.Wait(t.Context(), func() bool { return r.machine.State().Outlet }))
			})
		}
	}
}

// The whole activity, for one whose command's column is not its status.
func TestSNMPProfileByActivity(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true, PDUModel: "eaton_epdu"})
	for _, action := range []Action{Off, Off, On, On} {
		res, err := execute(t, r.SNMPOutlet, r.command(action, 0), call{})
		require.NoError(t, err)
		require.Equal(t, string(action), res.Power)
		require.Equal(t, action == On, r.machine.State().Outlet)
	}
	require.Equal(t, 2, r.lab.Count("", isControl))
}

// What cannot be found out is refused before anything is sent.
func TestSNMPUnknownOutlets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model string
		spoil func(o *config.Outlet)
		says  string
	}{
		"no PDU known by its sysObjectID": {"poe", func(o *config.Outlet) { o.Profile = nil }, `name the "profile" in pdus.json`},
		"letters at an APC":               {"apc_rpdu", func(o *config.Outlet) { o.Tower, o.Infeed = 1, 1 }, "is not an outlet of apc_rpdu"},
		"number at a Sentry":              {"sentry4", func(o *config.Outlet) { o.Tower, o.Infeed = 0, 0 }, "is not an outlet of sentry4"},
		"no such outlet, version 2":       {"raritan_px2", func(o *config.Outlet) { o.Number = 63 }, "no such outlet"},
		"no such outlet, version 1":       {"raritan_px2", func(o *config.Outlet) { o.Number, o.Version = 63, config.SNMPv1 }, "no such outlet"},
		"another unit":                    {"eaton_epdu", func(o *config.Outlet) { o.Group = 1; o.Profile = config.ProfileFor(".1.3.6.1.4.1.534.6.6.7") }, "no such outlet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true, PDUModel: c.model})
			m := r.entry(t)
			m.Outlets = append([]config.Outlet(nil), m.Outlets...)
			c.spoil(&m.Outlets[0])
			_, err := r.snmpSet(t.Context(), m, Off, allowed)
			require.Equal(t, Refused, MeaningOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.Empty(t, r.lab.Controls(""))
		})
	}
}

// A profile of the configuration is as good as one of roller's own.
func TestSNMPGenericProfile(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true, PDUModel: "cyberpower"})
	m := r.entry(t)
	m.Outlets = append([]config.Outlet(nil), m.Outlets...)
	const command = ".1.3.6.1.4.1.3808.1.1.3.3.3.1.1.4"
	m.Outlets[0].Profile = &config.Profile{
		Name: "mine", Index: config.IndexOutlet, Status: command, States: map[int]string{1: "on", 2: "off"},
		On: config.Setting{OID: command, Value: 1}, Off: config.Setting{OID: command, Value: 2},
	}
	_, err := r.snmpSet(t.Context(), m, Off, allowed)
	require.NoError(t, err)
	require.NoError(t, r.lab.Wait(t.Context(), func() bool { return !r.machine.State().Outlet }))
	_, err = r.snmpSet(t.Context(), m, Reboot, allowed)
	require.Equal(t, Refused, MeaningOf(err), "%v", err)
}

// An error that a read gets has changed nothing, whatever it is.
func TestSNMPErrorsOfReads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  gosnmp.SNMPError
		meaning Meaning
	}{
		"general error":     {gosnmp.GenErr, NotSent},
		"resources":         {gosnmp.ResourceUnavailable, NotSent},
		"not for this user": {gosnmp.AuthorizationError, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true})
			r.Config.Devices.SNMPTimeout = config.Duration(time.Second)
			m, o := r.pdu(t)
			var gets atomic.Int32
			front := newRelay(t, "", func(_ int, b []byte) []byte {
				gets.Add(1)
				p, err := (&gosnmp.GoSNMP{Version: gosnmp.Version2c}).SnmpDecodePacket(b)
				if err != nil {
					return nil
				}
				p.PDUType, p.Error, p.ErrorIndex = gosnmp.GetResponse, c.status, 1
				out, _ := p.MarshalMsg()
				return out
			})
			o.Host, o.Port = front.host, front.port
			_, err := r.snmpSet(t.Context(), m, Off, allowed)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.EqualValues(t, 1, gets.Load())
		})
	}
}

// The security level is what the configuration says, and nothing below it.
func TestSNMPv3Level(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		auth, priv string
		want       gosnmp.SnmpV3MsgFlags
	}{
		"both":    {"SHA-512", "AES-256", gosnmp.AuthPriv},
		"no priv": {"SHA", config.None, gosnmp.AuthNoPriv},
		"neither": {config.None, config.None, gosnmp.NoAuthNoPriv},
	} {
		g := &gosnmp.GoSNMP{}
		asUser(g, config.SNMPUser{User: "u", AuthProtocol: c.auth, PrivProtocol: c.priv})
		require.Equal(t, c.want, g.MsgFlags, name)
	}
	for _, p := range config.AuthProtocols() {
		require.Contains(t, authProtocols, p)
	}
	for _, p := range config.PrivProtocols() {
		require.Contains(t, privProtocols, p)
	}
}

// The plan says whether one command is enough: the wait between off and on must
// be the workflow's own.
func TestPlanOfSNMPReboot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec lab.Spec
		want bool
	}{
		"Sentry":         {lab.Spec{}, false},
		"not known, yet": {lab.Spec{PDUModel: "apc_rpdu"}, true},
		"PoE":            {lab.Spec{PDUModel: "poe"}, true},
	} {
		r := newRig(t, c.spec)
		plan, err := PlanFor(r.Config, r.entry(t), "snmp_reboot")
		require.NoError(t, err, name)
		require.Len(t, plan.Rungs, 1)
		require.Equal(t, c.want, plan.Rungs[0].OffOn, name)
		require.Equal(t, c.want, !plan.Rungs[0].Target.IsZero(), name)
	}
	r := newRig(t, lab.Spec{})
	m := r.entry(t)
	m.Outlets = append([]config.Outlet{{Tower: 1, Infeed: 2, Number: 1}}, m.Outlets...)
	plan, err := PlanFor(r.Config, m, "reboot")
	require.NoError(t, err)
	for _, rung := range plan.Rungs {
		require.Equal(t, rung.Name == "snmp_reboot", rung.OffOn, rung.Name)
	}
}
