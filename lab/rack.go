package lab

import "fmt"

// outletsPerPDU is how many outlets one PDU of the fleet has.
const outletsPerPDU = 64

// rack is a PDU with the machines (indexes into Options.Machines) on its
// outlets, AA1 and up.
type rack struct {
	host     string
	machines []int
}

// rackMachines puts the machines of a group on that group's PDUs, in order.
func rackMachines(specs []Spec) []*rack {
	var racks []*rack
	open := make(map[string]*rack) // by group
	count := make(map[string]int)
	for i, s := range specs {
		if s.NoOutlet {
			continue
		}
		r := open[s.WorkerGroup]
		if r == nil || len(r.machines) == outletsPerPDU {
			count[s.WorkerGroup]++
			r = &rack{host: fmt.Sprintf("pdu%d.%s.example", count[s.WorkerGroup], s.WorkerGroup)}
			open[s.WorkerGroup] = r
			racks = append(racks, r)
		}
		r.machines = append(r.machines, i)
	}
	return racks
}
