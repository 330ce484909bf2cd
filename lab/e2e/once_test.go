package e2e

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
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

// once is the environment of these tests: no command gives up while it is held.
var once = map[string]string{
	"TASK_NAMES":  "ssh_reboot,ipmi_reset,ipmi_cycle,ipmi_off,ipmi_reboot,ilo_reboot,moonshot_reset,xenapi_reboot,snmp_reboot,snmp_rebootdelay,ping",
	"SSH_TIMEOUT": "60s", "IPMI_TIMEOUT": "60s", "SNMP_TIMEOUT": "60s", "ILO_TIMEOUT": "60s", "XEN_TIMEOUT": "60s",
	"IPMI_POWER_STATUS_WAIT": "4s", "IPMI_POWER_STATUS_INTERVAL": "0.5s", "OFF_DELAY": "2s", "COMMAND_TIMEOUT": "300s", "TURN_WAIT": "60s", // two VMs share a pool
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

// Promise 2, without a kill: the device cannot be reached, the command is lost
// on its way, or it is carried out and its reply is lost.
func TestAtMostOnceWhateverIsLost(t *testing.T) {
	t.Parallel()
	faults := map[string]func(lab.Faults, powerCommand) lab.Faults{
		"unreachable": func(_ lab.Faults, c powerCommand) lab.Faults { return c.unreachable },
		"lost":        func(f lab.Faults, _ powerCommand) lab.Faults { f.LoseCommand = true; return f },
		"unanswered":  func(f lab.Faults, _ powerCommand) lab.Faults { f.LoseCommandReply = true; return f },
	}
	want := map[string]int{"unreachable": 0, "lost": 1, "unanswered": 1}
	var specs []lab.Spec
	for name, c := range powerCommands() {
		for fault, with := range faults {
			if fault == "unreachable" && c.unreachable == (lab.Faults{}) {
				continue
			}
			spec := c.spec
			spec.WorkerID, spec.WorkerGroup, spec.SSHBootID = name+"-"+fault, fmt.Sprintf("g%d", len(specs)), true
			spec.Faults = with(spec.Faults, c)
			specs = append(specs, spec)
		}
	}
	env := maps.Clone(once)
	maps.Copy(env, map[string]string{"SSH_TIMEOUT": "2s", "IPMI_TIMEOUT": "2s", "SNMP_TIMEOUT": "2s", "ILO_TIMEOUT": "2s", "XEN_TIMEOUT": "2s"})
	s := newSite(t, env, specs...)
	jobs := map[*lab.Machine]starter.Job{}
	commands := powerCommands()
	of := func(m *lab.Machine) (powerCommand, string) {
		id := m.Spec().WorkerID
		i := strings.LastIndex(id, "-")
		return commands[id[:i]], id[i+1:]
	}
	for _, m := range s.lab.Machines() {
		c, _ := of(m)
		jobs[m] = s.job(t, c.task, m)
	}
	for m, job := range jobs {
		c, fault := of(m)
		r, _ := s.end(t, job)
		got := s.received(m)
		if fault == "lost" {
			require.Empty(t, s.executed(m), "nothing was carried out")
		}
		require.Equal(t, want[fault], got[outlets([]string{c.command})[0]], "%s: %v, %s", m.FQDN(), got, pretty(r))
		for command, n := range got {
			require.Equal(t, 1, n, "%s: %s: %v, %s", m.FQDN(), command, got, pretty(r))
		}
		require.False(t, r.Off, "%s", pretty(r))
	}
}

// Promises 2 and 3: the worker is killed (SIGKILL) while every one of the
// commands is at the same point: about to be sent, with the device and not yet
// carried out, carried out and not yet answered. Another worker goes on.
func TestAtMostOnceWithTheWorkerKilled(t *testing.T) {
	t.Parallel()
	for point, at := range map[string]lab.Moment{"before it is sent": "", "before it is carried out": lab.Arrived, "before its reply": lab.Acted} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killAt(t, at)
		})
	}
}

