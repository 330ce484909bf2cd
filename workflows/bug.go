package workflows

import (
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// BugInput is the input of FileBug.
type BugInput struct {
	Bug   activities.Bug      `json:"bug,omitzero"`
	Site  *activities.SiteBug `json:"site,omitempty"` // a site's bug, in the place of a machine's
	Limit config.Duration     `json:"limit"`          // how long it is tried
	Retry config.Duration     `json:"retry"`          // the pause after an answer that only a person can mend
}

// file asks Bugzilla, once.
func (in BugInput) file(ctx workflow.Context, limit time.Duration) workflow.Future {
	if in.Site != nil {
		return workflow.ExecuteActivity(forBug(ctx, limit), a.BugzillaFileSite, *in.Site)
	}
	return workflow.ExecuteActivity(forBug(ctx, limit), a.BugzillaFile, in.Bug)
}

// FileBug files one machine's bug, or one site's, in a run of its own, so that
// the job that gave up can end at once while Bugzilla is down. Each try looks for
// the bug before it creates one, so a lost answer never makes two.
// Errors: Conflict for a run that a person started under any other ID than the
// machine's bug's: it would file beside it.
func FileBug(ctx workflow.Context, in BugInput) (activities.BugResult, error) {
	var out activities.BugResult
	var err error
	if in.Site != nil {
		err = underSiteBugID(ctx, in.Site.Site)
	} else {
		in.Bug.Machine, err = underBugID(ctx, in.Bug.Machine)
	}
	if err != nil {
		return out, err
	}
	deadline := workflow.Now(ctx).Add(in.Limit.D())
	on := workflow.GetSignalChannel(ctx, PowerOnSignal)
	for {
		left := deadline.Sub(workflow.Now(ctx))
		err := in.file(ctx, left).Get(ctx, &out)
		if err == nil {
			workflow.SetCurrentDetails(ctx, "Filed: "+out.URL)
			if in.Bug.Off && on.ReceiveAsync(nil) { // while it could not be filed the power came back
				in.Bug.Off, in.Bug.On = false, true
				continue
			}
			return out, nil
		}
		// What Bugzilla refused (a bad key) a person may mend within the limit.
		if cancelled(ctx, err) || !workflow.Now(ctx).Add(in.Retry.D()).Before(deadline) {
			return out, err
		}
		workflow.SetCurrentDetails(ctx, "Not filed yet: "+reason(err))
		if err := workflow.NewTimerWithOptions(ctx, in.Retry.D(), workflow.TimerOptions{Summary: "before Bugzilla is asked again"}).Get(ctx, nil); err != nil {
			return out, err
		}
	}
}

// underSiteBugID fails for a run that has not the ID of the site's bug.
func underSiteBugID(ctx workflow.Context, site string) error {
	if id := SiteBugID(site); workflow.GetInfo(ctx).WorkflowExecution.ID != id {
		return temporal.NewNonRetryableApplicationError("the bug of site "+site+" is filed under "+id+" only", ConflictError, nil)
	}
	return nil
}

// underBugID returns the machine's one name. It fails for a run that no job started and that has not the ID of the
// machine's bug. A job's own child has it by fileBug, and must not need the
// machine's entry, which may have gone.
func underBugID(ctx workflow.Context, m config.Name) (config.Name, error) {
	info := workflow.GetInfo(ctx)
	if info.ParentWorkflowExecution != nil {
		return m, nil
	}
	var plan activities.Plan
	err := workflow.ExecuteActivity(forLookup(ctx, "find the machine"), a.ResolveJob, activities.ResolveInput{
		Task: "file_bugzilla_bug", WorkerID: m.WorkerID, WorkerGroup: m.WorkerGroup,
	}).Get(ctx, &plan)
	if err != nil {
		return m, err
	}
	if id := BugID(plan.Machine); info.WorkflowExecution.ID != id {
		return m, temporal.NewNonRetryableApplicationError("bug runs under "+id+" only: start file_bugzilla_bug instead", ConflictError, nil)
	}
	return plan.Machine, nil
}

// giveUp ends a ladder that did not help: with the machine after all, if it is
// seen in a last look, or with its bug.
func (r *run) giveUp(ctx workflow.Context, rung activities.Rung) error {
	r.result.Next = nil
	if r.since != nil && (r.since.Down || !r.since.Up) && !r.looked {
		r.result.Attempts = append(r.result.Attempts, Attempt{Rung: "last_look", StartedAt: workflow.Now(ctx), Outcome: Running})
		err := r.awaitUp(ctx, *r.since, activities.Sight{}, r.plan.Timing.LastLook)
		if err != nil || r.result.Outcome == Back {
			return err
		}
	}
	if rung.Skip != "" && r.result.Bug == nil {
		r.result.Outcome, r.result.Why = NotBack, "no bug: "+rung.Skip
		return temporal.NewNonRetryableApplicationError("the machine is not back, and "+r.result.Why, NotBackError, nil)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.show(ctx, "filing the bug")
	r.fileBug(ctx)
	r.result.Outcome = BugPending
	if r.result.Bug.URL != "" {
		r.result.Outcome = BugFiled
	}
	r.show(ctx, "")
	if errors.Is(ctx.Err(), workflow.ErrCanceled) {
		return ctx.Err()
	}
	return nil
}

// fileBug files the machine's bug.
func (r *run) fileBug(ctx workflow.Context) {
	m := r.plan.Machine
	r.inItsRun(ctx, BugID(m), "bug for "+m.String(), BugInput{Bug: r.bug(ctx)})
}

// fileSiteBug files the bug of the machine's site, which all its jobs share.
func (r *run) fileSiteBug(ctx workflow.Context, since time.Time) {
	site := r.plan.Site
	r.inItsRun(ctx, SiteBugID(site), "bug for site "+site, BugInput{Site: &activities.SiteBug{Site: site, Since: since}})
}

// inItsRun starts the run of a bug and waits for it a little: the job ends with
// the bug's number if it can, and with the name of the run that is still filing
// it if it cannot.
func (r *run) inItsRun(ctx workflow.Context, id, summary string, in BugInput) {
	in.Limit, in.Retry = r.plan.Timing.BugLimit, r.plan.Timing.BugRetry
	r.result.Bug = &Bug{WorkflowID: id}
	dctx, _ := workflow.NewDisconnectedContext(ctx) // a cancel ends the job, not the bug's own run
	child := workflow.ExecuteChildWorkflow(bugOptions(dctx, id, summary), BugType, in)
	var started workflow.Execution
	if err := child.GetChildWorkflowExecution().Get(dctx, &started); err != nil {
		return // an earlier job's bug run is at it still: its ID names it
	}
	r.result.Bug.RunID = started.RunID
	timer, stop := workflow.WithCancel(ctx)
	defer stop()
	workflow.NewSelector(ctx).
		AddFuture(child, func(f workflow.Future) {
			var filed activities.BugResult
			if f.Get(dctx, &filed) == nil {
				r.result.Bug.ID, r.result.Bug.URL = filed.ID, filed.URL
			}
		}).
		AddFuture(workflow.NewTimerWithOptions(timer, r.plan.Timing.BugWait.D(),
			workflow.TimerOptions{Summary: "a bug not filed by then is left to its own run"}), func(workflow.Future) {}).
		Select(ctx)
}

// tellOn has the bug that says the machine is off say that it is on again: by its
// own run where that is still at it, else in a new one.
func (r *run) tellOn(ctx workflow.Context) {
	if !r.toldOff {
		return
	}
	r.toldOff = false
	filing := r.result.Bug.ID == 0
	if filing && workflow.SignalExternalWorkflow(ctx, r.result.Bug.WorkflowID, r.result.Bug.RunID, PowerOnSignal, nil).Get(ctx, nil) == nil {
		return
	}
	r.startOn(ctx)
}

// startOn starts a bug run that says that the machine is on again, if its open bug
// says that it is off.
func (r *run) startOn(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx) // the caller's is cancelled when the machine is on
	b := r.bug(ctx)
	b.Off, b.On = false, true
	child := workflow.ExecuteChildWorkflow(bugOptions(ctx, BugID(b.Machine), "bug for "+b.Machine.String()), BugType,
		BugInput{Bug: b, Limit: r.plan.Timing.BugLimit, Retry: r.plan.Timing.BugRetry})
	_ = child.GetChildWorkflowExecution().Get(ctx, nil) // its error: a later job's bug run is at it, and looks at the machine anew
}

func bugOptions(ctx workflow.Context, id, summary string) workflow.Context {
	return workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:        id,
		TaskQueue:         TaskQueue,
		ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary:     summary,
	})
}

// bug is what the bug's run is told of this job.
func (r *run) bug(ctx workflow.Context) activities.Bug {
	b := activities.Bug{
		Machine: r.plan.Machine, FQDN: r.plan.FQDN, RequestedBy: r.in.ClientID,
		Task: r.result.Task, TaskID: workflow.GetInfo(ctx).WorkflowExecution.RunID, Off: r.result.Off,
	}
	for _, at := range r.result.Attempts {
		b.Attempts = append(b.Attempts, activities.BugLine{Rung: at.Rung, At: at.StartedAt, Outcome: string(at.Outcome), Why: at.Why})
	}
	return b
}

// bugOnly is the single step file_bugzilla_bug: it ends when the bug is filed.
func (r *run) bugOnly(ctx workflow.Context) error {
	r.show(ctx, "filing the bug")
	r.fileBug(ctx)
	if errors.Is(ctx.Err(), workflow.ErrCanceled) {
		return ctx.Err()
	}
	r.result.Outcome = BugPending
	if r.result.Bug.URL != "" {
		r.result.Outcome = BugFiled
	}
	return nil
}
