package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"

	"github.com/mozilla-platform-ops/roller/config"
)

// Taskcluster is what the worker of a Taskcluster task queue registers. It is apart
// from Activities: it runs where Taskcluster can be reached, and knows the seal key.
type Taskcluster struct {
	Config *config.Config
	Jobs   Jobs
}

// Jobs is the door to roller's jobs.
type Jobs interface {
	// Ask starts or joins a job. Its errors are this package's: BadInput (nothing
	// can be done for it), Refused (the machine has another job), NotSent (ask again).
	Ask(ctx context.Context, ask JobAsk) (JobRun, error)
	// Look says how a job stands.
	Look(ctx context.Context, job JobRun) (JobLook, error)
	// Cancel asks a job to end. One that has ended is no error.
	Cancel(ctx context.Context, job JobRun) error
}

// JobRun names a job.
type JobRun struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	Joined     bool   `json:"joined,omitempty"` // somebody else had started it
}

// JobLook is how a job stands.
type JobLook struct {
	Text    string // the ladder so far, a line a rung
	Ended   bool
	Good    bool   // it did what was asked
	Outcome string // once it has ended
	Bug     string // its URL
}

// TaskEnd is what is reported of a run.
type TaskEnd string

// The ends. The last two are exceptions, of which Taskcluster repeats none.
const (
	Completed        TaskEnd = "completed"
	FailedTask       TaskEnd = "failed"
	MalformedPayload TaskEnd = "malformed-payload"
	InternalError    TaskEnd = "internal-error"
)

// TaskclusterStart starts the job that a claimed task asks for, or joins it.
// Errors: those of Jobs.Ask.
func (a *Taskcluster) TaskclusterStart(ctx context.Context, c Claim) (JobRun, error) {
	job, err := a.Jobs.Ask(ctx, c.Ask)
	if err == nil {
		activity.GetLogger(ctx).Info("taskcluster task", "tc_task", c.Run(), "client_id", c.Ask.ClientID, "scopes", c.Scopes,
			"task", c.Ask.Task, "worker_id", c.Ask.WorkerID, "worker_group", c.Ask.WorkerGroup, "task_id", job.RunID, "joined", job.Joined)
	}
	return job, fail(err)
}

// TaskclusterCancel asks the job of a cancelled task to end.
func (a *Taskcluster) TaskclusterCancel(ctx context.Context, job JobRun) error {
	return fail(a.Jobs.Cancel(ctx, job))
}

// Why TaskclusterFollow has ended.
const (
	FollowedToEnd = "end"       // the job has ended
	TaskCancelled = "cancelled" // the task was cancelled
	TaskResolved  = "resolved"  // the run is no longer roller's, by its deadline or an expired claim
	DeadlineNear  = "deadline"  // the task must be reported now, or never
)

// Following is the input of TaskclusterFollow.
type Following struct {
	Claim Claim  `json:"claim"`
	Job   JobRun `json:"job"`
}

// Followed is how following a job ended.
type Followed struct {
	How         string `json:"how"`
	Credentials Sealed `json:"credentials"` // the newest
}

// heldClaim is the heartbeat details of TaskclusterFollow: another process goes on by
// the newest credentials.
type heldClaim struct {
	Credentials Sealed    `json:"credentials"`
	TakenUntil  time.Time `json:"taken_until"`
	Reclaim     time.Time `json:"reclaim"`
}

const (
	// lookEvery is how often a job is looked at.
	lookEvery = 3 * time.Second
	// putEvery is the least time between two partial logs.
	putEvery = 10 * time.Second
	// longestMargin is how long before its deadline a task is reported: a report
	// needs three calls, each of which may be tried again.
	longestMargin = 2 * time.Minute
	// logTries is how often a report waits for a bucket that takes no log.
	logTries = 5
)

// reportBy is when a task must be reported, whatever its job does.
func (c Claim) reportBy() time.Time {
	return c.Deadline.Add(-min(longestMargin, c.Deadline.Sub(c.Created)/10))
}

