package check

import (
	"slices"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
)

// grace is how long after a job a device's own off-and-on may last: a cycle, or
// a PDU's reboot of an outlet that acts late.
const grace = 8 * time.Second

// LeftOff finds machines that a job left without power and without a word: at
// the job's end, and at the end of all.
func LeftOff(f *Facts) []Violation {
	b := broken{check: "left_off"}
	lines := timelines(f.Edges)
	for _, r := range f.Runs {
		m, known := f.machine(r.Machine())
		if !known || !r.Own() || r.Close.IsZero() || r.Type == "ipmi_off" || saysOff(r) {
			continue
		}
		line, until := lines[m.FQDN()], r.Close.Add(grace)
		if until.After(f.Ended) {
			until = f.Ended
		}
		darkened := slices.ContainsFunc(line.began(r.Start, until), func(c condition) bool { return !c.power })
		if darkened && !line.ever(r.Close, until, func(c condition) bool { return c.power }) {
			b.add(r.Machine(), r.Close, "run %s of %s left it off and does not say so: %s", r.RunID, r.Type, said(r))
		}
	}
	for _, m := range f.Machines {
		if !m.Final.Power && !reported(f, m) {
			b.add(m.Name.String(), f.Ended, "it is off at the end, and nobody says so")
		}
	}
	return b.sorted()
}

func saysOff(r Run) bool { return r.Off != "" || r.Result != nil && r.Result.Off }

func said(r Run) string {
	if r.Result == nil {
		return r.Status
	}
	return string(r.Result.Outcome) + " " + r.Result.Why
}

// reported: it was asked to be off, or a run says that it is.
func reported(f *Facts, m Machine) bool {
	for _, e := range slices.Backward(f.Log) {
		if e.Machine != m.FQDN() || !e.Executed || !offs(e.Command) {
			continue
		}
		for _, r := range f.Runs {
			if r.Machine() == m.Name.String() && r.Own() && within(e.At, r.Start, f.closed(r)) {
				return r.Type == "ipmi_off" || saysOff(r)
			}
		}
		return false
	}
	return false
}

// offs reports whether a command takes a machine's power away.
func offs(command string) bool {
	return strings.HasSuffix(command, " off") || strings.HasSuffix(command, "power soft") ||
		strings.HasSuffix(command, "_shutdown") || command == "reset ForceOff"
}

func within(t, from, to time.Time) bool { return !t.Before(from) && !t.After(to) }

// controls are a machine's control commands, in order.
func controls(f *Facts, fqdn string) []lab.Entry {
	var out []lab.Entry
	for _, e := range f.Log {
		if e.Control && e.Machine == fqdn {
			out = append(out, e)
		}
	}
	return out
}
