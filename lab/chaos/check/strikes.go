package check

import (
	"maps"
	"slices"

	"github.com/mozilla-platform-ops/roller/lab"
)

// Strikes holds the kills against the plan: a run that killed too few, or only
// in quiet moments, has shown nothing.
func Strikes(f *Facts) []Violation {
	b := broken{check: "strikes"}
	kills, mid := map[string]int{}, 0
	for _, s := range f.Strikes {
		if s.Freeze {
			continue
		}
		kills[s.Kind]++
		if MidCommand(f.Log, s) {
			mid++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(f.Wanted)) {
		if kills[kind] < f.Wanted[kind] {
			b.add("", f.Ended, "%d kills of kind %s, not %d", kills[kind], kind, f.Wanted[kind])
		}
	}
	all := 0
	for _, n := range kills {
		all += n
	}
	if 2*mid < all {
		b.add("", f.Ended, "%d of %d kills fell between a command's begin and end", mid, all)
	}
	return b.sorted()
}

// MidCommand reports whether a strike fell between a command's begin and end, as
// the lab's log has them.
func MidCommand(log []lab.Entry, s Strike) bool {
	return slices.ContainsFunc(log, func(e lab.Entry) bool {
		return !e.At.After(s.From) && (e.End.IsZero() || !e.End.Before(s.Until)) && (s.Command == 0 || s.Command == e.Seq)
	})
}
