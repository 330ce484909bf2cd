package e2e

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
)

// powerCommand is one command that must never be sent twice.
type powerCommand struct {
	task        string
	spec        lab.Spec
	command     string     // as the lab logs it, without the outlet's number
	unreachable lab.Faults // by which it cannot be sent at all; none: not tried
}

// powerCommands are every command of every protocol that takes power away or resets.
func powerCommands() map[string]powerCommand {
	deadBMC, deadPDU := lab.Faults{DeadBMC: true}, lab.Faults{PDUDead: true}
	vm := lab.Spec{VM: true, NoBMC: true, NoOutlet: true}
	stubborn := vm
	stubborn.Faults.RefuseShutdown = true
	all := map[string]powerCommand{
		"ssh":         {"ssh_reboot", lab.Spec{}, "reboot", lab.Faults{WrongHostKey: true}},
		"ipmi-reset":  {"ipmi_reset", lab.Spec{}, "chassis power reset", deadBMC},
		"ipmi-cycle":  {"ipmi_cycle", lab.Spec{}, "chassis power cycle", deadBMC},
		"ipmi-off":    {"ipmi_off", lab.Spec{}, "chassis power off", deadBMC},
		"ipmi-soft":   {"ipmi_reboot", lab.Spec{}, "chassis power soft", deadBMC},
		"ipmi-hard":   {"ipmi_reboot", lab.Spec{Faults: lab.Faults{Hung: true}}, "chassis power off", lab.Faults{DeadBMC: true, Hung: true}},
		"ilo":         {"ilo_reboot", lab.Spec{ILO: true}, "reset ForceRestart", deadBMC},
		"moonshot":    {"moonshot_reset", lab.Spec{Moonshot: true}, "cold reset " + lab.MoonshotNode, deadBMC},
		"xen-clean":   {"xenapi_reboot", vm, "VM.clean_shutdown", lab.Faults{}},
		"xen-hard":    {"xenapi_reboot", stubborn, "VM.hard_shutdown", lab.Faults{}},
		"snmp-reboot": {"snmp_reboot", lab.Spec{}, "set AA reboot", deadPDU},
		"snmp-off":    {"snmp_rebootdelay", lab.Spec{}, "set AA off", deadPDU},
	}
	if _, err := exec.LookPath("ipmitool"); err == nil { // CI has it
		tool := lab.Spec{BMCKey: true}
		all["ipmitool-reset"] = powerCommand{"ipmi_reset", tool, "chassis power reset", deadBMC}
		all["ipmitool-off"] = powerCommand{"ipmi_reboot", lab.Spec{BMCKey: true, Faults: lab.Faults{Hung: true}}, "chassis power off", lab.Faults{DeadBMC: true, Hung: true}}
	}
	return all
}

// once is the environment of these tests: no command gives up while it is held, for
// as long as a slow machine takes to bring all of them to the same point.
var once = map[string]string{
	"TASK_NAMES":  "ssh_reboot,ipmi_reset,ipmi_cycle,ipmi_off,ipmi_reboot,ilo_reboot,moonshot_reset,xenapi_reboot,snmp_reboot,snmp_rebootdelay,ping",
	"SSH_TIMEOUT": "4m", "IPMI_TIMEOUT": "4m", "SNMP_TIMEOUT": "4m", "ILO_TIMEOUT": "4m", "XEN_TIMEOUT": "4m", "XEN_SHUTDOWN_TIMEOUT": "4m",
	"IPMI_POWER_STATUS_WAIT": "4s", "IPMI_POWER_STATUS_INTERVAL": "0.5s", "OFF_DELAY": "2s", "COMMAND_TIMEOUT": "5m", "TURN_WAIT": "60s", // two VMs share a pool
}

