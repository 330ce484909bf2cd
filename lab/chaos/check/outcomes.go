package check

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Outcomes holds how each job ended against what the lab knows of the machine.
func Outcomes(f *Facts) []Violation {
	j := judge{broken: broken{check: "outcomes"}, f: f, lines: timelines(f.Edges)}
	for _, r := range f.Runs {
		switch {
		case r.Close.IsZero():
		case r.Type == workflows.BugType:
			if r.Status != "Completed" {
				j.add(r.Machine(), r.Close, "%s did not file its bug: %s %s", r.WorkflowID, r.Status, r.Failure)
			}
		case job(r) && r.Result == nil:
			j.add(r.Machine(), r.Close, "%s, run %s, has closed without a record", r.WorkflowID, r.RunID)
		case job(r):
			j.job(r)
		}
	}
	return j.sorted()
}

// judge knows what became of each machine.
type judge struct {
	broken
	f     *Facts
	lines map[string]timeline
}

func (j *judge) wrong(r Run, text string) {
	j.add(r.Machine(), r.Close, "run %s says %q (%s), but %s", r.RunID, r.Result.Outcome, r.Result.Why, text)
}

// cancelled reports whether somebody asked for a cancel of this run, or of the
// child as which it has the machine: who clicks joins the child.
func (f *Facts) cancelled(r Run) bool {
	return r.Cancelled || slices.ContainsFunc(f.Runs, func(child Run) bool { return child.Parent == r.RunID && child.Cancelled })
}

func (j *judge) job(r Run) {
	if r.Result.Outcome == workflows.Running {
		j.wrong(r, "it has closed")
		return
	}
	if r.Result.Outcome == workflows.Failed {
		j.failed(r)
		return
	}
	if r.Result.Outcome == workflows.Cancelled && !j.f.cancelled(r) {
		j.wrong(r, "nobody had asked for a cancel")
	}
	m, known := j.f.machine(r.Machine())
	if !known {
		j.wrong(r, "there is no such machine")
		return
	}
	if !r.Own() && !config.IsRead(r.Type) { // the run by its own ID tells the same
		return
	}
	line := j.lines[m.FQDN()]
	switch r.Result.Outcome {
	case workflows.Back:
		j.back(r, m, line)
	case workflows.Done:
		j.done(r, line)
	case workflows.BugFiled, workflows.BugPending:
		j.bug(r, m)
	case workflows.StillOff:
		if line.at(r.Close).power {
			j.wrong(r, "it had power")
		}
	default:
	}
	for _, at := range r.Result.Attempts {
		j.attempt(r, m, line, at)
	}
}

// back: the machine had come up while the job ran, and answered then.
func (j *judge) back(r Run, m Machine, line timeline) {
	came := slices.DeleteFunc(line.began(r.Start, r.Close), func(c condition) bool { return !c.booted && !c.thawed })
	if len(came) == 0 {
		j.wrong(r, "it did not come up while the job ran")
		return
	}
	if !line.ever(came[0].at, r.Close, answering(m)) {
		j.wrong(r, "it did not answer after it had come up")
	}
}

// answering is what "up" means for a machine: with SSH also its banner.
func answering(m Machine) func(condition) bool {
	return func(c condition) bool { return c.up && (c.banner || m.Spec.NoSSH) }
}

// done: what a single step says was true at some time while it ran.
func (j *judge) done(r Run, line timeline) {
	on := func(c condition) bool { return c.power }
	off := func(c condition) bool { return !c.power }
	up := func(c condition) bool { return c.up }
	want := map[string]func(condition) bool{"ipmi_on": on, "ipmi_off": off, "ping": up}[r.Type]
	if r.Type == "ipmi_status" {
		want = on
		if strings.HasSuffix(r.Result.Text, "off") {
			want = off
		}
	}
	if want != nil && !line.ever(r.Start, r.Close, want) {
		j.wrong(r, "the machine was never so: "+r.Result.Text)
	}
}

