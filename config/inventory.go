package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Inventory is every machine roller may act on. It does not change once it was
// read; a machine that it hands out must not be changed either.
type Inventory struct {
	// Warnings are what LoadInventory found that works but ought to be put
	// right, such as a private key that others may read.
	Warnings []string
	// Community is WORKER_CONFIG_PATH's snmp_community_string, which counts where
	// SNMP_COMMUNITY is not set.
	Community Secret

	machines map[Name]*Machine
}

// Machines returns every machine, sorted by group and worker ID.
func (v *Inventory) Machines() []Machine {
	sorted := make([]Machine, 0, len(v.machines))
	for _, m := range v.machines {
		sorted = append(sorted, *m)
	}
	slices.SortFunc(sorted, byName)
	return sorted
}

func byName(a, b Machine) int {
	return cmp.Or(cmp.Compare(a.WorkerGroup, b.WorkerGroup), cmp.Compare(a.WorkerID, b.WorkerID))
}

// Lookup returns the machine of a canonical name. It fails when the inventory
// has none, which happens to a running job when the files change under it.
func (v *Inventory) Lookup(n Name) (Machine, error) {
	m, ok := v.machines[n]
	if !ok {
		return Machine{}, fmt.Errorf("machine %q is not in the inventory", n)
	}
	return *m, nil
}

// Resolve finds the one machine that a person means, in any letter case: by
// worker ID and group, by worker ID alone (group "none" or empty), or by the
// full host name in place of the worker ID. It fails on an unknown group, on an
// unknown machine, and on a worker ID alone that several groups have.
func (v *Inventory) Resolve(workerID, workerGroup string) (Machine, error) {
	id, group := strings.ToLower(workerID), strings.ToLower(workerGroup)
	if group == AnyGroup {
		group = ""
	}
	if m, ok := v.machines[Name{WorkerID: id, WorkerGroup: group}]; ok && !strings.Contains(id, ".") { // no full host name
		return *m, nil
	}
	known := group == ""
	var found []Machine
	for _, m := range v.machines {
		if group != "" && m.WorkerGroup != group {
			continue
		}
		known = true
		if m.WorkerID == id || m.FQDN == id {
			found = append(found, *m)
		}
	}
	if !known {
		return Machine{}, fmt.Errorf("worker group %q is not in the inventory (%s)", group, v.known())
	}
	slices.SortFunc(found, byName)
	return only(found, id, group)
}

// only returns the machine of a search that found exactly one.
func only(found []Machine, id, group string) (Machine, error) {
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		names := make([]string, len(found))
		for i, m := range found {
			names[i] = m.WorkerGroup
		}
		return Machine{}, fmt.Errorf("machine %q is in the groups %s: say which", id, strings.Join(names, ", "))
	case group != "":
		return Machine{}, fmt.Errorf("machine %q is not in worker group %q of the inventory", id, group)
	}
	return Machine{}, fmt.Errorf("machine %q is in no worker group of the inventory", id)
}

// groups returns the worker groups, sorted.
func (v *Inventory) groups() []string {
	set := map[string]bool{}
	for n := range v.machines {
		set[n.WorkerGroup] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// known says what groups there are, for a person who named another one.
func (v *Inventory) known() string {
	groups := v.groups()
	if len(groups) == 0 {
		return "it is empty"
	}
	return "it has " + strings.Join(groups, ", ")
}

// NewInventory returns an inventory of just these machines, for a caller that
// was told of them in another way than by files. A later one of the same name
// replaces an earlier one.
func NewInventory(machines ...Machine) *Inventory {
	v := &Inventory{machines: map[Name]*Machine{}}
	for _, m := range machines {
		v.machines[m.Name] = &m
	}
	return v
}
