package check

import (
	"slices"
	"strings"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// often is for commands that may be repeated without harm: power on.
const often = 1 << 30

// allowed is what each rung may tell which device, and how often in one job.
var allowed = map[string]map[string]int{
	"ssh_reboot":       {"ssh reboot": 1, "ssh shutdown": 1},
	"ipmi_reset":       {"bmc chassis power reset": 1},
	"ipmi_cycle":       {"bmc chassis power cycle": 1},
	"ipmi_on":          {"bmc chassis power on": often},
	"ipmi_off":         {"bmc chassis power off": 1, "bmc chassis power on": often},
	"ipmi_reboot":      {"bmc chassis power soft": 1, "bmc chassis power off": 1, "bmc chassis power on": often},
	"snmp_reboot":      {"pdu reboot": 1, "pdu off": 1, "pdu on": often},
	"snmp_rebootdelay": {"pdu off": 1, "pdu on": often},
	"ilo_reboot":       {"ilo reset": 1},
	"moonshot_reset":   {"moonshot cold reset": 1},
	"xenapi_reboot":    {"xen VM.clean_shutdown": 1, "xen VM.hard_shutdown": 1, "xen VM.start": often},
}

// poweringOn is what a job may send that only powers on. It ends a clean shutdown
// under way, which keeps the VM from being started.
var poweringOn = []string{"bmc chassis power on", "pdu on", "xen VM.hard_shutdown", "xen VM.start"}

// deed is a command without the outlet or the kind of reset: "pdu off".
func deed(e lab.Entry) string {
	command := e.Command
	switch e.Device {
	case lab.DevicePDU:
		command = command[strings.LastIndex(command, " ")+1:]
	case lab.DeviceILO, lab.DeviceMoonshot:
		command = command[:strings.LastIndex(command, " ")]
	case lab.DeviceSSH:
		command, _, _ = strings.Cut(command, " ")
	}
	return e.Device + " " + command
}

// Once counts the commands of every attempt. A command belongs to the rung that
// was being tried when it reached its device; one that belongs to none came from
// a worker that should have been silent.
func Once(f *Facts) []Violation {
	b := broken{check: "once"}
	for _, m := range f.Machines {
		counts := map[*workflows.Attempt]map[string]int{}
		for _, e := range controls(f, m.FQDN()) {
			if clearlyRefused(e) {
				continue
			}
			r := holder(f, m, e)
			if r == nil {
				b.add(m.Name.String(), e.At, "%s %q (seq %d) belongs to no job", e.Device, e.Command, e.Seq)
				continue
			}
			if r.Type == workflows.PowerOnType {
				if !slices.Contains(poweringOn, deed(e)) {
					b.add(m.Name.String(), e.At, "%s %q (seq %d) was sent by a job that may only power on", e.Device, e.Command, e.Seq)
				}
				continue
			}
			at := rung(r, e)
			if at == nil {
				b.add(m.Name.String(), e.At, "%s %q (seq %d) belongs to no rung of run %s", e.Device, e.Command, e.Seq, r.RunID)
				continue
			}
			if counts[at] == nil {
				counts[at] = map[string]int{}
			}
			counts[at][deed(e)]++
			switch n, most := counts[at][deed(e)], allowed[at.Rung][deed(e)]; {
			case most == 0:
				b.add(m.Name.String(), e.At, "%s %q (seq %d) is no command of %s (run %s)", e.Device, e.Command, e.Seq, at.Rung, r.RunID)
			case n > most:
				b.add(m.Name.String(), e.At, "%s %q (seq %d) was sent %d times for %s (run %s)", e.Device, e.Command, e.Seq, n, at.Rung, r.RunID)
			}
		}
		b.unsent(m, f)
	}
	return b.sorted()
}

// unsent finds attempts that say that nothing was sent, and a command that was
// carried out for them.
func (b *broken) unsent(m Machine, f *Facts) {
	sent := controls(f, m.FQDN())
	for i := range f.Runs {
		r := &f.Runs[i]
		if r.Machine() != m.Name.String() || !r.Own() || r.Result == nil {
			continue
		}
		for k := range r.Result.Attempts {
			at := &r.Result.Attempts[k]
			if !slices.Contains([]workflows.Outcome{workflows.NotSent, workflows.Refused, workflows.Skipped}, at.Outcome) {
				continue
			}
			for _, e := range sent {
				if e.Executed && within(e.At, at.StartedAt, at.EndedAt) {
					b.add(m.Name.String(), e.At, "%s of run %s says %q (%s), but %s %q (seq %d) was carried out", at.Rung, r.RunID, at.Outcome, at.Why, e.Device, e.Command, e.Seq)
				}
			}
		}
	}
}

// clearlyRefused reports whether the device answered with an error, so that the
// command is known not to have been carried out. Of SSH and PDUs the lab says
// so also of commands that it acknowledged and ignored.
func clearlyRefused(e lab.Entry) bool {
	return !e.Executed && e.Device != lab.DeviceSSH && e.Device != lab.DevicePDU
}

// holder is the run that had the machine when a command reached its device.
func holder(f *Facts, m Machine, e lab.Entry) *Run {
	for i := range f.Runs {
		r := &f.Runs[i]
		if r.Own() && r.Machine() == m.Name.String() && within(e.At, r.Start, f.closed(*r)) {
			return r
		}
	}
	return nil
}

// rung is the attempt that was under way.
func rung(r *Run, e lab.Entry) *workflows.Attempt {
	if r.Result == nil {
		return nil
	}
	for i := range r.Result.Attempts {
		at := &r.Result.Attempts[i]
		if within(e.At, at.StartedAt, r.Close) && (at.EndedAt.IsZero() || !e.At.After(at.EndedAt)) {
			return at
		}
	}
	return nil
}
