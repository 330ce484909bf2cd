package activities

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/mozilla-platform-ops/roller/config"
)

// LoanEvent is what there is to tell of a loan.
type LoanEvent string

// The events of a loan.
const (
	LoanBegan LoanEvent = "began"
	LoanAsked LoanEvent = "asked" // somebody else asked for a machine that is on loan
	LoanStays LoanEvent = "stays" // it was returned, and could not be reimaged, or that was called off
	LoanEnded LoanEvent = "ended" // it is back, and its worker takes work again
)

// LoanBug is the input of BugzillaLoan. Bugs are public: so become By and Why.
type LoanBug struct {
	Machine config.Name `json:"machine"`
	FQDN    string      `json:"fqdn"`
	ID      int         `json:"id,omitempty"` // the loan's bug, once it is known
	Event   LoanEvent   `json:"event"`
	By      string      `json:"by,omitempty"`      // the client ID of whoever asked
	Why     string      `json:"why,omitempty"`     // in their words
	Reimage string      `json:"reimage,omitempty"` // how the reimage ended, in one word; "" without one
	TaskID  string      `json:"task_id"`           // of the job that tells, by which two of its kind are told apart
}

// text is what the bug is told.
func (b LoanBug) text() string {
	who := cmp.Or(b.By, "nobody known")
	if b.Why != "" {
		who += " (" + b.Why + ")"
	}
	var text string
	switch b.Event {
	case LoanBegan:
		text = fmt.Sprintf("%s is on loan to %s. Its worker is quarantined until the machine is returned.", b.FQDN, who)
	case LoanAsked:
		text = fmt.Sprintf("%s asked for %s, too, which is on loan.", who, b.FQDN)
	case LoanStays:
		text = fmt.Sprintf("%s returned %s, but %s. Its worker stays quarantined.", who, b.FQDN, b.stays())
	case LoanEnded:
		how := "without a reimage, as was asked"
		if b.Reimage != "" {
			how = "reimaged"
		}
		text = fmt.Sprintf("%s returned %s: it is back, %s, and its worker's quarantine is lifted.", who, b.FQDN, how)
	}
	return text + "\n\nroller task " + b.TaskID
}

// stays is why a returned machine stays on loan.
func (b LoanBug) stays() string {
	switch b.Reimage {
	case "":
		return "that was called off"
	case "back":
		return "that was called off after its reimage"
	}
	return "its reimage ended with: " + publicWords(b.Reimage)
}

// BugzillaLoan tells a loan's bug what happened: the begin files it, or comments on the
// one that is open still, and links it to the machine's tracker bug; the end closes it.
// All is looked for before it is done, as by BugzillaFile, and the errors are the same.
func (a *Activities) BugzillaLoan(ctx context.Context, in LoanBug) (BugResult, error) {
	f, err := newLoanFiling(a.Config.Bugzilla, in, a.bugCC(in.Machine))
	if err != nil {
		return BugResult{}, fail(err)
	}
	defer f.client.close()
	result, err := f.loan(ctx, in)
	return result, failFiling(err, f.client.http.Timeout)
}

// newLoanFiling files where the tracker bugs are: a loan is the business of those
// who look after the machine, and not of those who stand before its rack.
func newLoanFiling(cfg config.Bugzilla, in LoanBug, cc []string) (*filing, error) {
	f, err := newFiling(cfg, Bug{Machine: in.Machine, FQDN: in.FQDN, RequestedBy: in.By, TaskID: in.TaskID}, "", nil)
	if err != nil {
		return nil, err
	}
	template, err := ParseBugTemplate(cmp.Or(cfg.TrackerTemplate, DefaultTrackerTemplate))
	if err != nil {
		return nil, refused("BUGZILLA_WORKER_TRACKER_TEMPLATE: %w", err)
	}
	f.reboot = template.expand(bugValues(f.in, ""))
	delete(f.reboot, "alias") // the tracker's
	f.reboot["summary"], f.reboot["description"] = in.FQDN+" is on loan", in.text()
	copied(f.reboot, cc)
	return f, nil
}

func (f *filing) loan(ctx context.Context, in LoanBug) (BugResult, error) {
	var result BugResult
	if err := f.client.login(ctx); err != nil {
		return result, err
	}
	bug, err := f.loanBug(ctx, in.ID)
	if err != nil {
		return result, err
	}
	switch {
	case in.Event == LoanEnded && bug.ID == 0: // it was never filed, or somebody closed it
		return result, nil
	case bug.ID == 0 || in.Event == LoanBegan:
		err := f.reportLinked(ctx, &result)
		return result, err
	}
	result.ID, result.URL, result.Commented = bug.ID, f.client.showURL(bug.ID), true
	return result, f.tellLoan(ctx, bug, in)
}

// loanBug is the bug of that number, whatever people made of its summary; without a
// number the open one of the loan's summary.
func (f *filing) loanBug(ctx context.Context, id int) (foundBug, error) {
	if id != 0 {
		return f.client.byAlias(ctx, strconv.Itoa(id))
	}
	found, err := f.client.openBug(ctx, f.reboot)
	return foundBug{ID: found, Open: found != 0}, err
}

// tellLoan comments on the loan's bug, and closes it at the loan's end: both by one
// request, so that a lost answer loses neither.
func (f *filing) tellLoan(ctx context.Context, bug foundBug, in LoanBug) error {
	at, err := f.client.findComment(ctx, bug.ID, in.text())
	if err != nil {
		return err
	}
	if in.Event != LoanEnded || !bug.Open {
		if at >= 0 {
			return nil
		}
		return f.client.comment(ctx, bug.ID, in.text())
	}
	changes := map[string]any{"status": "RESOLVED", "resolution": "FIXED"}
	if at < 0 {
		changes["comment"] = map[string]any{"body": in.text()}
	}
	return f.client.update(ctx, bug.ID, changes)
}
