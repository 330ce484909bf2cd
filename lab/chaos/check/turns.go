package check

import (
	"cmp"
	"slices"
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
)

// Turns finds two commands that were with one device at the same time or, where
// they are for different machines, reached it sooner one after the other than it is
// to rest between. One turn may hold several commands for one machine, one after
// the other.
func Turns(f *Facts) []Violation {
	b := broken{check: "turns"}
	by := map[string][]lab.Entry{}
	for _, e := range f.Log {
		if _, taken := f.Rest[e.Device]; taken && e.Control {
			by[e.Device+" "+e.Host] = append(by[e.Device+" "+e.Host], e)
		}
	}
	for _, entries := range by {
		slices.SortStableFunc(entries, func(x, y lab.Entry) int { return cmp.Compare(x.Seq, y.Seq) })
		for i := 1; i < len(entries); i++ {
			last, next, rest := entries[i-1], entries[i], f.Rest[entries[i].Device]
			if last.Machine == next.Machine {
				rest = 0
			}
			if next.At.Sub(last.End) >= rest {
				continue
			}
			b.add(f.nameOf(next.Machine), next.At, "%s had %q (seq %d, for %s) %s after the end of %q (seq %d, for %s): %s is the least",
				next.Host, next.Command, next.Seq, next.Machine, next.At.Sub(last.End).Round(time.Millisecond), last.Command, last.Seq, last.Machine, rest)
		}
	}
	return b.sorted()
}

// nameOf is "group/id" of a full host name.
func (f *Facts) nameOf(fqdn string) string {
	for _, m := range f.Machines {
		if m.FQDN() == fqdn {
			return m.Name.String()
		}
	}
	return ""
}
