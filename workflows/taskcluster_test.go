package workflows

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// A job is tried to be started while the claim and the task's life leave time to tell
// that it was not.
func TestClaimedTaskIsStartedInTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ taken, deadline, limit time.Duration }{
		"the claim ends first":     {20 * time.Minute, 2 * time.Hour, 17 * time.Minute},
		"the deadline comes first": {20 * time.Minute, 10 * time.Minute, 7 * time.Minute},
		"hardly any is left":       {20 * time.Minute, 2 * time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var suite testsuite.WorkflowTestSuite
			suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
			env := newEnvironment(&suite)
			env.RegisterActivity(&activities.Taskcluster{})
			env.RegisterWorkflowWithOptions(ClaimedTask, workflow.RegisterOptions{Name: ClaimType})
			var limit time.Duration
			env.OnActivity(tc.TaskclusterStart, mock.Anything, mock.Anything).Return(func(ctx context.Context, _ Claim) (JobRun, error) {
				limit = activity.GetInfo(ctx).ScheduleToCloseTimeout
				return JobRun{}, temporal.NewNonRetryableApplicationError("why", string(activities.Unknown), nil)
			})
			env.OnActivity(tc.TaskclusterReport, mock.Anything, mock.Anything).Return(Reported{}, nil)
			now := env.Now()
			env.ExecuteWorkflow(ClaimType, Claim{TaskID: "t", TakenUntil: now.Add(test.taken), Deadline: now.Add(test.deadline)})
			require.NoError(t, env.GetWorkflowError())
			require.InDelta(t, test.limit.Seconds(), limit.Seconds(), 30)
		})
	}
}

// What becomes of the job becomes of the task: what is reported, with whose
// credentials, and whether the job is cancelled.
func TestClaimedTask(t *testing.T) {
	t.Parallel()
	own, joined := JobRun{WorkflowID: "machine/mdc1/ms1-10", RunID: "r"}, JobRun{WorkflowID: "machine/mdc1/ms1-10", RunID: "r", Joined: true}
	meaning := func(m activities.Meaning) error {
		return temporal.NewNonRetryableApplicationError("why", string(m), nil)
	}
	type world struct {
		problem   string
		job       JobRun
		startErr  error
		how       string
		followErr error
		cancel    bool // this run is cancelled while it follows
	}
	for name, test := range map[string]struct {
		world
		end       activities.TaskEnd // reported; "" is the job's own
		silent    bool               // nothing is reported
		cancelled bool               // the job is
		text      string
	}{
		"the job ended":               {world: world{job: own, how: activities.FollowedToEnd}},
		"a bad payload":               {world: world{problem: "payload: task_name"}, end: activities.MalformedPayload, text: "payload: task_name"},
		"an unknown machine":          {world: world{startErr: meaning(AskBad)}, end: activities.MalformedPayload, text: "why"},
		"another job has the machine": {world: world{startErr: meaning(AskRefused)}, end: activities.FailedTask, text: "why"},
		"it cannot be started":        {world: world{startErr: meaning(activities.Unknown)}, end: activities.InternalError, text: "why"},
		"cancelled":                   {world: world{job: own, how: activities.TaskCancelled}, silent: true, cancelled: true},
		"cancelled, of a joined job":  {world: world{job: joined, how: activities.TaskCancelled}, silent: true},
		"the claim expired":           {world: world{job: own, how: activities.TaskResolved}, silent: true},
		"the deadline":                {world: world{job: own, how: activities.DeadlineNear}, end: activities.FailedTask, text: "the job goes on: roller show machine/mdc1/ms1-10"},
		"the box does not open":       {world: world{job: own, followErr: meaning(activities.Refused)}, end: activities.InternalError, text: "the job goes on"},
		"somebody cancels the run":    {world: world{job: own, cancel: true}, end: activities.FailedTask, cancelled: true, text: "and with it the job"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var suite testsuite.WorkflowTestSuite
			suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
			env := newEnvironment(&suite)
			env.RegisterActivity(&activities.Taskcluster{})
			env.RegisterWorkflowWithOptions(ClaimedTask, workflow.RegisterOptions{Name: ClaimType})
			var reported []activities.Report
			cancelled := 0
			env.OnActivity(tc.TaskclusterStart, mock.Anything, mock.Anything).Return(test.job, test.startErr).Maybe()
			env.OnActivity(tc.TaskclusterFollow, mock.Anything, mock.Anything).Return(func(ctx context.Context, _ activities.Following) (activities.Followed, error) {
				if test.cancel {
					env.CancelWorkflow()
					<-ctx.Done()
					return activities.Followed{}, ctx.Err()
				}
				return activities.Followed{How: test.how, Credentials: "newest"}, test.followErr
			}).Maybe()
			env.OnActivity(tc.TaskclusterCancel, mock.Anything, mock.Anything).Return(func(_ context.Context, job JobRun) error {
				require.Equal(t, own, job)
				cancelled++
				return nil
			}).Maybe()
			env.OnActivity(tc.TaskclusterReport, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.Report) (Reported, error) {
				reported = append(reported, in)
				return Reported{End: in.End, Taken: true}, nil
			}).Maybe()
			env.ExecuteWorkflow(ClaimType, Claim{TaskID: "t", Deadline: time.Now().Add(time.Hour), Credentials: "first", Problem: test.problem})
			require.True(t, env.IsWorkflowCompleted())
			require.NoError(t, env.GetWorkflowError())
			if test.cancelled {
				require.Equal(t, 1, cancelled)
			} else {
				require.Zero(t, cancelled)
			}
			if test.silent {
				require.Empty(t, reported)
				return
			}
			require.Len(t, reported, 1)
			require.Equal(t, test.end, reported[0].End)
			require.Contains(t, reported[0].Text, test.text)
			require.Equal(t, test.job, reported[0].Job)
			if test.how != "" {
				require.Equal(t, activities.Sealed("newest"), reported[0].Claim.Credentials)
			}
		})
	}
}
