package lab

import (
	"cmp"
	"fmt"
)

// outletsPerPDU is how many outlets one PDU of the fleet has.
const outletsPerPDU = 64

// rack is a PDU with the machines (indexes into Options.Machines) on its
// outlets, from the first; second says that these are their second feeds.
type rack struct {
	host     string
	model    string
	second   bool
	machines []int
}

// rackMachines puts the machines of a group on that group's PDUs, in order.
func rackMachines(specs []Spec) []*rack {
	var racks []*rack
	open := make(map[string]*rack) // by group, model and feed
	count := make(map[string]int)
	plug := func(i int, group, model string, second bool) {
		key := fmt.Sprint(group, " ", model, second)
		r := open[key]
		if r == nil || len(r.machines) == outletsPerPDU {
			count[group]++
			r = &rack{model: model, second: second, host: fmt.Sprintf("pdu%d.%s.example", count[group], group)}
			open[key] = r
			racks = append(racks, r)
		}
		r.machines = append(r.machines, i)
	}
	for i, s := range specs {
		if !s.NoOutlet {
			plug(i, s.WorkerGroup, cmp.Or(s.PDUModel, defaultModel), false)
		}
		if s.SecondPDU != "" {
			plug(i, s.WorkerGroup, s.SecondPDU, true)
		}
	}
	return racks
}
