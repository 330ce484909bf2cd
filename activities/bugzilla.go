package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
)

// Bug is the input of BugzillaFile: a machine that did not come back.
type Bug struct {
	Machine     config.Name `json:"machine"`
	FQDN        string      `json:"fqdn"`
	RequestedBy string      `json:"requested_by,omitempty"` // the requester's client ID; it becomes public
	Task        string      `json:"task"`                   // what was asked for
	TaskID      string      `json:"task_id,omitempty"`      // of the job; it becomes public, and tells two jobs' reports apart
	Off         bool        `json:"off,omitempty"`          // roller powered the machine off and could not power it on
	On          bool        `json:"on,omitempty"`           // it is on again: a comment on the open bug, if that says that it is off
	Attempts    []BugLine   `json:"attempts,omitempty"`
}

// BugLine is one rung that was tried. Bugs are public: of Rung and Outcome only
// plain words are told, and Why, which may name devices and accounts, never is.
type BugLine struct {
	Rung    string    `json:"rung"`
	At      time.Time `json:"at,omitzero"`
	Outcome string    `json:"outcome"`
	Why     string    `json:"why,omitempty"`
}

// BugResult is where the machine's trouble is reported.
type BugResult struct {
	ID        int    `json:"id"`
	URL       string `json:"url"`
	Created   bool   `json:"created,omitempty"`   // this job filed it, in this attempt or in one whose answer was lost
	Commented bool   `json:"commented,omitempty"` // it was open already, and this job's report is a comment on it
	Tracker   int    `json:"tracker,omitempty"`   // the machine's tracker bug, which it blocks
	Problem   string `json:"problem,omitempty"`   // why the tracker bug is missing or not linked, or nobody was copied; the report itself is filed
}

// filing is one attempt to report one machine.
type filing struct {
	client  *bugzilla
	in      Bug
	reopen  string         // the status that opens a closed tracker
	tracker map[string]any // the bodies of the two POSTs
	reboot  map[string]any
}

// BugzillaFile reports a machine that did not come back: on its open reboot bug
// if there is one, else in a new one, which blocks the machine's tracker bug.
// Everything is looked for before it is made, comments too, so that an attempt
// may follow one whose answer was lost. Errors: NotSent, which is worth another
// try, Refused and BadInput, which are not. It sends at most ten requests, each
// limited by BUGZILLA_TIMEOUT.
func (a *Activities) BugzillaFile(ctx context.Context, in Bug) (BugResult, error) {
	f, err := newFiling(a.Config.Bugzilla, in, a.publicOutlets(in.Machine), a.bugCC(in.Machine))
	if err != nil {
		return BugResult{}, fail(err)
	}
	defer f.client.close()
	result, err := f.file(ctx)
	return result, failFiling(err, f.client.http.Timeout)
}

func newFiling(cfg config.Bugzilla, in Bug, outlets string, cc []string) (*filing, error) {
	if in.Machine.WorkerID == "" || in.FQDN == "" {
		return nil, meaning(BadInput, "bugzilla: the machine has no name")
	}
	reboot, err := ParseBugTemplate(cmp.Or(cfg.RebootTemplate, DefaultRebootTemplate))
	if err != nil {
		return nil, refused("BUGZILLA_REBOOT_TEMPLATE: %w", err)
	}
	tracker, err := ParseBugTemplate(cmp.Or(cfg.TrackerTemplate, DefaultTrackerTemplate))
	if err != nil {
		return nil, refused("BUGZILLA_WORKER_TRACKER_TEMPLATE: %w", err)
	}
	client, err := newBugzilla(cfg)
	if err != nil {
		return nil, err
	}
	f := &filing{client: client, in: in, reopen: cmp.Or(cfg.ReopenState, "REOPENED")}
	f.reboot = reboot.expand(bugValues(in, outlets))
	f.reboot["description"] = bugText(in, outlets, reboot, f.reboot)
	copied(f.reboot, cc)
	f.tracker = tracker.expand(bugValues(in, outlets))
	f.tracker["alias"] = in.Machine.WorkerID
	return f, nil
}

// failFiling lets a write whose answer was lost rest for as long as one request
// may take before the next attempt looks for what it did: a slow Bugzilla may
// still be at it, and a search may be answered by a copy of the database.
func failFiling(err error, rest time.Duration) error {
	if !errors.Is(err, errAnswerLost) {
		return fail(err)
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), string(MeaningOf(err)),
		temporal.ApplicationErrorOptions{NextRetryDelay: rest})
}

