package check

import (
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
)

// condition is a machine's between two edges.
type condition struct {
	at     time.Time
	power  bool
	up     bool // answers probes
	banner bool // and shows an SSH banner
	bootID string
	booted bool // began with a boot: an operating system that was not there before
	thawed bool // began with the end of a hang
}

// timeline is a machine's conditions, in order.
type timeline []condition

// timelines reads the edges of every machine, by FQDN.
func timelines(edges []lab.Edge) map[string]timeline {
	lines := map[string]timeline{}
	for _, e := range edges {
		lines[e.Machine] = append(lines[e.Machine], lines[e.Machine].after(e))
	}
	return lines
}

// after is the condition that an edge leads to.
func (t timeline) after(e lab.Edge) condition {
	var c condition
	if len(t) > 0 {
		c = t[len(t)-1]
	}
	was := c
	c.at, c.booted, c.thawed = e.At, false, false
	switch e.Event {
	case lab.EdgePowerOn:
		c.power = true
	case lab.EdgePowerOff:
		c.power, c.up, c.banner = false, false, false
	case lab.EdgeUp:
		c.up, c.bootID = true, e.BootID
		c.booted = e.BootID != was.bootID
		c.thawed = !c.booted
		c.banner = c.thawed && t.hadBanner(e.BootID)
	case lab.EdgeSSH:
		c.banner = true
	case lab.EdgeDown:
		c.up, c.banner = false, false
	case lab.EdgeRestart:
		c.bootID, c.booted = e.BootID, true
	case lab.EdgeHung:
		c.up, c.banner, c.bootID = false, false, e.BootID
		c.booted = e.BootID != was.bootID
	}
	return c
}

// hadBanner reports whether a boot had shown its banner before it hung.
func (t timeline) hadBanner(bootID string) bool {
	for _, c := range t {
		if c.bootID == bootID && c.banner {
			return true
		}
	}
	return false
}

// ever reports whether the machine was in such a condition at any time from
// one moment to another.
func (t timeline) ever(from, to time.Time, such func(condition) bool) bool {
	for i, c := range t {
		ended := i+1 < len(t) && !t[i+1].at.After(from)
		if !ended && !c.at.After(to) && such(c) {
			return true
		}
	}
	return false
}

// began returns the conditions that began from one moment to another.
func (t timeline) began(from, to time.Time) timeline {
	var out timeline
	for _, c := range t {
		if !c.at.Before(from) && !c.at.After(to) {
			out = append(out, c)
		}
	}
	return out
}

// at is the condition at a moment.
func (t timeline) at(when time.Time) condition {
	var now condition
	for _, c := range t {
		if c.at.After(when) {
			break
		}
		now = c
	}
	return now
}
