package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// rested asserts that a device rested for its interval between any two machines:
// what it was told and asked for one lies together, and nothing overlaps.
func (s *site) rested(t *testing.T, host string, interval time.Duration) (turns int) {
	t.Helper()
	var last lab.Entry
	for _, e := range s.lab.Log() {
		if e.Host != host || e.Machine == "" { // a question about the PDU itself
			continue
		}
		if e.Machine != last.Machine && last.Seq != 0 {
			require.False(t, last.End.IsZero(), "%+v", last)
			require.GreaterOrEqual(t, e.At.Sub(last.End), interval, "%q for %s after %q for %s", e.Command, e.Machine, last.Command, last.Machine)
			turns++
		}
		if e.Machine != last.Machine || e.End.After(last.End) {
			last = e
		}
	}
	return turns
}

// Promise 7: a whole rack and a whole chassis at once, with two workers: one
// command at a time at each, an interval between them, and nobody forgotten.
func TestWholeRackAndWholeChassis(t *testing.T) {
	t.Parallel()
	const outlets, cartridges = 64, 45
	const interval, chassisInterval = 100 * time.Millisecond, time.Second // slept by the worker, and by Temporal
	var machines []lab.Spec
	for i := range outlets {
		machines = append(machines, lab.Spec{WorkerID: fmt.Sprintf("rack-%d", i), WorkerGroup: "mdc1", NoSSH: true, NoBMC: true})
	}
	for i := range cartridges {
		machines = append(machines, lab.Spec{WorkerID: fmt.Sprintf("node-%d", i), WorkerGroup: "mdc1", NoSSH: true, NoBMC: true, NoOutlet: true, Moonshot: true, Chassis: "moon-1"})
	}
	s := newSite(t, map[string]string{
		"REBOOT_METHODS": "moonshot_reset,snmp_reboot", "DEVICE_INTERVAL": interval.String(), "CHASSIS_INTERVAL": chassisInterval.String(),
		"UP_TIMEOUT": "2m", "DOWN_TIMEOUT": "60s", "COMMAND_TIMEOUT": "2m", "TURN_WAIT": "60s", "CLIENT_LIMIT": "none",
	}, machines...)
	_, err := s.StartWorker()
	require.NoError(t, err)
	jobs := map[string]starter.Job{}
	for _, m := range s.lab.Machines() {
		jobs[m.FQDN()] = s.job(t, "reboot", m)
	}
	for fqdn, job := range jobs {
		r := s.endHeard(t, job, s.lab.Machine(fqdn), 2*enough)
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
		require.Len(t, s.executed(s.lab.Machine(fqdn)), 1, fqdn)
		require.LessOrEqual(t, len(s.history(t, job)), 30, "the turns' events are in their own runs")
	}
	require.Equal(t, outlets-1, s.rested(t, "pdu1.mdc1.example", interval))
	require.Equal(t, cartridges-1, s.rested(t, s.lab.Machine("node-0").FQDN(), chassisInterval))
	s.nearTheBound(t, "pdu1.mdc1.example", outlets*interval)
	s.nearTheBound(t, s.lab.Machine("node-0").FQDN(), cartridges*chassisInterval)
}

// nearTheBound asserts that a device was busy for not much longer than its
// intervals alone take; on a busy machine each turn takes a while longer.
func (s *site) nearTheBound(t *testing.T, host string, bound time.Duration) {
	t.Helper()
	entries := slices.DeleteFunc(s.lab.Log(), func(e lab.Entry) bool { return e.Host != host || !e.Control })
	took := entries[len(entries)-1].End.Sub(entries[0].At)
	t.Logf("%s: %d commands in %s, the intervals alone take %s", host, len(entries), took, bound)
	require.Less(t, took, bound+time.Duration(len(entries))*4*time.Second)
}

// inRack is a PDU with some machines, and another PDU with one.
func inRack(n int) []lab.Spec {
	machines := []lab.Spec{{WorkerID: "other", WorkerGroup: "mdc2", NoSSH: true, NoBMC: true}}
	for i := range n {
		machines = append(machines, lab.Spec{WorkerID: fmt.Sprintf("rack-%d", i), WorkerGroup: "mdc1", NoSSH: true, NoBMC: true})
	}
	return machines
}

func setOf(worker string) func(lab.Entry) bool {
	return func(e lab.Entry) bool { return e.Control && strings.HasPrefix(e.Machine, worker+".") }
}

