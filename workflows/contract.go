// Package workflows holds what runs durably: the ladder, the single-step jobs,
// the bug, and what powers on a machine that a lost job left off. It does no
// I/O; everything it learns it learns from activities.
package workflows

import (
	"time"

	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// Task queues. Waits for machines have a queue of their own, with many slots,
// so that waiting machines never starve a command.
const (
	TaskQueue      = "roller"
	WatchTaskQueue = "roller.watch"
)

// SiteQueue is the task queue of the commands and reads of a site of SITES: only
// workers of the site serve it.
func SiteQueue(site string) string { return TaskQueue + "." + site }

// SiteWatchQueue is that of its waits.
func SiteWatchQueue(site string) string { return SiteQueue(site) + ".watch" }

// Workflow types that are no task's name. (A task's workflow type is the
// task's own name, so that a person can start one by hand.)
const (
	BugType     = "bug"           // files one machine's bug, for a day if it must
	SweepType   = "power_on_left" // looks for closed runs that left a machine off
	RestoreType = "restore"       // sees to one of them
	PowerOnType = "power_on"      // powers the machine on, under the machine's own ID
	TurnType    = "turn"          // one turn at a device, under the device's own ID
)

// ProgressQuery answers with the Result so far.
const ProgressQuery = "progress"

// PowerOnSignal tells a bug's run that the machine which it calls off is on again.
const PowerOnSignal = "power_on"

// SweepID is the one run of the sweep, and its schedule's.
const SweepID = "power_on_left"

// Application error types of failed jobs, beside those of package activities.
const (
	NotBackError  = "not_back"
	BlindError    = "blind"
	ConflictError = "Conflict"
)

// The search attributes, all keywords but one.
var (
	AttrWorkerID    = temporal.NewSearchAttributeKeyKeyword("RollerWorkerId")
	AttrWorkerGroup = temporal.NewSearchAttributeKeyKeyword("RollerWorkerGroup")
	AttrTask        = temporal.NewSearchAttributeKeyKeyword("RollerTask")
	AttrClientID    = temporal.NewSearchAttributeKeyKeyword("RollerClientId")
	AttrRung        = temporal.NewSearchAttributeKeyKeyword("RollerRung")    // the rung being tried, or the last one tried
	AttrOutcome     = temporal.NewSearchAttributeKeyKeyword("RollerOutcome") // an Outcome, once the job has one
	AttrOff         = temporal.NewSearchAttributeKeyKeyword(activities.OffAttribute)
	AttrRequest     = temporal.NewSearchAttributeKeyKeywordList("RollerRequest") // hashes of what makes a repeat of the request known
)

// SearchAttributes lists every search attribute that must be registered in the
// namespace: an unregistered one fails the start.
var SearchAttributes = []temporal.SearchAttributeKey{
	AttrWorkerID, AttrWorkerGroup, AttrTask, AttrClientID, AttrRung, AttrOutcome, AttrOff, AttrRequest,
}

// MachineID is the workflow ID of every exclusive job on a machine: Temporal
// admits one open run per ID, and that is the lock.
func MachineID(n config.Name) string { return machinePrefix + n.String() }

const machinePrefix = "machine/"

// BugID is the workflow ID of the run that files a machine's bug.
func BugID(n config.Name) string { return "bug/" + n.String() }

// SiteBugID is the workflow ID of the run that files a site's bug.
func SiteBugID(site string) string { return "bug/site/" + site }

// ReadID is the workflow ID of one read; reads run beside everything.
func ReadID(task string, n config.Name, unique string) string {
	return "read/" + task + "/" + n.String() + "/" + unique
}

// RestoreID is the workflow ID of the run that sees to what a closed run left off.
func RestoreID(runID string) string { return "restore/" + runID }

// DeviceID is the workflow ID of the turn at a device: Temporal admits one open
// run per ID, and that is what makes all others wait.
func DeviceID(d config.Device) string { return "device/" + d.String() }

// Job is the input of every task. The two names alone are enough; the rest is
// what the API knows of the request.
type Job struct {
	WorkerID      string `json:"worker_id"`
	WorkerGroup   string `json:"worker_group"`
	ClientID      string `json:"client_id,omitempty"`
	ProvisionerID string `json:"provisioner_id,omitempty"`
	WorkerType    string `json:"worker_type,omitempty"`
	HTTPOrigin    string `json:"http_origin,omitempty"`
	// Drain says whether the worker is taken out of Taskcluster's work first; without
	// it the inventory says so.
	Drain *bool `json:"drain,omitempty"`
	// Why is what a loan is for, in the words of whoever asks. It becomes public.
	Why string `json:"why,omitempty"`
	// NoReimage has a machine returned as it is.
	NoReimage bool `json:"no_reimage,omitempty"`
}

// Outcome says how a job or one attempt of it ended.
type Outcome string

// Outcomes of jobs and attempts.
const (
	Running    Outcome = "running"
	Back       Outcome = "back"        // the machine went down and came back, or came back
	Done       Outcome = "done"        // a single step did what it says
	BugFiled   Outcome = "bug_filed"   // not back, and the bug says so
	BugPending Outcome = "bug_pending" // not back; the bug's own run goes on
	NotBack    Outcome = "not_back"    // the machine did not come back in time
	NoEffect   Outcome = "no_effect"   // the machine never went down, or did not restart
	NotSent    Outcome = "not_sent"    // the command did not reach the device
	Refused    Outcome = "refused"     // the device refused it
	Skipped    Outcome = "skipped"     // not tried; Why says what is missing
	StillOff   Outcome = "off"         // powered off by roller, and could not be powered on
	Blind      Outcome = "blind"       // roller could not see the machine's site
	Cancelled  Outcome = "cancelled"
	Failed     Outcome = "failed"
)

// JobOutcomes are those that a job can have; the API's document lists them, too.
var JobOutcomes = []Outcome{
	Running, Back, Done, BugFiled, BugPending, NotBack, NoEffect, NotSent, Refused, StillOff, Blind, Cancelled, Failed,
}

// Result is a job's record: what the run returns, what the progress query
// answers, and what the details in the Web UI are drawn from.
type Result struct {
	Task        string                    `json:"task"`
	WorkerID    string                    `json:"worker_id"`
	WorkerGroup string                    `json:"worker_group"`
	FQDN        string                    `json:"fqdn,omitempty"`
	Site        string                    `json:"site,omitempty"` // of SITES, if the machine is reached by its workers only
	Outcome     Outcome                   `json:"outcome"`
	Off         bool                      `json:"off,omitempty"` // roller powered the machine off and has not seen it on again
	Why         string                    `json:"why,omitempty"`
	Loan        *LoanReading              `json:"loan,omitempty"` // of the machine, which somebody has while this job runs
	Attempts    []Attempt                 `json:"attempts,omitempty"`
	Bug         *Bug                      `json:"bug,omitempty"`
	Text        string                    `json:"text,omitempty"`   // what a read found
	Status      *activities.MachineStatus `json:"status,omitempty"` // of the task status: the text as data
	Now         string                    `json:"now,omitempty"`    // what happens, while it runs
	Next        []string                  `json:"next,omitempty"`   // the rungs that would follow
	StartedAt   time.Time                 `json:"started_at,omitzero"`
	EndedAt     time.Time                 `json:"ended_at,omitzero"`
}

// Attempt is one rung of one job.
type Attempt struct {
	Rung      string    `json:"rung"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Sent      string    `json:"sent,omitempty"` // the command in the device's words; empty if none was sent
	SentAt    time.Time `json:"sent_at,omitzero"`
	Outcome   Outcome   `json:"outcome"`
	Why       string    `json:"why,omitempty"`
}

// Bug is a filed bug, or the run that is still filing it.
type Bug struct {
	ID         int    `json:"id,omitempty"`
	URL        string `json:"url,omitempty"`
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id,omitempty"`
}

// LeftOff is the input of a restore: a closed run that left a machine off.
type LeftOff = activities.LeftOff

// LoanReading is a machine's loan, as everybody can see it.
type LoanReading = activities.LoanReading

// ReadLoan reads the run that is a loan; nil if it is over, or the machine not handed
// over yet.
func ReadLoan(e *workflowpb.WorkflowExecutionInfo) *LoanReading { return activities.ReadLoan(e) }