// TaskclusterFollow keeps a claim while its job runs: it reclaims, puts the log as
// it grows, and ends when the job has, or when the task is no longer roller's.
// Errors: Handover when this process stops; Refused when the credentials do not open.
func (a *Taskcluster) TaskclusterFollow(ctx context.Context, in Following) (Followed, error) {
	p := heldClaim{Credentials: in.Claim.Credentials, TakenUntil: in.Claim.TakenUntil}
	resumed(ctx, &p)
	f := follower{a: a, in: in, held: p}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		how, err := f.step(ctx)
		if err != nil || how != "" {
			return Followed{How: how, Credentials: f.held.Credentials}, fail(endedOr(ctx, err))
		}
		beat(ctx, f.held)
		select {
		case <-ctx.Done():
			return Followed{}, fail(ended(ctx))
		case <-stopping(ctx):
			return Followed{}, fail(meaning(Handover, "this process stops: another one must go on with %s", in.Claim.Run()))
		case <-ticker.C:
		}
	}
}

// follower is one attempt of TaskclusterFollow.
type follower struct {
	a     *Taskcluster
	in    Following
	held  heldClaim
	put   string // the log as it was put last
	putAt time.Time
	look  JobLook
}

// step does what is due. Taskcluster or Temporal may be down for a while: what
// fails is tried again at the next step.
func (f *follower) step(ctx context.Context) (how string, err error) {
	look, err := f.a.Jobs.Look(ctx, f.in.Job)
	if err == nil {
		f.look = look
	}
	now := time.Now()
	switch {
	case f.look.Ended:
		return FollowedToEnd, nil
	case !now.Before(f.in.Claim.reportBy()):
		return DeadlineNear, nil
	case !now.Before(f.held.Reclaim):
		if how, err := f.reclaim(ctx); err != nil || how != "" {
			return how, err
		}
	}
	return "", f.partial(ctx)
}

// reclaim renews the claim and its credentials.
func (f *follower) reclaim(ctx context.Context) (how string, err error) {
	c := f.in.Claim
	q, err := f.a.asTask(ctx, c, f.held.Credentials)
	if err != nil {
		return "", err
	}
	answer, err := q.ReclaimTask(c.TaskID, c.run())
	switch {
	case err == nil:
	case settled(err):
		return f.gone(ctx), nil
	default:
		activity.GetLogger(ctx).Warn("taskcluster claim not renewed", "tc_task", c.Run(), "err", plainly("reclaimTask", err))
		return "", nil
	}
	box, err := seal(f.a.Config.Taskcluster, c.Run(), answer.Credentials)
	if err != nil {
		return "", refused("%w", err)
	}
	until := time.Time(answer.TakenUntil)
	every := min(f.a.Config.Taskcluster.Reclaim.D(), time.Until(until)/4)
	f.held = heldClaim{Credentials: box, TakenUntil: until, Reclaim: time.Now().Add(every)}
	return "", nil
}

// gone says why a run is no longer roller's, or "" where it cannot be known just now:
// of a cancelled task the job must be cancelled, and of another must not.
func (f *follower) gone(ctx context.Context) string {
	cfg, c := f.a.Config.Taskcluster, f.in.Claim
	answer, err := asRoller(ctx, cfg, cfg.Timeout.D()).Status(c.TaskID)
	if err != nil {
		activity.GetLogger(ctx).Warn("taskcluster task not found", "tc_task", c.Run(), "err", plainly("status", err))
		if !settled(err) {
			return ""
		}
		return TaskResolved
	}
	for _, run := range answer.Status.Runs {
		if run.RunID == c.RunID && run.ReasonResolved == "canceled" {
			return TaskCancelled
		}
	}
	return TaskResolved
}