// Promises 7 and 10 at a PDU that is busy with one machine: another PDU waits for
// nobody, a person goes before the bulk jobs that asked earlier, and who is
// cancelled while it waits ends at once and has sent nothing.
func TestWhoWaitsForADevice(t *testing.T) {
	t.Parallel()
	g := &gate{}
	s := newGatedSite(t, map[string]string{
		"REBOOT_METHODS": "snmp_reboot", "SNMP_TIMEOUT": leased, "COMMAND_TIMEOUT": "4m", "UP_TIMEOUT": "2m", "DOWN_TIMEOUT": "60s",
		// Nobody leaves the line, not even between two tries, and the heartbeats that a
		// command needs are far too few to learn of a cancel.
		"TURN_WAIT": "5m", "HEARTBEAT_TIMEOUT": "30m",
	}, g, inRack(5)...)
	bulk := func(m *lab.Machine) starter.Job {
		job, err := s.door.Start(t.Context(), starter.Request{Task: "reboot", WorkerID: m.Spec().WorkerID, WorkerGroup: m.Spec().WorkerGroup, Bulk: true})
		require.NoError(t, err)
		return job
	}
	busy := g.stop(lab.Arrived, setOf("rack-0"))
	jobs := map[string]starter.Job{"rack-0": bulk(s.lab.Machine("rack-0"))}
	<-busy.held
	waits := func(worker string) {
		s.until(t, jobs[worker], worker+" waits, and says so", func(r workflows.Result) bool {
			return r.Now == "waiting for its turn at pdu/pdu1.mdc1.example"
		})
	}
	for _, worker := range []string{"rack-1", "rack-2", "rack-3"} {
		jobs[worker] = bulk(s.lab.Machine(worker))
		waits(worker)
	}
	jobs["rack-4"] = s.job(t, "reboot", s.lab.Machine("rack-4"))
	waits("rack-4")

	r, _ := s.end(t, s.job(t, "reboot", s.lab.Machine("other")))
	require.Equal(t, workflows.Back, r.Outcome)

	require.NoError(t, s.door.Cancel(t.Context(), jobs["rack-2"].WorkflowID, jobs["rack-2"].TaskID))
	r, _ = s.end(t, jobs["rack-2"])
	require.Equal(t, workflows.Cancelled, r.Outcome)
	require.Empty(t, s.lab.Controls("rack-2"))

	busy.open()
	delete(jobs, "rack-2")
	for _, worker := range slices.Sorted(maps.Keys(jobs)) {
		r, _ := s.end(t, jobs[worker])
		require.Equal(t, workflows.Back, r.Outcome, "%s: %s", worker, pretty(r))
	}
	var order []string
	for _, e := range s.lab.Log() {
		if e.Control && e.Host == "pdu1.mdc1.example" {
			order = append(order, strings.SplitN(e.Machine, ".", 2)[0])
		}
	}
	require.Equal(t, []string{"rack-0", "rack-4", "rack-1", "rack-3"}, order)
	require.Empty(t, s.lab.Controls("rack-2"))
}

// leased is how long a command may be held, and makes the lease of its PDU four times
// that: what goes on within enough has taken a turn over.
const leased = "4m"

// Promise 7 with Temporal killed and then the worker too, while a turn is held:
// the next one begins after it, when the dead worker's attempt is over.
func TestDeviceIsHeldThroughKills(t *testing.T) {
	t.Parallel()
	g := &gate{}
	machines := inRack(2)
	for i := range machines {
		machines[i].Faults.SlowBoot = 50 * time.Second // so that who looks late sees it down
	}
	s := newGatedSite(t, map[string]string{
		"REBOOT_METHODS": "snmp_reboot", "SNMP_TIMEOUT": leased, "COMMAND_TIMEOUT": "5m", "UP_TIMEOUT": "3m", "DOWN_TIMEOUT": "30s", "HEARTBEAT_TIMEOUT": soon,
	}, g, machines...)
	busy := g.stop(lab.Acted, setOf("rack-0"))
	first := s.job(t, "reboot", s.lab.Machine("rack-0"))
	<-busy.held
	second := s.job(t, "reboot", s.lab.Machine("rack-1"))
	s.Server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	require.NoError(t, s.StartServer(ctx))
	s.Workers[0].Kill()
	_, err := s.StartWorker()
	require.NoError(t, err)
	require.Empty(t, s.lab.Controls("rack-1"))
	busy.open()
	for _, job := range []starter.Job{first, second} {
		r, _ := s.end(t, job)
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	}
	require.Len(t, s.lab.Controls("rack-0"), 1)
	require.Len(t, s.lab.Controls("rack-1"), 1)
	require.Equal(t, 1, s.rested(t, "pdu1.mdc1.example", 100*time.Millisecond))
}

// Promises 4 and 7: the worker is killed while it holds the device for an off.
// The dark machine does not wait for the dead worker's lease.
func TestPowerOnTakesOverTheTurnOfItsOff(t *testing.T) {
	t.Parallel()
	g := &gate{}
	s := newGatedSite(t, map[string]string{
		"REBOOT_METHODS": "snmp_rebootdelay", "SNMP_TIMEOUT": leased, "COMMAND_TIMEOUT": "5m", "HEARTBEAT_TIMEOUT": soon,
	}, g, inRack(1)...)
	m := s.lab.Machine("rack-0")
	busy := g.stop(lab.Acted, setOf("rack-0"))
	job := s.job(t, "reboot", m)
	<-busy.held
	s.Workers[0].Kill()
	busy.open()
	_, err := s.StartWorker()
	require.NoError(t, err)
	r, v := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	require.Empty(t, v.Off)
	commands := s.lab.Entries(m.FQDN(), func(e lab.Entry) bool { return e.Control })
	require.Len(t, commands, 2)
}

