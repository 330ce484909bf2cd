package check

import (
	"net/http"
	"slices"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// Posts accounts for every answer: a 201 names a run that is there and did what
// was asked on that machine; a refusal is one that says to ask again; and no
// run is there that nobody asked for.
func Posts(f *Facts) []Violation {
	b := broken{check: "posts"}
	runs := map[string]Run{}
	for _, r := range f.Runs {
		runs[r.RunID] = r
	}
	first := map[int]Post{} // the accepted one, by header
	tried := map[int]Post{} // the earliest one, by header
	for _, p := range slices.SortedFunc(slices.Values(f.Posts), func(x, y Post) int { return x.At.Compare(y.At) }) {
		since := p.At
		if before, repeated := tried[p.Header]; repeated && p.Header != 0 {
			since = before.At // the first answer, whatever has ended since
		} else {
			tried[p.Header] = p
		}
		switch p.Status {
		case http.StatusCreated:
			b.accepted(p, since, runs)
		case http.StatusConflict, http.StatusServiceUnavailable, 0:
		default:
			b.add(p.Machine, p.At, "%s answered POST %s with %d: %s", p.API, p.Task, p.Status, p.Error)
		}
		if p.Header == 0 || p.Status != http.StatusCreated {
			continue
		}
		if before, repeated := first[p.Header]; !repeated {
			first[p.Header] = p
		} else if before.TaskID != p.TaskID {
			b.add(p.Machine, p.At, "a repeat of the same POST %s is run %s, and was run %s before", p.Task, p.TaskID, before.TaskID)
		}
	}
	for _, r := range f.Runs {
		if job(r) && r.Parent == "" && !asked(f, r) {
			b.add(r.Machine(), r.Start, "nobody asked for run %s of %s (%s)", r.RunID, r.Type, r.WorkflowID)
		}
	}
	return b.sorted()
}

func (b *broken) accepted(p Post, since time.Time, runs map[string]Run) {
	r, there := runs[p.TaskID]
	switch {
	case !there:
		b.add(p.Machine, p.At, "POST %s was accepted as run %q, which is not there", p.Task, p.TaskID)
	case r.Type != config.CanonicalTask(p.Task):
		b.add(p.Machine, p.At, "POST %s was accepted as run %s, which is a %s", p.Task, p.TaskID, r.Type)
	case r.Machine() != p.Machine:
		b.add(p.Machine, p.At, "POST %s was accepted as run %s, which is %s's", p.Task, p.TaskID, r.Machine())
	case r.Close.IsZero():
		b.add(p.Machine, p.At, "POST %s was accepted as run %s, which has not ended", p.Task, p.TaskID)
	case r.Close.Before(since):
		b.add(p.Machine, p.At, "POST %s was accepted as run %s, which had ended at %s", p.Task, p.TaskID, r.Close.UTC().Format(clock))
	}
}

// asked reports whether somebody asked for a run: an answer that was lost may
// have been a yes, for some time.
func asked(f *Facts, r Run) bool {
	return slices.ContainsFunc(f.Posts, func(p Post) bool {
		if p.TaskID == r.RunID {
			return true
		}
		return p.Status != http.StatusConflict && config.CanonicalTask(p.Task) == r.Type && p.Machine == r.Machine() &&
			within(r.Start, p.At, p.Answered.Add(late))
	}) || slices.ContainsFunc(f.Starts, func(s Start) bool {
		return s.RunID == r.RunID || s.RunID == "" && s.Task == r.Type && within(r.Start, s.At, s.At.Add(late))
	})
}

// late is how long after its caller has gone a start may still be carried out:
// the API's own limit of one start, and more.
const late = 15 * time.Second
