package lab

import (
	"cmp"
	"fmt"
)

// outletsPerPDU is how many outlets one PDU of the fleet has.
const outletsPerPDU = 64

// rack is a PDU with the machines (indexes into Options.Machines) on its
// outlets, from the first.
type rack struct {
	host     string
	model    string
	machines []int
}

// rackMachines puts the machines of a group on that group's PDUs, in order.
func rackMachines(specs []Spec) []*rack {
	var racks []*rack
	open := make(map[string]*rack) // by group and model
	count := make(map[string]int)
	for i, s := range specs {
		if s.NoOutlet {
			continue
		}
		model := cmp.Or(s.PDUModel, defaultModel)
		key := s.WorkerGroup + " " + model
		r := open[key]
		if r == nil || len(r.machines) == outletsPerPDU {
			count[s.WorkerGroup]++
			r = &rack{model: model, host: fmt.Sprintf("pdu%d.%s.example", count[s.WorkerGroup], s.WorkerGroup)}
			open[key] = r
			racks = append(racks, r)
		}
		r.machines = append(r.machines, i)
	}
	return racks
}