// bug: the bug is there and tells of this job; a pending one's run is there.
func (j *judge) bug(r Run, m Machine) {
	bug := cmp.Or(r.Result.Bug, &workflows.Bug{})
	if r.Result.Outcome == workflows.BugPending {
		if !slices.ContainsFunc(j.f.Runs, func(o Run) bool { return o.WorkflowID == bug.WorkflowID && (bug.RunID == "" || o.RunID == bug.RunID) }) {
			j.wrong(r, "there is no run "+bug.WorkflowID+" "+bug.RunID)
		}
		return
	}
	at := slices.IndexFunc(j.f.Bugs, func(b lab.BugzillaBug) bool { return b.ID == bug.ID })
	if at < 0 {
		j.wrong(r, "there is no such bug: "+bug.String())
		return
	}
	filed := j.f.Bugs[at]
	if !strings.Contains(filed.Summary+strings.Join(filed.Comments, "\n"), m.Name.WorkerID) {
		j.wrong(r, "the bug is about another machine: "+filed.Summary)
	}
	if !slices.ContainsFunc(filed.Comments, func(c string) bool { return strings.Contains(c, r.RunID) }) {
		j.wrong(r, "the bug does not tell of it: "+bug.String())
	}
}

// failed: a job that did nothing names a reason that is true.
func (j *judge) failed(r Run) {
	m, known := j.f.machine(r.Machine())
	line := j.lines[m.FQDN()]
	down := func(c condition) bool { return !answering(m)(c) }
	why := r.Result.Why
	switch {
	case strings.Contains(why, "one job per machine"):
		rival := func(o Run) bool {
			return o.RunID != r.RunID && o.Own() && o.Machine() == r.Machine() && o.Start.Before(r.Close) && j.f.closed(o).After(r.Start)
		}
		if !slices.ContainsFunc(j.f.Runs, rival) {
			j.wrong(r, "no other job was running")
		}
	case !known:
		if !strings.Contains(why, "machine") {
			j.wrong(r, "there is no such machine")
		}
	case config.IsRead(r.Type): // a device that is silent, or a worker that is lost, three times
		if r.Type == "ping" && !strings.Contains(why, "timeout") && !line.ever(r.Start, r.Close, down) {
			j.wrong(r, "the machine answered all the time")
		}
	case strings.Contains(why, "nothing to try"):
		if len(r.Acts) > 1 {
			j.wrong(r, "it tried something")
		}
	case strings.Contains(why, "may have been sent"), strings.Contains(why, "power does not read"):
	default:
		j.wrong(r, "that is no reason to fail: "+r.Failure)
	}
}

// settled is how long before an attempt's end something must have been so for
// the attempt to know it: three probes, a look at the boot ID and their delays.
const settled = 3 * time.Second

// attempt: what one rung says of the machine is true.
func (j *judge) attempt(r Run, m Machine, line timeline, at workflows.Attempt) {
	end := at.EndedAt
	if end.IsZero() {
		end = r.Close
	}
	wrong := func(text string) {
		j.add(r.Machine(), end, "run %s: %s says %q (%s), but %s", r.RunID, at.Rung, at.Outcome, at.Why, text)
	}
	switch at.Outcome {
	case workflows.NotBack:
		if !line.ever(at.StartedAt, end, func(c condition) bool { return !answering(m)(c) }) {
			wrong("the machine answered all the time")
		}
	case workflows.NoEffect:
		if at.SentAt.IsZero() || !identified(m) {
			return
		}
		for _, c := range line.began(at.SentAt, end.Add(-settled)) {
			if c.booted && line.ever(c.at, end, answering(m)) {
				wrong("the machine booted at " + c.at.UTC().Format(clock))
			}
		}
	default:
	}
}

// identified reports whether roller can tell one boot of the machine from
// another whatever it missed.
func identified(m Machine) bool {
	return m.Spec.SSHBootID && !m.Spec.NoSSH && !m.Spec.Faults.WrongHostKey
}

const clock = "15:04:05.000"
