package check

import (
	"slices"
	"strings"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// lasting are runs that may go on when all jobs have ended: a restore looks
// once more long after it has powered the machine on.
func lasting(r Run) bool { return r.Type == workflows.RestoreType }

// Ended finds runs that are open still, or were ended by other means than their
// own code.
func Ended(f *Facts) []Violation {
	b := broken{check: "ended"}
	for _, r := range f.Runs {
		switch r.Status {
		case "Completed", "Failed", "Canceled":
		case "Running":
			if !lasting(r) {
				b.add(r.Machine(), r.Start, "%s, run %s of %s, is open still", r.WorkflowID, r.RunID, r.Type)
			}
		default:
			b.add(r.Machine(), r.Start, "%s, run %s of %s, was %s", r.WorkflowID, r.RunID, r.Type, strings.ToLower(r.Status))
		}
	}
	return b.sorted()
}

// job reports whether a run is one that a person can ask for.
func job(r Run) bool { return slices.Contains(config.Tasks(), r.Type) }
