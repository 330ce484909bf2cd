// Package check judges a chaos run by what was recorded of it: the lab's own
// log, Temporal's histories, the answers to the clicks, the kills. Its checkers
// are pure functions over these facts, so that a recorded run can be judged
// again, and a planted fact shows whether a checker sees.
package check

import (
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Facts are what was recorded of one run.
type Facts struct {
	Seed     uint64         `json:"seed"`
	Began    time.Time      `json:"began"`
	Ended    time.Time      `json:"ended"`    // of the recording: a run that is open then has not ended
	Duration time.Duration  `json:"duration"` // of the trouble
	Cancels  map[string]int `json:"cancels"`  // by what became of them
	Wanted   map[string]int `json:"wanted"`   // kills by kind of process that were to be made
	// Rest is the least time between two machines' turns at a device, by its kind in
	// the log. A kind that is not here has no turns.
	Rest     map[string]time.Duration `json:"rest,omitempty"`
	Machines []Machine                `json:"machines"`
	Log      []lab.Entry              `json:"log"`
	Edges    []lab.Edge               `json:"edges"`
	Runs     []Run                    `json:"runs"`
	Posts    []Post                   `json:"posts"`
	Starts   []Start                  `json:"starts"`
	Strikes  []Strike                 `json:"strikes"`
	Bugs     []lab.BugzillaBug        `json:"bugs"`
	Found    []Violation              `json:"found,omitempty"` // in texts that are not recorded: secrets, crashes
}

// Machine is one machine and how it was at the end.
type Machine struct {
	Name  config.Name `json:"name"`
	Spec  lab.Spec    `json:"spec"`
	Final lab.State   `json:"final"`
}

// FQDN is the machine's name in the lab's log.
func (m Machine) FQDN() string { return m.Spec.FQDN() }

// Run is one run of a workflow, as its history tells it.
type Run struct {
	WorkflowID string            `json:"workflow_id"`
	RunID      string            `json:"run_id"`
	Type       string            `json:"type"`
	Status     string            `json:"status"`
	Start      time.Time         `json:"start"`
	Close      time.Time         `json:"close,omitzero"`      // zero while it is open
	Parent     string            `json:"parent,omitempty"`    // its parent's run ID
	Cancelled  bool              `json:"cancelled,omitempty"` // somebody asked for a cancel
	Failure    string            `json:"failure,omitempty"`
	Off        string            `json:"off,omitempty"` // the search attribute RollerOff at the end
	Result     *workflows.Result `json:"result,omitempty"`
	Acts       []Act             `json:"acts,omitempty"`
}

// Act is one activity that a run scheduled.
type Act struct {
	Type      string    `json:"type"`
	Machine   string    `json:"machine,omitempty"` // "group/id"
	Action    string    `json:"action,omitempty"`
	Scheduled time.Time `json:"scheduled"`
	Closed    time.Time `json:"closed,omitzero"`
	End       string    `json:"end,omitempty"` // the event's type
	Attempts  int32     `json:"attempts,omitempty"`
}

// Post is one signed request and its answer.
type Post struct {
	At       time.Time `json:"at"`
	Answered time.Time `json:"answered"`
	API      string    `json:"api"`
	Task     string    `json:"task"`
	Machine  string    `json:"machine"` // "group/id" in the one spelling
	Status   int       `json:"status"`  // 0: no answer
	TaskID   string    `json:"task_id,omitempty"`
	Error    string    `json:"error,omitempty"`
	Header   int       `json:"header,omitempty"` // requests with the same number had identical headers; 0: only this one
}

// Start is one start by hand, under an ID that nobody chose.
type Start struct {
	At      time.Time `json:"at"`
	Task    string    `json:"task"`
	Machine string    `json:"machine"`
	RunID   string    `json:"run_id,omitempty"` // empty: no answer
}

// Kinds of process.
const (
	Worker = "worker"
	API    = "api"
	Server = "server"
	// Database is PostgreSQL, where Temporal runs on it.
	Database = "database"
)

// Strike is one process that was killed, or frozen for a while.
type Strike struct {
	Kind    string    `json:"kind"`
	Process string    `json:"process"`
	PID     int       `json:"pid"`
	From    time.Time `json:"from"`  // just before the signal
	Until   time.Time `json:"until"` // the process had ended, or had been let go on
	Freeze  bool      `json:"freeze,omitempty"`
	Command int       `json:"command,omitempty"` // Seq of the command that was held for it
}

// Violation is a promise that was not kept.
type Violation struct {
	Check   string    `json:"check"`
	Machine string    `json:"machine,omitempty"` // "group/id"
	At      time.Time `json:"at,omitzero"`
	Text    string    `json:"text"`
}

// machine returns the machine of this name, "group/id", as people may spell it.
func (f *Facts) machine(name string) (Machine, bool) {
	group, id, _ := strings.Cut(strings.ToLower(name), "/")
	for _, m := range f.Machines {
		if m.Name.WorkerID == id && (m.Name.WorkerGroup == group || group == "none") {
			return m, true
		}
	}
	return Machine{}, false
}

// closed is when a run closed, or the end of the recording.
func (f *Facts) closed(r Run) time.Time {
	if r.Close.IsZero() {
		return f.Ended
	}
	return r.Close
}

// Machine is the run's machine, "group/id" in its one spelling; "" if it has none.
func (r Run) Machine() string {
	if r.Result == nil {
		for _, a := range r.Acts {
			if a.Machine != "" {
				return a.Machine
			}
		}
		return ""
	}
	return r.Result.WorkerGroup + "/" + r.Result.WorkerID
}

// Own reports whether the run has the machine's own ID, and so the machine.
func (r Run) Own() bool {
	m := r.Machine()
	return m != "" && r.WorkflowID == "machine/"+m
}
