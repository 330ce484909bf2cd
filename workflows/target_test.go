package workflows

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// Promise 4: off and every on of a rung are for the device that the plan named,
// also after a rung before it that switched another one.
func TestOffAndOnAreForTheDeviceOfThePlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ipmi_off", "snmp_rebootdelay")
	unread := answer{result: activities.CommandResult{Sent: "off", Power: "off", Baseline: wasUp, Watch: activities.Sight{Done: true, Up: true}}}
	w.answers = []answer{unread, isOn, isOff, refusedIt, isOn}
	w.ups = []activities.Sight{up}
	r, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, Back, r.Outcome)
	off, on := activities.Off, activities.On
	require.Equal(t, []activities.Action{off, on, off, on, on}, actions(w.commands))
	for i, rung := range []string{"ipmi_off", "ipmi_off", "snmp_rebootdelay", "snmp_rebootdelay", "snmp_rebootdelay"} {
		require.Equal(t, targetOf(rung), w.commands[i].Target, "command %d", i)
	}
}

// The single steps that switch power are for the device of the plan, too.
func TestPowerStepsAreForTheDeviceOfThePlan(t *testing.T) {
	t.Parallel()
	for task, done := range map[string]answer{"ipmi_on": isOn, "ipmi_off": isOff} {
		w := newWorld(t, task)
		w.answers = []answer{done}
		_, err := w.run(t, task)
		require.NoError(t, err)
		require.Equal(t, targetOf(task), w.commands[0].Target)
	}
}

// A closed run's machine is powered on where that run powered it off.
func TestRestoreIsForTheDeviceOfTheLostRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, PowerOnType)
	w.answers = []answer{isOn}
	w.env.ExecuteWorkflow(PowerOnType, LeftOff{Machine: ms1, Rung: "snmp_rebootdelay", RunID: "x"})
	require.NoError(t, w.env.GetWorkflowError())
	require.Len(t, w.commands, 1)
	require.Equal(t, activities.On, w.commands[0].Action)
	require.Equal(t, targetOf("recalled"), w.commands[0].Target)
	var r Result
	require.NoError(t, w.env.GetWorkflowResult(&r))
	require.Contains(t, r.Why, "VM recalled", "it says which device")
}

// The plan names a device for exactly the steps that switch power.
func TestPlanNamesADeviceForEverySwitch(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load([]string{"XEN_URL=https://xen.example", "XEN_PASSWORD=x"})
	require.NoError(t, err)
	m := config.Machine{
		Name: ms1, FQDN: "ms1-10.test.releng.mdc1.mozilla.com", SSH: &config.SSH{},
		IPMI: &config.IPMI{Host: "bmc"}, Xen: &config.Xen{UUID: "u"}, ILO: &config.ILO{Host: "ilo", User: "u"}, Moonshot: &config.Moonshot{},
		Outlets: []config.Outlet{{PDU: "pdu", Tower: 1, Number: 1}, {PDU: "pdu", Tower: 1, Number: 2}}, // two: no command reboots it
	}
	for name, s := range steps {
		if s.kind == read || s.kind == bug || s.kind == ladder || s.kind == loan || s.kind == unloan {
			continue // none of its own
		}
		plan, err := activities.PlanFor(cfg, m, name)
		require.NoError(t, err, name)
		switches := s.action == activities.Off || s.action == activities.On || name == "snmp_reboot" || s.kind == install
		require.Equal(t, switches, !plan.Rungs[0].Target.IsZero(), name)
		require.Equal(t, switches && s.action != activities.On, takesPower(name), name)
	}
	reimage, err := activities.PlanFor(cfg, m, "reimage")
	require.NoError(t, err)
	returned, err := activities.PlanFor(cfg, m, config.ReturnLoan)
	require.NoError(t, err)
	require.Equal(t, reimage.Rungs, returned.Rungs)
}

// What no rung powers off nothing is powered on for.
func TestPowerOnOfARungThatPowersNothingOff(t *testing.T) {
	t.Parallel()
	for _, rung := range []string{"", "ssh_reboot", "ping", "ipmi_on"} {
		w := newWorld(t, PowerOnType)
		w.env.ExecuteWorkflow(PowerOnType, LeftOff{Machine: ms1, Rung: rung})
		require.Error(t, w.env.GetWorkflowError())
		require.False(t, temporal.IsCanceledError(w.env.GetWorkflowError()))
		require.Empty(t, w.commands)
	}
}
