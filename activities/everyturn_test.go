package activities

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

type (
	commandActivity func(context.Context, Command) (CommandResult, error)
	readActivity    func(context.Context, Read) (ReadResult, error)
)

// Promises 1 and 7: whatever speaks to a device does so in its turn, commands and
// reads alike, and gives it back.
func TestEveryDeviceIsAskedInItsTurn(t *testing.T) {
	t.Parallel()
	const bmc, pdu, chassis, pool = config.BMC, config.PDU, config.Chassis, config.Pool
	vm := lab.Spec{VM: true, NoBMC: true, NoOutlet: true}
	ilo, moonshot := lab.Spec{ILO: true, NoBMC: true}, lab.Spec{Moonshot: true, NoOutlet: true}
	command := func(action Action, do func(*Activities) commandActivity) func(*testing.T, *rig) error {
		return func(t *testing.T, r *rig) error {
			t.Helper()
			_, err := execute(t, do(r.Activities), r.command(action, 0), call{})
			return err
		}
	}
	reimage := func(clear bool) func(*testing.T, *rig) error {
		return func(t *testing.T, r *rig) error {
			t.Helper()
			in := Command{Machine: r.name, Action: Netboot, Target: netbootTarget(r.Config.Devices, r.entry(t))}
			if clear {
				_, err := execute(t, r.ClearNetboot, in, call{})
				return err
			}
			_, err := execute(t, r.Reimage, in, call{})
			return err
		}
	}
	read := func(do func(*Activities) readActivity) func(*testing.T, *rig) error {
		return func(t *testing.T, r *rig) error {
			t.Helper()
			_, err := execute(t, do(r.Activities), Read{Machine: r.name}, call{})
			return err
		}
	}
	for name, c := range map[string]struct {
		spec lab.Spec
		do   func(*testing.T, *rig) error
		want []config.DeviceKind
	}{
		"ipmi_reset":     {lab.Spec{}, command(Reset, func(a *Activities) commandActivity { return a.IPMIPower }), []config.DeviceKind{bmc}},
		"ipmi_reboot":    {lab.Spec{Faults: lab.Faults{Hung: true}}, command(Off, func(a *Activities) commandActivity { return a.IPMIReboot }), []config.DeviceKind{bmc}},
		"ilo_reboot":     {ilo, command(Reset, func(a *Activities) commandActivity { return a.RedfishReset }), []config.DeviceKind{bmc}},
		"moonshot_reset": {moonshot, command(Reset, func(a *Activities) commandActivity { return a.MoonshotReset }), []config.DeviceKind{chassis}},
		"snmp_reboot":    {lab.Spec{}, command(Reboot, func(a *Activities) commandActivity { return a.SNMPOutlet }), []config.DeviceKind{pdu}},
		"xenapi_reboot":  {vm, command(Off, func(a *Activities) commandActivity { return a.XenPower }), []config.DeviceKind{pool}},
		"reimage":        {lab.Spec{NoOutlet: true}, reimage(false), []config.DeviceKind{bmc}},
		"reimage by iLO": {ilo, reimage(false), []config.DeviceKind{bmc}},
		"clear":          {lab.Spec{NoOutlet: true}, reimage(true), []config.DeviceKind{bmc}},
		"clear by iLO":   {ilo, reimage(true), []config.DeviceKind{bmc}},
		"ipmi_status":    {lab.Spec{}, read(func(a *Activities) readActivity { return a.IPMIStatus }), []config.DeviceKind{bmc}},
		"ipmi_list":      {lab.Spec{}, read(func(a *Activities) readActivity { return a.IPMIList }), []config.DeviceKind{bmc}},
		"status":         {lab.Spec{}, read(func(a *Activities) readActivity { return a.Status }), []config.DeviceKind{bmc, pdu}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &turnstile{}
			r := newRig(t, c.spec)
			r.Turns = s
			r.Config.Devices.IPMIStatusWait, r.Config.Devices.IPMIStatusPoll = config.Duration(600*time.Millisecond), config.Duration(50*time.Millisecond)
			r.Config.Devices.XenShutdown = config.Duration(10 * time.Second)
			require.NoError(t, c.do(t, r))
			s.mu.Lock()
			defer s.mu.Unlock()
			taken := map[config.DeviceKind]int{}
			for _, e := range s.events {
				verb, device, _ := strings.Cut(e, " ")
				kind, _, _ := strings.Cut(device, "/")
				taken[config.DeviceKind(kind)] += map[string]int{"take": 1, "release": 0}[verb]
			}
			require.Len(t, taken, len(c.want), "%v", s.events)
			for _, kind := range c.want {
				require.Positive(t, taken[kind], "%v", s.events)
			}
			require.Len(t, s.events, 2*len(s.asks), "all are given back: %v", s.events)
		})
	}
}
