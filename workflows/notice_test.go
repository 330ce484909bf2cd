package workflows

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// A job that people are told of has its notices' run, once, whatever becomes of that.
func TestNoticesHoldNoJob(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		task   string
		kinds  []activities.NoticeKind
		fails  bool
		starts int
	}{
		"told":           {"reboot", []activities.NoticeKind{activities.NoticeEmail}, false, 1},
		"nobody is told": {"reboot", nil, false, 0},
		"they fail":      {"reboot", []activities.NoticeKind{activities.NoticeEmail}, true, 1},
		"a read":         {"ping", []activities.NoticeKind{activities.NoticeEmail}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.task, "ssh_reboot")
			w.answers, w.ups = []answer{wentDown}, []activities.Sight{up}
			w.plan.Notices = activities.Notices{Kinds: test.kinds, Limit: config.Duration(time.Hour)}
			var inputs []NoticeInput
			w.env.OnWorkflow(NoticeType, mock.Anything, mock.Anything).Return(func(ctx workflow.Context, in NoticeInput) error {
				inputs = append(inputs, in)
				if test.fails {
					return temporal.NewNonRetryableApplicationError("no", "no", nil)
				}
				return workflow.Sleep(ctx, 48*time.Hour)
			}).Maybe()
			w.env.OnActivity(a.Ping, mock.Anything, mock.Anything).Return(activities.PingResult{Text: "pong"}, nil).Maybe()
			r, err := w.run(t, test.task)
			require.NoError(t, err)
			require.NotEqual(t, Failed, r.Outcome)
			require.Less(t, r.EndedAt.Sub(r.StartedAt), time.Hour, "it waits for no notice")
			require.Len(t, inputs, test.starts)
			if test.starts > 0 {
				require.Equal(t, "ms1-10", inputs[0].Notice.WorkerID)
				require.Equal(t, activities.JobBegan, inputs[0].Notice.Event)
			}
		})
	}
}

// Each notice is tried by itself; the end is told as the job's record has it, and
// also of a job that left none.
func TestTell(t *testing.T) {
	t.Parallel()
	record := func(r Result) json.RawMessage {
		text, err := json.Marshal(r)
		require.NoError(t, err)
		return text
	}
	for name, test := range map[string]struct {
		closed  activities.Closed
		fails   bool
		outcome string
		off     bool
		text    string
		bug     string
	}{
		"back":       {closed: activities.Closed{How: "completed", Record: record(Result{Outcome: Back, Attempts: []Attempt{{Rung: "ssh_reboot", Outcome: Back}}})}, outcome: "back", text: "`ssh_reboot` back"},
		"off":        {closed: activities.Closed{How: "failed", Record: record(Result{Outcome: StillOff, Off: true, Bug: &Bug{URL: "https://bugs.example/7"}})}, outcome: "off", off: true, text: "**OFF:", bug: "https://bugs.example/7"},
		"terminated": {closed: activities.Closed{How: "terminated"}, outcome: "terminated", text: "left no record"},
		"one fails":  {closed: activities.Closed{How: "completed", Record: record(Result{Outcome: Back})}, fails: true, outcome: "back"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot")
			var mu sync.Mutex
			told := map[string]activities.Notice{}
			w.env.OnActivity(a.AwaitClosed, mock.Anything, mock.Anything).Return(test.closed, nil)
			note := func(fails bool) func(context.Context, activities.Notice) error {
				return func(_ context.Context, n activities.Notice) error {
					mu.Lock()
					defer mu.Unlock()
					told[string(n.Kind)+" "+n.Event] = n
					if fails {
						return temporal.NewNonRetryableApplicationError("no", string(activities.Refused), nil)
					}
					return nil
				}
			}
			w.env.OnActivity(a.TaskclusterNotify, mock.Anything, mock.Anything).Return(note(test.fails))
			w.env.OnActivity(a.WebhookNotify, mock.Anything, mock.Anything).Return(note(false))
			w.env.ExecuteWorkflow(NoticeType, NoticeInput{
				Kinds: []activities.NoticeKind{activities.NoticeEmail, activities.NoticeWebhook}, Limit: config.Duration(time.Hour),
				Heartbeat: config.Duration(time.Minute),
				Notice:    activities.Notice{Event: activities.JobBegan, Task: "reboot", WorkflowID: "machine/mdc1/ms1-10", TaskID: "the-run"},
			})
			require.True(t, w.env.IsWorkflowCompleted())
			require.Equal(t, test.fails, w.env.GetWorkflowError() != nil, "%v", w.env.GetWorkflowError())
			require.Len(t, told, 4)
			for _, kind := range []string{"email", "webhook"} {
				require.Empty(t, told[kind+" start"].Outcome)
				end := told[kind+" end"]
				require.Equal(t, test.outcome, end.Outcome)
				require.Equal(t, test.off, end.Off)
				require.Contains(t, end.Text, test.text)
				require.Equal(t, test.bug, end.Bug)
				if test.off {
					require.Regexp(t, `^\*\*OFF`, end.Text, "the first line")
				}
			}
		})
	}
}