// partial puts the log, if it has grown and the last one is a while ago.
func (f *follower) partial(ctx context.Context) error {
	text := f.in.Claim.header(f.in.Job) + f.look.Text
	if text == f.put || time.Since(f.putAt) < putEvery {
		return nil
	}
	q, err := f.a.asTask(ctx, f.in.Claim, f.held.Credentials)
	if err != nil {
		return err
	}
	f.putAt = time.Now()
	if err := q.putLog(ctx, f.in.Claim, text); err != nil {
		activity.GetLogger(ctx).Warn("taskcluster log not put", "tc_task", f.in.Claim.Run(), "err", plainly("live.log", err))
		return nil
	}
	f.put = text
	return nil
}

// header is how every log begins.
func (c Claim) header(job JobRun) string {
	text := "roller: task " + c.Run()
	if c.Ask.Task != "" {
		text = "roller: " + c.Ask.Task + " of " + c.Ask.WorkerGroup + "/" + c.Ask.WorkerID + " for " + c.Ask.ClientID
	}
	if job.RunID != "" {
		text += "\njob " + job.WorkflowID + " (task_id " + job.RunID + ")"
	}
	if job.Joined {
		text += ", which was running already"
	}
	return text + "\n\n"
}

// Report is the input of TaskclusterReport.
type Report struct {
	Claim Claim   `json:"claim"` // with the newest credentials
	Job   JobRun  `json:"job,omitzero"`
	End   TaskEnd `json:"end,omitempty"`  // "" is the job's own
	Text  string  `json:"text,omitempty"` // the log's last line
}

// Reported is what the queue was told, and took.
type Reported struct {
	End   TaskEnd `json:"end"`
	Taken bool    `json:"taken"` // else the run was resolved already
}

// TaskclusterReport puts the whole log and the bug's link, and resolves the run.
// Errors: NotSent (it may be tried again: the same report twice is one), Refused
// when the credentials do not open.
func (a *Taskcluster) TaskclusterReport(ctx context.Context, in Report) (Reported, error) {
	out, err := a.report(ctx, in)
	return out, fail(endedOr(ctx, err))
}

func (a *Taskcluster) report(ctx context.Context, in Report) (Reported, error) {
	c := in.Claim
	q, err := a.asTask(ctx, c, c.Credentials)
	if err != nil {
		return Reported{}, err
	}
	text, look := c.header(in.Job), JobLook{}
	if in.Job.RunID != "" {
		if look, err = a.Jobs.Look(ctx, in.Job); err != nil {
			return Reported{}, notSent("look at the job: %w", err)
		}
		text += look.Text
	}
	out := Reported{End: in.end(look)}
	text += in.Text + "\n"
	if err := q.putLog(ctx, c, text); err != nil && !settled(err) {
		activity.GetLogger(ctx).Warn("taskcluster log not put", "tc_task", c.Run(), "err", plainly("live.log", err))
		if activity.GetInfo(ctx).Attempt < logTries {
			return out, plainly("live.log", err)
		}
	}
	if look.Bug != "" {
		if err := q.putBug(c, look.Bug); err != nil && !settled(err) {
			return out, plainly("the bug's link", err)
		}
	}
	err = q.resolve(c, out.End)
	if settled(err) {
		activity.GetLogger(ctx).Warn("taskcluster run was resolved already", "tc_task", c.Run(), "err", plainly("report", err))
		return out, nil
	}
	if err != nil {
		return out, plainly("report", err)
	}
	out.Taken = true
	return out, nil
}

// end is what is reported.
func (in Report) end(look JobLook) TaskEnd {
	switch {
	case in.End != "":
		return in.End
	case look.Good:
		return Completed
	default:
		return FailedTask
	}
}

// resolve reports a run.
func (q *queue) resolve(c Claim, v TaskEnd) error {
	var err error
	switch v {
	case Completed:
		_, err = q.ReportCompleted(c.TaskID, c.run())
	case FailedTask:
		_, err = q.ReportFailed(c.TaskID, c.run())
	default:
		_, err = q.ReportException(c.TaskID, c.run(), &tcqueue.TaskExceptionRequest{Reason: string(v)})
	}
	return err
}