func killAt(t *testing.T, at lab.Moment) {
	commands := powerCommands()
	var specs []lab.Spec
	for i, name := range slices.Sorted(maps.Keys(commands)) {
		spec := commands[name].spec
		spec.WorkerID, spec.WorkerGroup, spec.SSHBootID = name, fmt.Sprintf("g%d", i), true
		spec.Timing.Boot = 3 * time.Second
		specs = append(specs, spec)
	}
	g := &gate{}
	env := maps.Clone(once)
	env["RUNG_RETRY"] = "120s" // what has not been sent goes on not being sent
	for _, timeout := range []string{"IPMI_TIMEOUT", "SNMP_TIMEOUT", "ILO_TIMEOUT", "XEN_TIMEOUT"} {
		env[timeout] = "20s" // a worker that is killed keeps its devices for four times as long
	}
	s := newGatedSite(t, env, g, specs...)
	machines := s.lab.Machines()
	reached, release := s.holdAll(t, g, at)
	jobs := map[*lab.Machine]starter.Job{}
	for _, m := range machines {
		jobs[m] = s.job(t, commands[m.Spec().WorkerID].task, m)
	}
	reached()
	for m, job := range jobs { // of an attempt of which nothing was heard nothing is known
		if at == lab.Acted && commands[m.Spec().WorkerID].task == "ssh_reboot" {
			continue // its connection has ended with the machine, and maybe its activity
		}
		require.Eventually(t, func() bool { return s.underWay(t, job) }, time.Minute, 50*time.Millisecond, job.WorkflowID)
	}
	s.Workers[0].Kill()
	release()
	_, err := s.StartWorker()
	require.NoError(t, err)
	for m, job := range jobs {
		c := commands[m.Spec().WorkerID]
		r, v := s.end(t, job)
		got := s.received(m)
		for command, n := range got {
			require.Equal(t, 1, n, "%s: %s: %v, %s", m.FQDN(), command, got, pretty(r))
		}
		require.False(t, r.Off, "%s", pretty(r))
		require.Empty(t, v.Off)
		if at == "" && c.task == "moonshot_reset" { // its one request is all its dialogue
			continue
		}
		if at == "" && c.task != "ipmi_off" { // another worker has begun anew
			require.Equal(t, workflows.Back, r.Outcome, "%s: %s", m.FQDN(), pretty(r))
			require.NotContains(t, r.Attempts[0].Why, "may have been sent", "%s", pretty(r))
		}
		require.Equal(t, 1, got[outlets([]string{c.command})[0]], "%s: %v, %s", m.FQDN(), got, pretty(r))
		if at == "" {
			continue
		}
		if c.task != "ssh_reboot" { // whose connection ends with the machine, which is an answer too
			require.Contains(t, r.Attempts[0].Why, "may have been sent", "%s", pretty(r))
		}
		if c.task != "ipmi_off" { // which looks at nothing after it
			require.Equal(t, workflows.Back, r.Outcome, "%s: %s", m.FQDN(), pretty(r))
		}
	}
}

// holdAll stops every machine's command at a moment; with none, what comes
// before the command. It returns how to wait until all have stopped, and how to
// let them go on.
func (s *site) holdAll(t *testing.T, g *gate, at lab.Moment) (reached, release func()) {
	t.Helper()
	commands := powerCommands()
	machines := s.lab.Machines()
	if at != "" {
		held := g.stop(at, func(e lab.Entry) bool {
			m := s.lab.Machine(e.Machine)
			return m != nil && commands[m.Spec().WorkerID].isAimedAt(m)(e)
		})
		return func() { held.await(t, machines...) }, g.open
	}
	held := g.stop(lab.Arrived, func(e lab.Entry) bool { return !e.Control })
	var logged []*lab.Machine
	for _, m := range machines { // of these no question is logged
		switch f := m.Faults(); commands[m.Spec().WorkerID].task {
		case "ilo_reboot":
			f.Web.SlowReads = true
			m.SetFaults(f)
		case "moonshot_reset":
			f.DeadBMC = true
			m.SetFaults(f)
		case "xenapi_reboot":
		default:
			logged = append(logged, m)
		}
	}
	s.lab.XAPI().SetFaults(lab.XAPIFaults{NeverAnswers: true})
	return func() { held.await(t, logged...) }, func() {
		g.open()
		s.lab.XAPI().SetFaults(lab.XAPIFaults{})
		for _, m := range machines {
			f := m.Faults()
			f.Web.SlowReads, f.DeadBMC = false, false
			m.SetFaults(f)
		}
	}
}
