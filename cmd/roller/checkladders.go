package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// ladder is what some machines have in common: the same rungs, the same skips and
// the same way to see whether they are up.
type ladder struct {
	text     string
	machines []config.Machine
	rungs    []string // those that can be tried
}

func (c *checking) printLadders(machines []config.Machine) {
	users := c.users()
	for i, l := range c.ladders(machines) {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		fmt.Fprintf(c.out, "%s, %s\n  %s\n", counted(len(l.machines), "machine"), l.text, config.FoldNames(named(l.machines)))
		c.printDevices(l, users)
	}
	shared := 0
	for _, names := range users {
		if len(names) > 1 {
			shared++
		}
	}
	fmt.Fprintf(c.out, "\n%s, %s that they share\n", counted(len(machines), "machine"), counted(shared, "device"))
}

// ladders groups machines, the largest group first.
func (c *checking) ladders(machines []config.Machine) []*ladder {
	var all []*ladder
	index := map[string]*ladder{}
	for _, m := range machines {
		text, rungs := "probed by "+m.Probe.String()+drained(m)+": ", []string(nil)
		if plan, err := activities.PlanFor(c.cfg, m, "reboot"); err == nil {
			text, rungs = text+rungsText(plan), tried(plan)
		} else {
			text += strings.Replace(err.Error(), m.FQDN, "them", 1)
		}
		if index[text] == nil {
			index[text] = &ladder{text: text, rungs: rungs}
			all = append(all, index[text])
		}
		index[text].machines = append(index[text].machines, m)
	}
	slices.SortStableFunc(all, func(a, b *ladder) int { return cmp.Compare(len(b.machines), len(a.machines)) })
	return all
}

// drained says whose work the machine does, and whether it is drained of it first.
func drained(m config.Machine) string {
	switch {
	case m.Queue == nil:
		return ""
	case m.Queue.Drain:
		return ", drained of " + m.Queue.String()
	}
	return ", of " + m.Queue.String()
}

// rungsText writes a ladder on one line; what would be skipped stands in brackets.
func rungsText(plan activities.Plan) string {
	var parts []string
	for _, rung := range plan.Rungs {
		if rung.Skip == "" {
			parts = append(parts, rung.Name)
		} else {
			parts = append(parts, fmt.Sprintf("[%s: %s]", rung.Name, rung.Skip))
		}
	}
	return strings.Join(parts, " > ")
}

func tried(plan activities.Plan) []string {
	var names []string
	for _, rung := range plan.Rungs {
		if rung.Skip == "" {
			names = append(names, rung.Name)
		}
	}
	return names
}

// users says which machines of the inventory each device is used for, by a rung
// of their ladders.
func (c *checking) users() map[config.Device][]config.Name {
	users := map[config.Device][]config.Name{}
	for _, l := range c.ladders(c.inventory.Machines()) {
		for _, m := range l.machines {
			for d := range c.touched(m, l.rungs) {
				users[d] = append(users[d], m.Name)
			}
		}
	}
	return users
}

// touched is every device that a machine's rungs speak to, and by which of them.
func (c *checking) touched(m config.Machine, rungs []string) map[config.Device][]string {
	devices := map[config.Device][]string{}
	for _, rung := range rungs {
		for _, d := range c.cfg.Devices.Of(m, rung) {
			devices[d] = append(devices[d], rung)
		}
	}
	return devices
}

// use is a device and by which rungs it is used, in one ladder.
type use struct {
	device config.Device
	rungs  string
}

