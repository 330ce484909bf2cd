package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// moment is one line of a story.
type moment struct {
	at   time.Time
	text string
}

// around is how much of a machine's story is told before and after a violation.
const around = 60 * time.Second

// Story tells what happened to a violation's machine at that time, from every
// record: enough to see what went wrong without the run's files.
func (f *Facts) Story(v Violation) string {
	m, known := f.machine(v.Machine)
	if !known || v.At.IsZero() {
		return ""
	}
	var told []moment
	say := func(at time.Time, format string, args ...any) {
		if within(at, v.At.Add(-around), v.At.Add(around)) {
			told = append(told, moment{at, fmt.Sprintf(format, args...)})
		}
	}
	for _, e := range f.Log {
		if e.Machine == m.FQDN() && e.Control {
			say(e.At, "device   %s %s, carried out %t, seq %d, from %s", e.Device, e.Command, e.Executed, e.Seq, e.From)
		}
	}
	for _, e := range f.Edges {
		if e.Machine == m.FQDN() {
			say(e.At, "machine  %s %s", e.Event, e.BootID)
		}
	}
	for _, s := range f.Strikes {
		say(s.From, "strike   %s %s (pid %d), freeze %t, seq %d", s.Kind, s.Process, s.PID, s.Freeze, s.Command)
		if s.Freeze {
			say(s.Until, "strike   %s thawed", s.Process)
		}
	}
	for _, p := range f.Posts {
		if p.Machine == v.Machine {
			say(p.At, "post     %s %s: %d %s", p.API, p.Task, p.Status, p.TaskID)
		}
	}
	for _, r := range f.Runs {
		if r.Machine() == v.Machine {
			r.tell(say)
		}
	}
	slices.SortStableFunc(told, func(x, y moment) int { return cmp.Compare(x.at.UnixNano(), y.at.UnixNano()) })
	var b strings.Builder
	fmt.Fprintf(&b, "      spec %+v\n", m.Spec)
	for _, t := range told {
		fmt.Fprintf(&b, "      %s %s\n", t.at.UTC().Format(clock), t.text)
	}
	return b.String()
}

func (r Run) tell(say func(time.Time, string, ...any)) {
	id := r.RunID[:min(8, len(r.RunID))]
	say(r.Start, "run %s %s begins as %s", id, r.Type, r.WorkflowID)
	for _, a := range r.Acts {
		say(a.Scheduled, "run %s   schedules %s %s", id, a.Type, a.Action)
		say(a.Closed, "run %s   %s %s: %s (attempts %d)", id, a.Type, a.Action, a.End, a.Attempts)
	}
	if r.Result != nil {
		for _, at := range r.Result.Attempts {
			say(at.StartedAt, "run %s   %s begins", id, at.Rung)
			say(at.EndedAt, "run %s   %s: %s, sent %q (%s)", id, at.Rung, at.Outcome, at.Sent, at.Why)
		}
	}
	say(r.Close, "run %s closes: %s %s", id, r.Status, said(r))
}
