package e2e

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// phase is where a job is when its worker is asked to stop.
type phase struct {
	task    string
	spec    lab.Spec
	at      place
	outcome workflows.Outcome
	sent    []string
}

// phases are a job's. What they wait for comes after the stop, by release.
func phases() map[string]phase {
	return map[string]phase{
		"command": {task: "snmp_reboot", spec: lab.Spec{WorkerGroup: "busy"}, at: phaseIs("sending"), outcome: workflows.Back, sent: []string{"pdu set AA reboot"}},
		"turn":    {task: "snmp_reboot", spec: lab.Spec{WorkerGroup: "busy"}, at: now("waiting for its turn"), outcome: workflows.Back, sent: []string{"pdu set AA reboot"}},
		"watch":   {task: "ssh_reboot", spec: lab.Spec{Faults: lab.Faults{IgnoreSSH: true}}, at: phaseIs("watching"), outcome: workflows.NoEffect},
		"up":      {task: "ssh_reboot", spec: lab.Spec{Faults: lab.Faults{SlowBoot: 40 * time.Second}}, at: now("waiting for the machine"), outcome: workflows.Back, sent: []string{"ssh reboot"}},
		"dwell":   {task: "snmp_rebootdelay", at: now("off; power comes on at"), outcome: workflows.Back, sent: []string{"pdu set AA off", "pdu set AA on"}},
		"on":      {task: "ipmi_reboot", at: now("powering on"), outcome: workflows.Back, sent: []string{"bmc chassis power soft", "bmc chassis power on"}},
		"blind":   {task: "ipmi_reset", spec: lab.Spec{WorkerGroup: "dark", Faults: lab.Faults{Hung: true}}, at: now("blind: "), outcome: workflows.Back, sent: []string{"bmc chassis power reset"}},
		"bug":     {task: "file_bugzilla_bug", at: now("filing the bug"), outcome: workflows.BugFiled},
	}
}

// Promise 11: a worker that is asked to stop with a job in every phase lets its
// commands end and hands everything else on: nothing is sent twice, nothing lost.
func TestWorkerStopsInEveryPhase(t *testing.T) {
	t.Parallel()
	pairs := map[string][2]string{"same": {rollerBinary, rollerBinary}}
	if old := os.Getenv(oldVariable); old != "" {
		pairs = map[string][2]string{"upgrade": {old, rollerBinary}, "rollback": {rollerBinary, old}}
	}
	for what, pair := range pairs {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			takesOver(t, pair[0], pair[1])
		})
	}
}

// oldVariable names the roller of another release, for a rolling upgrade and back.
// `make upgrade` sets it.
const oldVariable = "ROLLER_TEST_OLD"

func takesOver(t *testing.T, first, second string) {
	g, bird := &gate{}, newCanary(t)
	s, jobs := inEveryPhase(t, stack.Options{Production: production}, first, g, bird)
	leaving := s.Workers[len(s.Workers)-1]
	s.Roller = second
	_, err := s.StartWorker()
	require.NoError(t, err)
	terminate(t, leaving)
	s.handedOn(t, jobs["turn"], leaving) // it is asked to stop, and has commands under way
	g.open()
	ended(t, leaving)

	s.bugs.SetFaults(lab.BugzillaFaults{})
	bird.open()
	for id, p := range phases() {
		m := s.lab.Machine(id)
		r, v := s.end(t, jobs[id])
		require.Equal(t, p.outcome, r.Outcome, "%s: %s", id, pretty(r))
		require.Equal(t, p.sent, outlets(s.executed(m)), "%s: %s", id, pretty(r))
		require.NotContains(t, pretty(r), "may have been sent", "its worker heard the reply")
		require.True(t, m.State().Power, id)
		require.Empty(t, v.Off, id)
	}
	require.Equal(t, 1, s.lab.Count("watch", func(e lab.Entry) bool { return e.Command == "reboot" }))
	require.Len(t, s.bugs.Bugs(), 2, "one tracker, one bug")
}