func (f *filing) file(ctx context.Context) (BugResult, error) {
	var result BugResult
	if err := f.client.login(ctx); err != nil {
		return result, err
	}
	if f.in.On {
		err := f.reportOn(ctx, &result)
		return result, err
	}
	err := f.reportLinked(ctx, &result)
	return result, err
}

// reportLinked reports, and links the report to the machine's tracker bug.
func (f *filing) reportLinked(ctx context.Context, result *BugResult) error {
	tracker, err := f.openTracker(ctx)
	if err := result.note("tracker bug", err); err != nil {
		return err
	}
	if err := f.report(ctx, result); err != nil {
		return err
	}
	result.URL = f.client.showURL(result.ID)
	if tracker == 0 {
		return nil
	}
	// Not at creation: Bugzilla drops "blocks" there for most users.
	err = f.client.update(ctx, result.ID, map[string]any{"blocks": map[string]any{"add": []int{tracker}}})
	if err == nil {
		result.Tracker = tracker
	}
	return result.note(fmt.Sprintf("linking to tracker bug %d", tracker), err)
}

// note keeps what Bugzilla refused about the tracker, for good, as the result's
// problem: a closed component must not keep the machine's report from being
// filed. Every other error is returned.
func (r *BugResult) note(doing string, err error) error {
	if answer, ok := errors.AsType[*bugzillaError](err); !ok || answer.auth() {
		return err
	}
	r.Problem = strings.TrimPrefix(fmt.Sprintf("%s; %s: %v", r.Problem, doing, err), "; ")
	return nil
}

// openTracker finds the machine's tracker bug by its alias, reopens it if it is
// closed, and creates it if there is none.
func (f *filing) openTracker(ctx context.Context) (int, error) {
	alias := f.in.Machine.WorkerID
	if strings.Trim(alias, "0123456789") == "" {
		// GET /rest/bug/123 is bug 123, whoever's that is.
		return 0, &Error{Refused, &bugzillaError{code: codeAlias, message: "a numeric worker ID cannot be an alias"}}
	}
	bug, err := f.client.byAlias(ctx, alias)
	if isCode(err, codeNoAlias, codeNoBug) {
		bug.ID, err = f.client.create(ctx, f.tracker)
		if !isCode(err, codeAlias) {
			return bug.ID, err
		}
		bug, err = f.client.byAlias(ctx, alias) // another one was faster
	}
	if err != nil || bug.Open {
		return bug.ID, err
	}
	return bug.ID, f.client.update(ctx, bug.ID, map[string]any{"status": f.reopen})
}

// reportOn comments that the machine is on again, on the open bug whose last word
// of its power is that it is off. Without one there is nothing to say.
func (f *filing) reportOn(ctx context.Context, result *BugResult) error {
	found, err := f.client.openBug(ctx, f.reboot)
	if err != nil || found == 0 {
		return err
	}
	comments, err := f.client.comments(ctx, found)
	if err != nil {
		return err
	}
	dark := false
	for _, c := range comments {
		switch {
		case strings.HasPrefix(c.Text, offLine(f.in)):
			dark = true
		case strings.HasPrefix(c.Text, onLine(f.in)):
			dark = false
		}
	}
	result.ID, result.URL, result.Commented = found, f.client.showURL(found), true
	if !dark {
		return nil
	}
	return f.client.comment(ctx, found, onLine(f.in)+"\n\nroller task "+f.in.TaskID)
}

// report puts this job's report on the open reboot bug, or files one with it.
func (f *filing) report(ctx context.Context, result *BugResult) error {
	found, err := f.client.openBug(ctx, f.reboot)
	if err != nil {
		return err
	}
	if found == 0 {
		result.ID, err = f.create(ctx, result)
		result.Created = err == nil
		return err
	}
	result.ID = found
	text := fmt.Sprint(f.reboot["description"])
	at, err := f.client.findComment(ctx, found, text)
	if err != nil {
		return err
	}
	result.Created, result.Commented = at == 0, at != 0
	if at >= 0 {
		return nil
	}
	return f.client.comment(ctx, found, text)
}

// create files the report, and files it without its cc where Bugzilla does not
// know one of them: the report counts.
func (f *filing) create(ctx context.Context, result *BugResult) (int, error) {
	id, err := f.client.create(ctx, f.reboot)
	if _, has := f.reboot["cc"]; !has || !isCode(err, codeUser, codeObject) {
		return id, err
	}
	if err := result.note("cc", err); err != nil {
		return 0, err
	}
	delete(f.reboot, "cc")
	return f.client.create(ctx, f.reboot)
}
