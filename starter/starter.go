// Package starter is the one door to Temporal's client: everything that
// starts, finds, lists or cancels a job goes through it, the API's requests and
// the command line's alike.
package starter

import (
	"errors"
	"fmt"
)

// ErrUnavailable is wrapped by every error that says Temporal could not be
// reached or did not answer in time. Nothing is known to have been started, and
// the same request may be sent again.
var ErrUnavailable = errors.New("temporal is unavailable")

// ErrNotStarted says that a request that may start nothing found no job to join.
var ErrNotStarted = errors.New("no such job is running")

// Request asks for a task on one machine.
type Request struct {
	Task          string
	WorkerID      string
	WorkerGroup   string
	ClientID      string // who asked
	ProvisionerID string
	WorkerType    string
	HTTPOrigin    string
	Drain         *bool    // whether the worker is drained first; nil: as the inventory says
	Why           string   // what a loan is for
	NoReimage     bool     // a machine on loan is returned as it is
	Bulk          bool     // nobody waits for it: it lets every other job go first
	NoStart       bool     // an exclusive job is joined, or found as a repeat's, but none is started
	Repeats       []Repeat // by which a repeat of this request is known, the surest first; none makes each request a new one
}

// Job names one run.
type Job struct {
	Task       string // the workflow's type
	TaskID     string // the run's UUID
	WorkflowID string
	Joined     bool // it was running already
	Repeated   bool // it is what an earlier request of the same key got
}

// Conflict says that the machine has another job, or one that is being
// cancelled, so that this one was not started.
type Conflict struct {
	Running    Job
	Cancelling bool
}

// Error implements error.
func (c *Conflict) Error() string {
	if c.Cancelling {
		return fmt.Sprintf("%s (task_id %s) is being cancelled on this machine: ask again when it has ended", c.Running.Task, c.Running.TaskID)
	}
	return fmt.Sprintf("%s (task_id %s) is running on this machine", c.Running.Task, c.Running.TaskID)
}
