package workflows

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// NoticeType is the type of the run that tells people of one job.
const NoticeType = "notice"

// NoticeID is the workflow ID of the run that tells people of a job's run.
func NoticeID(runID string) string { return "notice/" + runID }

// NoticeInput is the input of Tell.
type NoticeInput struct {
	Notice    activities.Notice       `json:"notice"` // of the start
	Kinds     []activities.NoticeKind `json:"kinds"`
	Limit     config.Duration         `json:"limit"`     // how long one notice is tried
	Heartbeat config.Duration         `json:"heartbeat"` // of the wait for the job's end
}

// notify has people told of this job by a run of its own, which waits for the
// job's end by itself: no notice can hold a job or make it fail, and a job that is
// terminated is told of, too. It costs the job five events.
func (r *run) notify(ctx workflow.Context) {
	if len(r.plan.Notices.Kinds) == 0 || !exclusive(r.result.Task) {
		return
	}
	info := workflow.GetInfo(ctx).WorkflowExecution
	m := r.plan.Machine
	ctx, _ = workflow.NewDisconnectedContext(ctx) // a cancel ends the job, and is told of
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: NoticeID(info.RunID), TaskQueue: TaskQueue,
		ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary:     "notices of " + r.result.Task + " " + m.String(),
	})
	r.notices = workflow.ExecuteChildWorkflow(ctx, NoticeType, NoticeInput{
		Kinds: r.plan.Notices.Kinds, Limit: r.plan.Notices.Limit, Heartbeat: r.plan.Timing.Heartbeat,
		Notice: activities.Notice{
			Event: activities.JobBegan, At: workflow.Now(ctx), Task: r.result.Task, WorkerID: m.WorkerID, WorkerGroup: m.WorkerGroup,
			FQDN: r.plan.FQDN, ClientID: r.in.ClientID, WorkflowID: info.ID, TaskID: info.RunID,
		},
	})
}

// notified waits until Temporal has started the notices' run, without which a job
// that ends at once would take it along.
func (r *run) notified(ctx workflow.Context) {
	if r.notices != nil {
		ctx, _ = workflow.NewDisconnectedContext(ctx)
		_ = r.notices.GetChildWorkflowExecution().Get(ctx, nil) // its error: nobody is told
	}
}

// Tell tells people that a job has begun and, when it has closed, how. Each notice
// is tried by itself, so that one that fails keeps back no other.
func Tell(ctx workflow.Context, in NoticeInput) error {
	began := tell(ctx, in, in.Notice)
	var closed closedJob
	err := workflow.ExecuteActivity(forClosed(ctx, in.Heartbeat.D()), a.AwaitClosed,
		activities.RunRef{WorkflowID: in.Notice.WorkflowID, RunID: in.Notice.TaskID}).Get(ctx, &closed)
	if err != nil {
		return err
	}
	ended := tell(ctx, in, endNotice(ctx, in.Notice, closed))
	return join2(delivered(ctx, began), delivered(ctx, ended))
}

// closedJob is activities.Closed with the record that it carries.
type closedJob struct {
	How    string  `json:"how"`
	Record *Result `json:"record"`
}

// endNotice is the notice of a job's end.
func endNotice(ctx workflow.Context, n activities.Notice, closed closedJob) activities.Notice {
	n.Event, n.At = activities.JobEnded, workflow.Now(ctx)
	r := closed.Record
	if r == nil {
		n.Outcome = closed.How
		n.Text = "The job was " + closed.How + " and left no record. If it had powered the machine off, the schedule " + SweepID + " powers it on."
		return n
	}
	n.Outcome, n.Off, n.Text = string(r.Outcome), r.Off, r.Markdown()
	if r.Bug != nil {
		n.Bug = r.Bug.URL
	}
	return n
}

// telling is a notice under way.
type telling struct {
	notice activities.Notice
	sent   workflow.Future
}

func tell(ctx workflow.Context, in NoticeInput, n activities.Notice) []telling {
	var all []telling
	for _, kind := range in.Kinds {
		n.Kind = kind
		var by any = a.TaskclusterNotify
		if kind == activities.NoticeWebhook {
			by = a.WebhookNotify
		}
		sent := workflow.ExecuteActivity(forNotice(ctx, in.Limit.D(), n.Event+": "+string(kind)), by, n)
		all = append(all, telling{n, sent})
	}
	return all
}

// delivered returns the first error, when all have ended.
func delivered(ctx workflow.Context, all []telling) error {
	var first error
	for _, t := range all {
		if err := t.sent.Get(ctx, nil); err != nil {
			tags := map[string]string{"kind": string(t.notice.Kind), "event": t.notice.Event}
			workflow.GetMetricsHandler(ctx).WithTags(tags).Counter(MetricNotices).Inc(1)
			workflow.GetLogger(ctx).Warn("notice not delivered", "kind", t.notice.Kind, "event", t.notice.Event, "err", reason(err))
			first = join2(first, err)
		}
	}
	return first
}

func forNotice(ctx workflow.Context, limit time.Duration, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: TaskQueue, StartToCloseTimeout: time.Minute, ScheduleToCloseTimeout: limit,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 2 * time.Second, MaximumInterval: 5 * time.Minute},
		Summary:     summary,
	})
}

// longestJob bounds one attempt of the wait for a job's end; another one follows.
const longestJob = 24 * time.Hour

func forClosed(ctx workflow.Context, heartbeat time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: WatchTaskQueue, StartToCloseTimeout: longestJob, HeartbeatTimeout: heartbeat,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 1.5, MaximumInterval: 30 * time.Second},
		Summary:     "await the job's end",
	})
}