// inEveryPhase is a site with a job in each phase: its one worker, of a binary, has
// commands that the gate holds, and the canary and Bugzilla are silent.
func inEveryPhase(t *testing.T, o stack.Options, binary string, g *gate, bird *canary) (*site, map[string]starter.Job) {
	t.Helper()
	var specs []lab.Spec
	for _, id := range slices.Sorted(maps.Keys(phases())) {
		spec := phases()[id].spec
		spec.SSHBootID = true // a restart between two watches is told by it
		if spec.WorkerID = id; spec.WorkerGroup == "" {
			spec.WorkerGroup = "g-" + id
		}
		specs = append(specs, spec)
	}
	env := maps.Clone(patient)
	maps.Copy(env, map[string]string{
		"CANARIES": "dark=" + bird.addr, "DOWN_TIMEOUT": "60s", "SNMP_REBOOT_DELAY": "60s", "UP_TIMEOUT": "5m", "WORKER_STOP_TIMEOUT": "4m",
		"SNMP_TIMEOUT": "5m", "IPMI_TIMEOUT": "5m", // longer than it takes until the gate opens
	})
	maps.Copy(env, o.Env)
	o.Env = env
	s := newSiteOn(t, o, g, specs...)
	s.bugs.SetFaults(lab.BugzillaFaults{Down: true})
	s.replaceWorker(t, binary)
	set := g.stop(lab.Arrived, setOf("command"))
	on := g.stop(lab.Arrived, func(e lab.Entry) bool { return strings.HasPrefix(e.Machine, "on.") && e.Command == "chassis power on" })
	jobs := map[string]starter.Job{"command": s.job(t, "snmp_reboot", s.lab.Machine("command"))}
	set.await(t, s.lab.Machine("command"))
	for id, p := range phases() {
		if id != "command" {
			jobs[id] = s.job(t, p.task, s.lab.Machine(id))
		}
	}
	on.await(t, s.lab.Machine("on"))
	under := map[*lab.Machine]starter.Job{}
	for id, job := range jobs {
		under[s.lab.Machine(id)] = job
	}
	s.there(t, under, func(m *lab.Machine) place { return phases()[m.Spec().WorkerID].at })
	return s, jobs
}

// WORKER_STOP_TIMEOUT bounds the stop: a worker whose command does not end goes
// all the same, and what it sent counts as sent.
func TestWorkerStopsInTime(t *testing.T) {
	t.Parallel()
	g := &gate{}
	s := newGatedSite(t, map[string]string{
		"WORKER_STOP_TIMEOUT": "3s", "HEARTBEAT_TIMEOUT": soon, "SNMP_TIMEOUT": "4m", "COMMAND_TIMEOUT": "5m", "DOWN_TIMEOUT": "30s", "UP_TIMEOUT": "2m",
	}, g, lab.Spec{WorkerID: "held", WorkerGroup: "mdc1", SSHBootID: true, Timing: lab.Timing{Boot: 3 * time.Second}})
	m := s.lab.Machine("held")
	set := g.stop(lab.Acted, setOf("held"))
	job := s.job(t, "snmp_reboot", m)
	set.await(t, m)
	_, err := s.StartWorker()
	require.NoError(t, err)
	terminate(t, s.Workers[0])
	ended(t, s.Workers[0]) // with its command still held
	g.open()
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome, pretty(r))
	// Whether Temporal or the next worker is the first to see that it is gone.
	require.Regexp(t, "may have been sent|was lost while it sent the command", r.Attempts[0].Why, pretty(r))
	require.Len(t, s.lab.Controls("held"), 1)
}

// replaceWorker puts a worker of a binary in the place of the site's own.
func (s *site) replaceWorker(t *testing.T, binary string) {
	t.Helper()
	if binary == s.Roller {
		return
	}
	s.Workers[0].Stop()
	s.Roller = binary
	_, err := s.StartWorker()
	require.NoError(t, err)
}

// handedOn waits until the newest try of a job's activity is not the worker's that
// stops any more.
func (s *site) handedOn(t *testing.T, job starter.Job, from *stack.Process) {
	t.Helper()
	require.Eventually(t, func() bool {
		d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
		if err != nil || len(d.GetPendingActivities()) != 1 {
			return false
		}
		who := d.GetPendingActivities()[0].GetLastWorkerIdentity()
		return who != "" && !strings.HasPrefix(who, strconv.Itoa(from.PID())+"@")
	}, enough, 100*time.Millisecond)
}

// terminate asks a process to end, as systemd does.
func terminate(t *testing.T, p *stack.Process) {
	t.Helper()
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGTERM))
}

// ended waits for the end of a process that nobody kills.
func ended(t *testing.T, p *stack.Process) {
	t.Helper()
	select {
	case <-p.Ended():
	case <-time.After(enough):
		require.Fail(t, "it has not stopped", p.Tail())
	}
}