// printDevices prints what a ladder's machines share, device by device, and counts
// what each has for itself.
func (c *checking) printDevices(l *ladder, users map[config.Device][]config.Name) {
	shared, own := map[use][]config.Name{}, map[use]int{}
	for _, m := range l.machines {
		for d, rungs := range c.touched(m, l.rungs) {
			u := use{d, strings.Join(rungs, ", ")}
			if len(users[d]) > 1 {
				shared[u] = append(shared[u], m.Name)
			} else {
				u.device.Name = "of its own"
				own[u]++
			}
		}
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, u := range slices.SortedFunc(maps.Keys(own), byUse) {
		fmt.Fprintf(w, "  each a %s %s\t%s\t%d\n", u.device.Kind, u.device.Name, u.rungs, own[u])
	}
	for _, u := range slices.SortedFunc(maps.Keys(shared), byUse) {
		count := fmt.Sprint(len(shared[u]))
		if all := len(users[u.device]); all > len(shared[u]) {
			count += fmt.Sprintf(" of %d", all)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", u.device, u.rungs, count, config.FoldNames(shared[u]))
	}
	_ = w.Flush() // to the terminal
}

func byUse(a, b use) int {
	return cmp.Or(byText(a.device, b.device), cmp.Compare(a.rungs, b.rungs))
}

func byText(a, b config.Device) int { return cmp.Compare(a.String(), b.String()) }

// printEach prints each machine's ladder rung by rung.
func (c *checking) printEach(machines []config.Machine) {
	users := c.users()
	for i, m := range machines {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		fmt.Fprintf(c.out, "%s  %s, probed by %s at %s%s\n", m.Name, m.FQDN, m.Probe, m.Addr, drained(m))
		plan, err := activities.PlanFor(c.cfg, m, "reboot")
		if err != nil {
			fmt.Fprintf(c.out, "  %v\n", err)
			continue
		}
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for _, rung := range plan.Rungs {
			if rung.Skip != "" {
				fmt.Fprintf(w, "  -\t%s\tskipped: %s\n", rung.Name, rung.Skip)
				continue
			}
			line := strings.Join([]string{"  >", rung.Name, c.target(m, rung), c.sharers(m, rung.Name, users)}, "\t")
			fmt.Fprintln(w, strings.TrimRight(line, "\t"))
		}
		_ = w.Flush() // to the terminal
	}
}

// target is what a rung speaks to on this machine.
func (c *checking) target(m config.Machine, rung activities.Rung) string {
	var parts []string
	switch protocol, _, _ := strings.Cut(rung.Name, "_"); protocol {
	case "ssh":
		text := fmt.Sprintf("%s@%s:%d", m.SSH.User, m.Addr, m.SSH.Port)
		if m.SSH.Jump != nil {
			text += " by way of " + m.SSH.Jump.Addr()
		}
		return text
	case "snmp":
		for _, o := range m.Outlets {
			parts = append(parts, "outlet "+o.String())
		}
	case "moonshot":
		parts = append(parts, "node "+m.Moonshot.Node+" of "+m.Moonshot.Addr())
	case "xenapi":
		parts = append(parts, "VM "+m.Xen.UUID)
	default:
		for _, d := range c.cfg.Devices.Of(m, rung.Name) {
			parts = append(parts, d.String())
		}
		if m.IPMI != nil && protocol == "ipmi" && len(m.IPMI.Bridge) > 0 {
			parts = append(parts, strings.Join(m.IPMI.Bridge, " "))
		}
	}
	if rung.OffOn {
		parts = append(parts, "off and on")
	}
	return strings.Join(parts, ", ")
}

// sharers says who else is on the devices of a rung.
func (c *checking) sharers(m config.Machine, rung string, users map[config.Device][]config.Name) string {
	var parts []string
	for _, d := range c.cfg.Devices.Of(m, rung) {
		others := slices.DeleteFunc(slices.Clone(users[d]), func(n config.Name) bool { return n == m.Name })
		if len(others) > 0 {
			parts = append(parts, fmt.Sprintf("%s shared with %d: %s", d, len(others), config.FoldNames(others)))
		}
	}
	return strings.Join(parts, "; ")
}

func named(machines []config.Machine) []config.Name {
	names := make([]config.Name, len(machines))
	for i, m := range machines {
		names[i] = m.Name
	}
	return names
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
