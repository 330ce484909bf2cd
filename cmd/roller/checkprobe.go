package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// perDevice is how many machines a device that they share is asked about at once.
// Some BMCs have four sessions for all their users.
const perDevice = 2

// ask probes machines and their devices, and prints what answered. It fails where
// something did not.
func (c *checking) ask(ctx context.Context, machines []config.Machine) error {
	began := time.Now()
	c.silences = newSilences()
	results := make([]*activities.ReadResult, len(machines))
	slots := newSlots(c.parallel)
	var asking sync.WaitGroup
	for i, m := range machines {
		asking.Go(func() {
			if !slots.take(ctx, c.devices(m)) {
				return
			}
			defer slots.give(c.devices(m))
			results[i] = c.status(ctx, m)
		})
	}
	asking.Wait()
	found := findings{}
	bad := 0
	for i, m := range machines {
		if results[i] == nil {
			return fmt.Errorf("probe: interrupted after %s", time.Since(began).Round(time.Second))
		}
		if !found.add(m.Name, *results[i].Status) {
			bad++
		}
	}
	if len(machines) == 1 {
		fmt.Fprintln(c.out, "\n"+results[0].Text)
	} else {
		fmt.Fprintf(c.out, "\nprobed %s in %s\n", counted(len(machines), "machine"), time.Since(began).Round(100*time.Millisecond))
		c.printFindings(found)
	}
	err := c.askCanaries(ctx, machines)
	if bad > 0 {
		err = errors.Join(err, fmt.Errorf("probe: %s did not answer in every way that the inventory has", counted(bad, "machine")))
	}
	return err
}

// status asks about one machine; nil where that was interrupted.
func (c *checking) status(ctx context.Context, m config.Machine) *activities.ReadResult {
	m, unheard := c.heard(m)
	a := activities.New(c.cfg, func() *config.Inventory { return config.NewInventory(m) })
	res, err := a.Status(ctx, activities.Read{Machine: m.Name})
	if err != nil {
		return nil
	}
	c.listen(m, res.Status.Power)
	res.Status.Power = append(res.Status.Power, unheard...)
	return &res
}

// devices is everything that a machine's power can be read from, in one order for
// all: who takes their slots in that order waits for nobody in a circle.
func (c *checking) devices(m config.Machine) []config.Device {
	var all []config.Device
	for _, protocol := range []string{"ipmi", "ilo", "moonshot", "snmp", "xenapi"} {
		all = append(all, c.cfg.Devices.Of(m, protocol)...)
	}
	slices.SortFunc(all, byText)
	return slices.Compact(all)
}

// slots bounds how many are asked at once: in all, and by way of one device.
type slots struct {
	all chan struct{}

	mu  sync.Mutex
	one map[config.Device]chan struct{}
}

func newSlots(parallel int) *slots {
	return &slots{all: make(chan struct{}, parallel), one: map[config.Device]chan struct{}{}}
}

func (s *slots) of(d config.Device) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.one[d] == nil {
		s.one[d] = make(chan struct{}, perDevice)
	}
	return s.one[d]
}

// take reports whether it got all slots before ctx ended. The one that counts for
// all comes last, so that nobody holds it while waiting for a busy device.
func (s *slots) take(ctx context.Context, devices []config.Device) bool {
	for i, d := range devices {
		if !enter(ctx, s.of(d)) {
			s.leave(devices[:i])
			return false
		}
	}
	if !enter(ctx, s.all) {
		s.leave(devices)
		return false
	}
	return true
}

func enter(ctx context.Context, slot chan struct{}) bool {
	select {
	case slot <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *slots) give(devices []config.Device) {
	<-s.all
	s.leave(devices)
}

func (s *slots) leave(devices []config.Device) {
	for _, d := range devices {
		<-s.of(d)
	}
}

// finding is one kind of answer and who gave it.
type finding struct {
	source, answer string // "ipmi", "on"
	good           bool
	machines       []config.Name
	problem        string // of the first of them
}

type findings map[string]*finding

// problemWords say why there is no power state.
var problemWords = map[activities.Meaning]string{
	activities.NotSent: "cannot be asked", activities.Refused: "refuses", activities.NoRung: "not configured", "": "not asked",
}

// add reports whether all that was asked about a machine answered.
func (f findings) add(n config.Name, s activities.MachineStatus) bool {
	good := f.note(n, finding{source: "ping", answer: pingAnswer(s), good: s.Ping.Answers, problem: cmp.Or(s.Ping.Problem, s.Filtered())})
	if s.SSH != nil {
		answer := "shows its banner"
		if s.SSH.Problem != "" {
			answer = "no banner"
		}
		good = f.note(n, finding{source: "ssh", answer: answer, good: s.SSH.Problem == "", problem: s.SSH.Problem}) && good
	}
	for _, p := range s.Power {
		answer := p.State
		if p.Problem != "" {
			answer = cmp.Or(problemWords[p.Meaning], "unclear")
		}
		good = f.note(n, finding{source: p.Device, answer: answer, good: p.Problem == "", problem: p.Problem}) && good
	}
	return good
}

func pingAnswer(s activities.MachineStatus) string {
	switch {
	case s.Ping.Problem != "":
		return "cannot be asked"
	case s.Ping.Answers:
		return "answers"
	case s.Filtered() != "":
		return "no answer, but ssh"
	}
	return "no answer"
}

func (f findings) note(n config.Name, one finding) bool {
	key := one.source + "\t" + one.answer
	if f[key] == nil {
		f[key] = &one
	}
	if had := f[key].machines; len(had) == 0 || had[len(had)-1] != n { // two outlets are one machine
		f[key].machines = append(had, n)
	}
	return one.good
}

// printFindings prints a line a kind of answer. Whoever answers and is on is
// only counted.
func (c *checking) printFindings(found findings) {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, key := range slices.Sorted(maps.Keys(found)) {
		one := found[key]
		names := config.FoldNames(one.machines)
		if one.good && one.answer != "off" {
			names = ""
		}
		fmt.Fprintf(w, "  %s\t%s\t%d\t%s\n", one.source, one.answer, len(one.machines), names)
		if one.problem != "" {
			fmt.Fprintf(w, "\t\t\t%s\n", "the first: "+one.problem)
		}
	}
	_ = w.Flush() // to the terminal
}
