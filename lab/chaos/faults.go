package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
)

// trouble is what befalls one machine, or the PDU of its rack, for a while.
type trouble struct {
	rack bool
	make func(f *lab.Faults)
}

var troubles = []trouble{
	{false, func(f *lab.Faults) { f.DeadBMC = true }},
	{false, func(f *lab.Faults) { f.PDUDead = true }},
	{false, func(f *lab.Faults) { f.LoseCommandReply = true }},
	{false, func(f *lab.Faults) { f.LoseReplies = 0.5 }},
	{false, func(f *lab.Faults) { f.IgnoreSSH = true }},
	{false, func(f *lab.Faults) { f.Hung = true }},
	{false, func(f *lab.Faults) { f.Hung = true }},
	{true, func(f *lab.Faults) { f.PDUDead = true }},
}

const (
	// troubleFor is how long trouble lasts, at most.
	troubleFor = 15 * time.Second
	// bugzillaEvery is how often Bugzilla is down, for as long.
	bugzillaEvery = 45 * time.Second
)

// faults makes trouble all the time, for one machine in thirty at once.
type faults struct {
	site    *site
	rand    *rand.Rand
	ending  sync.WaitGroup
	machine map[*lab.Machine]bool // in trouble
	mu      sync.Mutex
}

func (t *faults) run(ctx context.Context) {
	machines := t.site.lab.Machines()
	atOnce := max(2, len(machines)/30)
	every := time.NewTicker(troubleFor / time.Duration(2*atOnce))
	bugzilla := time.NewTicker(bugzillaEvery)
	defer every.Stop()
	defer bugzilla.Stop()
	defer t.ending.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-bugzilla.C:
			t.bugzilla(ctx)
		case <-every.C:
			t.befall(ctx, machines[t.rand.IntN(len(machines))], troubles[t.rand.IntN(len(troubles))])
		}
	}
}

// befall makes trouble and ends it after a while. What a hung machine had
// before stays: only a reset or lost power cures it, or the end of the run.
func (t *faults) befall(ctx context.Context, m *lab.Machine, what trouble) {
	hit := []*lab.Machine{m}
	if what.rack {
		hit = nil
		for _, other := range t.site.lab.Machines() {
			if other.PDUAddr() == m.PDUAddr() && m.PDUAddr() != "" {
				hit = append(hit, other)
			}
		}
	}
	hit = t.take(hit)
	for _, m := range hit {
		f := m.Faults()
		what.make(&f)
		m.SetFaults(f) //nolint:contextcheck // a simulated machine outlives whoever hurts it
	}
	lasts := time.Duration(t.rand.Int64N(int64(troubleFor)))
	t.ending.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(lasts):
		}
		for _, m := range hit {
			heal(m) //nolint:contextcheck // as above
		}
		t.release(hit)
	})
}

// heal gives a machine its own faults back. One that hangs goes on to hang:
// that is the trouble which a reboot is for.
func heal(m *lab.Machine) {
	f := m.Spec().Faults
	f.Hung = m.Faults().Hung
	m.SetFaults(f)
}

// take returns those machines that are in no trouble, and puts them into it.
func (t *faults) take(machines []*lab.Machine) []*lab.Machine {
	t.mu.Lock()
	defer t.mu.Unlock()
	var free []*lab.Machine
	for _, m := range machines {
		if !t.machine[m] {
			t.machine[m] = true
			free = append(free, m)
		}
	}
	return free
}

func (t *faults) release(machines []*lab.Machine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range machines {
		delete(t.machine, m)
	}
}

func (t *faults) bugzilla(ctx context.Context) {
	what := []lab.BugzillaFaults{{Down: true}, {LoseWrites: 3}, {HTML: true}, {FailWrites: 2}}[t.rand.IntN(4)]
	t.site.bugs.SetFaults(what)
	t.ending.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(troubleFor):
		}
		t.site.bugs.SetFaults(lab.BugzillaFaults{})
	})
}
