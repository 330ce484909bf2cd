package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
)

// shown is how many violations of one check are told with their stories.
const shown = 5

// report prints the counts and what was not kept.
func report(w io.Writer, f *check.Facts, o options) error {
	fmt.Fprintf(w, "\nseed %d\n%s\n", f.Seed, counts(f))
	broken := false
	for _, c := range check.Checks() {
		found := c.Of(f)
		if c.Name == "turns" && len(f.Rest) == 0 { // an ok would say more than was looked at
			fmt.Fprintln(w, "  --      not held: no device is said to rest between two turns")
			continue
		}
		if len(found) == 0 {
			fmt.Fprintf(w, "  ok      %s\n", c.Says)
			continue
		}
		broken = true
		fmt.Fprintf(w, "  BROKEN  %s: %d times\n", c.Says, len(found))
		for i, v := range found {
			if i == shown {
				fmt.Fprintf(w, "    ... and %d more: chaos --facts %s/facts.json\n", len(found)-shown, o.dir)
				break
			}
			fmt.Fprintf(w, "    %s %s: %s\n%s", v.At.UTC().Format(time.TimeOnly), v.Machine, v.Text, f.Story(v))
		}
	}
	if broken {
		return fmt.Errorf("%w; again: %s; facts and logs: %s", errBroken, again(o), o.dir)
	}
	fmt.Fprintln(w, "\nevery promise was kept")
	return nil
}

// counts is what happened, in numbers.
func counts(f *check.Facts) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("took", "%s", f.Ended.Sub(f.Began).Round(time.Second))
	line("machines", "%d", len(f.Machines))
	statuses, outcomes := map[string]int{}, map[string]int{}
	for _, p := range f.Posts {
		statuses[cmp.Or(strings.TrimPrefix(fmt.Sprint(p.Status, " ", http.StatusText(p.Status)), "0 "), "no answer")]++
	}
	line("POSTs", "%d: %s", len(f.Posts), tally(statuses))
	line("by hand", "%d", len(f.Starts))
	line("cancels", "%s", tally(f.Cancels))
	jobs := 0
	for _, r := range f.Runs {
		if r.Result != nil && (r.Own() || config.IsRead(r.Type)) {
			jobs++
			outcomes[string(r.Result.Outcome)]++
		}
	}
	line("jobs", "%d: %s", jobs, tally(outcomes))
	controls, executed := 0, 0
	for _, e := range f.Log {
		if e.Control {
			controls++
		}
		if e.Control && e.Executed {
			executed++
		}
	}
	line("commands", "%d that change power, %d carried out; %d messages to devices in all", controls, executed, len(f.Log))
	line("boots", "%d", boots(f.Edges))
	kills, mid, freezes := map[string]int{}, map[string]int{}, 0
	for _, s := range f.Strikes {
		if s.Freeze {
			freezes++
			continue
		}
		kills[s.Kind]++
		if check.MidCommand(f.Log, s) {
			mid[s.Kind]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kills)) {
		line("killed", "%s: %d, %d of them in mid-command", kind, kills[kind], mid[kind])
	}
	line("frozen", "worker: %d, for %s each", freezes, frozen)
	line("bugs", "%d", len(f.Bugs))
	return b.String()
}

func tally(counts map[string]int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[what], what))
	}
	return strings.Join(parts, ", ")
}

func boots(edges []lab.Edge) int {
	ids := map[string]bool{}
	for _, e := range edges {
		ids[e.BootID] = true
	}
	delete(ids, "")
	return len(ids)
}