// Promise 7: while a machine is off, or is being watched, its PDU is others'.
func TestNothingHoldsADeviceMeanwhile(t *testing.T) {
	t.Parallel()
	machines := inRack(3)
	machines[2].Faults.SlowBoot = 25 * time.Second
	s := newSite(t, map[string]string{"SNMP_REBOOT_DELAY": "25s", "UP_TIMEOUT": "2m"}, machines...)
	dark, watched, third := s.lab.Machine("rack-0"), s.lab.Machine("rack-1"), s.lab.Machine("rack-2")
	jobs := []starter.Job{s.job(t, "snmp_rebootdelay", dark)}
	s.saw(t, "the first is off", func() bool { return !dark.State().Power })
	jobs = append(jobs, s.job(t, "snmp_reboot", watched))
	s.saw(t, "the second is down", func() bool { return !watched.State().Up })
	jobs = append(jobs, s.job(t, "snmp_reboot", third))
	for _, job := range jobs {
		r, _ := s.end(t, job)
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	}
	told := func(m *lab.Machine) []lab.Entry {
		return s.lab.Entries(m.FQDN(), func(e lab.Entry) bool { return e.Control })
	}
	on := told(dark)[1]
	require.Less(t, told(watched)[0].Seq, on.Seq, "it waited for a machine that was off")
	require.Less(t, told(third)[0].Seq, on.Seq)
	up := slices.IndexFunc(s.lab.Edges(), func(e lab.Edge) bool {
		return e.Machine == watched.FQDN() && e.Event == "up" && e.Seq > told(watched)[0].Seq
	})
	require.Positive(t, up)
	require.Less(t, told(third)[0].Seq, s.lab.Edges()[up].Seq, "it waited for a machine that was being watched")
}

// Promises 2 and 7: a job that is terminated while it looks at its device sends
// nothing any more, and the device is the next one's.
func TestTerminateJustBeforeTheCommand(t *testing.T) {
	t.Parallel()
	g := &gate{}
	s := newGatedSite(t, map[string]string{
		"REBOOT_METHODS": "snmp_reboot", "SNMP_TIMEOUT": leased, "COMMAND_TIMEOUT": "5m", "RUNG_RETRY": "2m",
	}, g, inRack(2)...)
	looking := g.stop(lab.Arrived, func(e lab.Entry) bool { return !e.Control && strings.HasPrefix(e.Machine, "rack-0.") })
	first := s.job(t, "reboot", s.lab.Machine("rack-0"))
	<-looking.held
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), first.WorkflowID, first.TaskID, "by hand"))
	looking.open()
	r, _ := s.end(t, s.job(t, "reboot", s.lab.Machine("rack-1")))
	require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	require.Empty(t, s.lab.Controls("rack-0"))
}

// Promises 2, 3 and 7 with all workers killed while one has the device and nine
// wait for it: nobody is forgotten, nobody is told twice, and none waits for a
// lease.
func TestWorkersAreKilledAtAFullRack(t *testing.T) {
	t.Parallel()
	const outlets, interval = 10, 100 * time.Millisecond
	g := &gate{}
	machines := inRack(outlets)
	for i := range machines {
		machines[i].Faults.SlowBoot = 50 * time.Second // so that who looks late sees it down
	}
	s := newGatedSite(t, map[string]string{
		"REBOOT_METHODS": "snmp_reboot", "SNMP_TIMEOUT": leased, "COMMAND_TIMEOUT": "5m", "UP_TIMEOUT": "3m", "DOWN_TIMEOUT": "30s", "HEARTBEAT_TIMEOUT": soon,
	}, g, machines...)
	_, err := s.StartWorker()
	require.NoError(t, err)
	busy := g.stop(lab.Arrived, setOf("rack-3"))
	var jobs []starter.Job
	for i := range outlets {
		jobs = append(jobs, s.job(t, "reboot", s.lab.Machine(fmt.Sprintf("rack-%d", i))))
	}
	<-busy.held
	for _, w := range s.Workers {
		w.Kill()
	}
	for range 2 {
		_, err := s.StartWorker()
		require.NoError(t, err)
	}
	busy.open()
	for i, job := range jobs {
		r, _ := s.end(t, job)
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
		require.Len(t, s.lab.Controls(fmt.Sprintf("rack-%d", i)), 1, "%s", pretty(r))
	}
	require.GreaterOrEqual(t, s.rested(t, "pdu1.mdc1.example", interval), outlets-1)
}
