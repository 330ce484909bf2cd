package check

import (
	"slices"
)

// acts are the activities that change a machine's power.
var acts = []string{"SSHReboot", "IPMIPower", "IPMIReboot", "SNMPOutlet", "RedfishReset", "MoonshotReset", "XenPower"}

// OneJob finds two runs that acted on one machine and overlap. It does not
// believe the runs' IDs: what a run's activities were told counts.
func OneJob(f *Facts) []Violation {
	b := broken{check: "one_job"}
	by := map[string][]Run{}
	for _, r := range f.Runs {
		for _, machine := range acted(r) {
			by[machine] = append(by[machine], r)
		}
	}
	for machine, runs := range by {
		slices.SortFunc(runs, func(x, y Run) int { return x.Start.Compare(y.Start) })
		for i := 1; i < len(runs); i++ {
			if before := runs[i-1]; f.closed(before).After(runs[i].Start) {
				b.add(machine, runs[i].Start, "run %s of %s (%s) began before run %s of %s (%s) had ended",
					runs[i].RunID, runs[i].Type, runs[i].WorkflowID, before.RunID, before.Type, before.WorkflowID)
			}
		}
	}
	return b.sorted()
}

// acted is the machines whose power a run's activities were told to change.
func acted(r Run) []string {
	var machines []string
	for _, a := range r.Acts {
		if slices.Contains(acts, a.Type) && !slices.Contains(machines, a.Machine) {
			machines = append(machines, a.Machine)
		}
	}
	return machines
}
