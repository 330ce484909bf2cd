package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mozilla-platform-ops/roller/bench/bare"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// The fleet's real shape, and how its devices are.
const (
	dialogue = time.Second // of one command, during which its device hears no other
	rest     = time.Second // DEVICE_INTERVAL and CHASSIS_INTERVAL: from the end of one turn to the next
	boot     = 2 * time.Second
	outage   = time.Second // for which a PDU takes an outlet's power away
	probing  = time.Second // PROBE_INTERVAL
	probes   = 3           // DOWN_PROBES: a baseline is that long
)

// powerCut has every machine down at the same moment, and asks for a reboot of each
// as an operator does: in bulk. What bounds it is the devices: each takes its
// machines one after the other.
func powerCut(ctx context.Context, b *bench) (row Row, err error) {
	chassis, blades, outlets := pick(b, 2, 14), pick(b, 5, 600), pick(b, 3, 468)
	row.Setup = fmt.Sprintf("%d cartridges on %d chassis managers and %d machines on PDUs with 64 outlets, all hung; one worker; "+
		"a command takes its device %s, a turn follows the one before after %s, a boot takes %s. "+
		"The baseline is what the fullest device needs for its commands and intervals alone, a boot and the probes about it", blades, chassis, outlets, dialogue, rest, boot)
	s, err := b.site(ctx, "powercut", fleet{machines: fleetOf(chassis, blades, outlets), during: slowly, env: map[string]string{
		"REBOOT_METHODS": "ssh_reboot,moonshot_reset,snmp_reboot,file_bugzilla_bug", "DOWN_TIMEOUT": "10s", "UP_TIMEOUT": "120s", "RUNG_RETRY": "60s",
		"DEVICE_INTERVAL": rest.String(), "CHASSIS_INTERVAL": rest.String(), "PROBE_INTERVAL": probing.String(), "DOWN_PROBES": fmt.Sprint(probes),
		"PROBE_TIMEOUT": "2s",
	}})
	defer func() { err = closed(ctx, s, err) }()
	if err != nil {
		return row, err
	}
	if _, err := s.StartWorker(); err != nil {
		return row, err
	}
	began := time.Now()
	took, err := s.rebootAll(ctx)
	if err != nil {
		return row, err
	}
	fullest, err := s.turnsKept(b, began)
	if err != nil {
		return row, err
	}
	// The first turn follows a baseline, and nothing follows the last one's interval.
	bound := time.Duration(fullest)*(dialogue+rest) - rest + probes*probing + outage + boot + probing
	b.say("  the fullest device had %d machines", fullest)
	row.Measures = []Measure{compare([]Round{{Sample{"back": bound.Seconds()}, Sample{"back": took.Seconds()}}}, "back", "s", atMost(1.3))}
	row.Measures[0].Name = "until the last machine is back"
	return row, nil
}

// fleetOf is so many cartridges, dealt to chassis, and so many machines on outlets.
// No simulator answers IPMI through the two bridges of a Moonshot chassis: its
// cartridges are reset by their manager's REST, whose turns are the same.
func fleetOf(chassis, blades, outlets int) []lab.Spec {
	timing, faults := lab.Timing{Boot: boot, PDUDelay: outage}, lab.Faults{Hung: true}
	var machines []lab.Spec
	for i := range blades {
		machines = append(machines, lab.Spec{
			WorkerID: fmt.Sprintf("ms%d-%d", i%chassis+1, i/chassis+1), WorkerGroup: "mdc1", Timing: timing, Faults: faults,
			Moonshot: true, Chassis: fmt.Sprintf("chassis%d", i%chassis+1), NoBMC: true, NoOutlet: true,
		})
	}
	for i := range outlets {
		machines = append(machines, lab.Spec{WorkerID: fmt.Sprintf("mini-%d", i+1), WorkerGroup: "mdc1", Timing: timing, Faults: faults, NoBMC: true})
	}
	return machines
}

// slowly is a device that takes its time for a command.
func slowly(at lab.Moment, e lab.Entry) {
	if at == lab.Arrived && e.Control {
		<-time.After(dialogue)
	}
}

// rebootAll asks for a reboot of every machine at once and waits until each is back.
func (s *site) rebootAll(ctx context.Context) (time.Duration, error) {
	machines := s.lab.Machines()
	began := time.Now()
	jobs := make([]starter.Job, len(machines))
	const atOnce = 32 // requests under way
	_, err := bare.Run(ctx, len(machines), atOnce, func(ctx context.Context, i int) (err error) {
		spec := machines[i].Spec()
		jobs[i], err = s.door.Start(ctx, starter.Request{Task: "reboot", WorkerID: spec.WorkerID, WorkerGroup: spec.WorkerGroup, Bulk: true})
		return err
	})
	if err != nil {
		return 0, err
	}
	_, err = bare.Run(ctx, len(jobs), len(jobs), func(ctx context.Context, i int) error {
		var r workflows.Result
		err := s.client.GetWorkflow(ctx, jobs[i].WorkflowID, jobs[i].TaskID).Get(ctx, &r)
		if err == nil && r.Outcome != workflows.Back {
			err = fmt.Errorf("%s is not back: %+v", machines[i].FQDN(), r)
		}
		return err
	})
	return time.Since(began), err
}

// turnsKept returns how many machines the fullest device had. It is an error if a
// machine was told more than once, or a device before its interval was over: what
// is fast in that way is not what was asked for.
func (s *site) turnsKept(b *bench, began time.Time) (fullest int, err error) {
	byDevice := map[config.Device][]lab.Entry{}
	told := map[string]int{}
	for _, e := range s.lab.Log() {
		if !e.Control {
			continue
		}
		if told[e.Machine]++; told[e.Machine] > 1 {
			return 0, fmt.Errorf("%s was told %d times", e.Machine, told[e.Machine])
		}
		m := s.lab.Machine(e.Machine).Spec()
		d := config.Device{Kind: config.PDU, Name: e.Host}
		if m.Moonshot {
			d = config.Device{Kind: config.Chassis, Name: m.Chassis}
		}
		byDevice[d] = append(byDevice[d], e)
	}
	var pauses []time.Duration
	var first, last time.Duration
	for d, entries := range byDevice {
		slices.SortFunc(entries, func(a, b lab.Entry) int { return a.At.Compare(b.At) })
		for i := 1; i < len(entries); i++ {
			pause := entries[i].At.Sub(entries[i-1].End)
			if pause < rest {
				return 0, fmt.Errorf("%s: %q came %s after the command before it", d, entries[i].Command, pause)
			}
			pauses = append(pauses, pause)
		}
		fullest = max(fullest, len(entries))
		first, last = max(first, entries[0].At.Sub(began)), max(last, entries[len(entries)-1].End.Sub(began))
	}
	b.say("  the last device had its first command after %s, the last command ended after %s, a pause was %s (median), %s (p99)",
		first.Round(time.Second), last.Round(time.Second), quantile(pauses, 0.5).Round(time.Millisecond), quantile(pauses, 0.99).Round(time.Millisecond))
	return fullest, nil
}
