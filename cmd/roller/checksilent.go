package main

import (
	"slices"
	"sync"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// silentAfter is how many machines a device must have given no answer for, and none
// for any other, before the rest of its machines are left out: a dead chassis costs
// two waits and not one for each two of its cartridges.
const silentAfter = perDevice

// silences remembers which devices have answered so far.
type silences struct {
	mu         sync.Mutex
	answered   map[config.Device]bool
	unanswered map[config.Device]int
}

func newSilences() *silences {
	return &silences{answered: map[config.Device]bool{}, unanswered: map[config.Device]int{}}
}

func (s *silences) silent(d config.Device) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.answered[d] && s.unanswered[d] >= silentAfter
}

// note takes down what became of one question: any answer counts, a refusal too.
func (s *silences) note(d config.Device, r activities.PowerReading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Problem == "" || r.Meaning == activities.Refused {
		s.answered[d] = true
	} else if r.Meaning == activities.NotSent {
		s.unanswered[d]++
	}
}

// source is one way to a machine's power, by a device that others may share.
type source struct {
	reading activities.PowerReading // its device and name, nothing else
	of      config.Device
	drop    func(*config.Machine)
}

// sources is every device that a machine's power can be read from.
func (c *checking) sources(m config.Machine) []source {
	var all []source
	add := func(device, protocol string, m config.Machine, drop func(*config.Machine)) {
		for _, d := range c.cfg.Devices.Of(m, protocol) {
			all = append(all, source{activities.PowerReading{Device: device}, d, drop})
		}
	}
	add("ipmi", "ipmi", m, func(m *config.Machine) { m.IPMI = nil })
	add("ilo", "ilo", m, func(m *config.Machine) { m.ILO = nil })
	add("moonshot", "moonshot", m, func(m *config.Machine) { m.Moonshot = nil })
	add("xen", "xenapi", m, func(m *config.Machine) { m.Xen = nil })
	for _, o := range m.Outlets {
		all = append(all, source{activities.PowerReading{Device: "pdu", Name: o.String()}, config.Device{Kind: config.PDU, Name: o.PDU}, func(m *config.Machine) {
			m.Outlets = slices.DeleteFunc(slices.Clone(m.Outlets), func(other config.Outlet) bool { return other.String() == o.String() })
		}})
	}
	return all
}

// heard leaves out of a machine what cannot be asked, and says what that was.
func (c *checking) heard(m config.Machine) (config.Machine, []activities.PowerReading) {
	var out []activities.PowerReading
	for _, s := range c.sources(m) {
		if !c.silences.silent(s.of) {
			continue
		}
		s.drop(&m)
		s.reading.Problem = s.of.String() + " has answered for no machine"
		out = append(out, s.reading)
	}
	return m, out
}

// listen takes down who answered.
func (c *checking) listen(m config.Machine, readings []activities.PowerReading) {
	for _, s := range c.sources(m) {
		for _, r := range readings {
			if r.Device == s.reading.Device && (s.reading.Name == "" || r.Name == s.reading.Name) {
				c.silences.note(s.of, r)
			}
		}
	}
}