// received is how often each command that takes power away or resets reached the
// machine's devices, carried out or not. To power on twice does no harm.
func (s *site) received(m *lab.Machine) map[string]int {
	counts := map[string]int{}
	for _, e := range s.lab.Entries(m.FQDN(), func(e lab.Entry) bool { return e.Control }) {
		if command := outlets([]string{e.Command})[0]; !strings.HasSuffix(command, " on") && command != "VM.start" {
			counts[command]++
		}
	}
	return counts
}

// isAimedAt matches the one command that a machine's test is about.
func (c powerCommand) isAimedAt(m *lab.Machine) func(lab.Entry) bool {
	return func(e lab.Entry) bool {
		return e.Machine == m.FQDN() && e.Control && outlets([]string{e.Command})[0] == outlets([]string{c.command})[0]
	}
}

// moments are the points at which a command is struck, by their names; "" is before
// it is sent.
var moments = map[string]lab.Moment{"before it is sent": "", "before it is carried out": lab.Arrived, "before its reply": lab.Acted}

// commandsAt is a site with a machine for each command, whose jobs have all come to a
// moment of theirs and stay there until release, which lets the gate's other stops be.
func commandsAt(t *testing.T, g *gate, at lab.Moment, o stack.Options, shape func(*lab.Spec)) (s *site, jobs map[*lab.Machine]starter.Job, release func()) {
	t.Helper()
	commands := powerCommands()
	var specs []lab.Spec
	for i, name := range slices.Sorted(maps.Keys(commands)) {
		spec := commands[name].spec
		spec.WorkerID, spec.WorkerGroup, spec.SSHBootID = name, fmt.Sprintf("g%d", i), true
		shape(&spec)
		specs = append(specs, spec)
	}
	s = newSiteOn(t, o, g, specs...)
	stopped, machines, release := s.holdAll(g, at)
	jobs = map[*lab.Machine]starter.Job{}
	start := func(m *lab.Machine) { jobs[m] = s.job(t, commands[m.Spec().WorkerID].task, m) }
	// The two VMs have one pool, which the first has given back when it is at its
	// moment, and the second has not.
	if clean := s.lab.Machine("xen-clean"); at != "" {
		start(clean)
		stopped.await(t, clean)
		machines = slices.DeleteFunc(slices.Clone(machines), func(m *lab.Machine) bool { return m == clean })
	}
	for _, m := range s.lab.Machines() {
		if jobs[m].TaskID == "" {
			start(m)
		}
	}
	stopped.await(t, machines...)
	return s, jobs, release
}

// holdAll stops every machine's command at a moment; with none, what comes
// before the command. It returns which machines can be waited for, and how to let
// all of them go on.
func (s *site) holdAll(g *gate, at lab.Moment) (stopped *stop, machines []*lab.Machine, release func()) {
	commands := powerCommands()
	if at != "" {
		stopped = g.stop(at, func(e lab.Entry) bool {
			m := s.lab.Machine(e.Machine)
			return m != nil && commands[m.Spec().WorkerID].isAimedAt(m)(e)
		})
		return stopped, s.lab.Machines(), stopped.open
	}
	stopped = g.stop(lab.Arrived, func(e lab.Entry) bool { return !e.Control })
	for _, m := range s.lab.Machines() { // of these no question is logged
		switch f := m.Faults(); commands[m.Spec().WorkerID].task {
		case "ilo_reboot":
			f.Web.SlowReads = true
			m.SetFaults(f)
		case "moonshot_reset":
			f.DeadBMC = true
			m.SetFaults(f)
		case "xenapi_reboot":
		default:
			machines = append(machines, m)
		}
	}
	s.lab.XAPI().SetFaults(lab.XAPIFaults{NeverAnswers: true})
	return stopped, machines, func() {
		stopped.open()
		s.lab.XAPI().SetFaults(lab.XAPIFaults{})
		for _, m := range s.lab.Machines() {
			f := m.Faults()
			f.Web.SlowReads, f.DeadBMC = false, false
			m.SetFaults(f)
		}
	}
}
