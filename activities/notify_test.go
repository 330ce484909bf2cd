package activities

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	common "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

const noticeKey = "s3cret-key-of-more-than-32-characters"

var aNotice = Notice{
	Event: JobEnded, Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1", FQDN: "ms1-10.test.releng.mdc1.mozilla.com",
	ClientID: "mozilla-auth0/ad|Mozilla-LDAP|sheriff", WorkflowID: "machine/mdc1/ms1-10", TaskID: "the-run", Outcome: "back",
}

// withConfig is the activities of a worker with this environment and no machine.
func withConfig(t *testing.T, environ ...string) *Activities {
	t.Helper()
	cfg, err := config.Load(environ)
	require.NoError(t, err)
	return New(cfg, func() *config.Inventory { return config.NewInventory() })
}

// nothing adapts an activity without a result.
func nothing(f func(context.Context, Notice) error) func(context.Context, Notice) (struct{}, error) {
	return func(ctx context.Context, n Notice) (struct{}, error) { return struct{}{}, f(ctx, n) }
}

func TestTaskclusterNotify(t *testing.T) {
	t.Parallel()
	tc, err := lab.NewTaskcluster(lab.Client{ID: "roller", AccessToken: "s3cret-roller", Scopes: []string{
		"notify:email:*@mozilla.com", "notify:email:sheriff@*", "notify:email:relops@*", "notify:matrix-room:!r:x", "notify:slack-channel:C1",
	}})
	require.NoError(t, err)
	root, err := tc.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, tc.Close())
		require.Empty(t, tc.Mistakes())
	})
	a := withConfig(t, "TASKCLUSTER_ROOT_URL="+root, "TASKCLUSTER_CLIENT_ID=roller", "TASKCLUSTER_ACCESS_TOKEN=s3cret-roller", "TASKCLUSTER_TIMEOUT=5s",
		"NOTIFY_EMAIL=relops@mozilla.com,relops@example.com", "NOTIFY_MATRIX_ROOM=!r:x", "NOTIFY_SLACK_CHANNEL=C1",
		"NOTIFY_REQUESTERS=mozilla-auth0/ad|Mozilla-LDAP|=mozilla.com")
	send := func(change func(*Notice)) ([]lab.TaskclusterNotice, error) {
		n, before := aNotice, len(tc.Notices())
		change(&n)
		_, err := execute(t, nothing(a.TaskclusterNotify), n, call{})
		return tc.Notices()[before:], err
	}
	sent, err := send(func(n *Notice) { n.Kind, n.Text = NoticeEmail, "1. `ssh_reboot` back" })
	require.NoError(t, err)
	require.Equal(t, []string{"relops@mozilla.com", "relops@example.com"}, []string{sent[0].To, sent[1].To})
	require.Equal(t, "mdc1 ms1-10[ms1-10.test.releng.mdc1.mozilla.com] reboot: back", sent[0].Request["subject"])
	require.Contains(t, sent[0].Request["content"], "1. `ssh_reboot` back\nRequested by mozilla-auth0/ad|Mozilla-LDAP|sheriff.\n")
	require.NotContains(t, sent[0].Request, "link")

	sent, err = send(func(n *Notice) { n.Kind, n.Off, n.Bug = NoticeEmail, true, "https://bugs.example/7" })
	require.NoError(t, err)
	require.Regexp(t, "^OFF: mdc1 ms1-10", sent[0].Request["subject"])
	require.Regexp(t, "^\\*\\*OFF: roller powered", sent[0].Request["content"], "the first line")
	require.Equal(t, map[string]any{"text": "The bug", "href": "https://bugs.example/7"}, sent[0].Request["link"])

	sent, err = send(func(n *Notice) { n.Kind, n.Event = NoticeRequester, JobBegan })
	require.NoError(t, err)
	require.Equal(t, "sheriff@mozilla.com", sent[0].To)
	require.Contains(t, sent[0].Request["subject"], "reboot requested")
	sent, err = send(func(n *Notice) { n.Kind, n.ClientID = NoticeRequester, "project/bot" })
	require.NoError(t, err)
	require.Empty(t, sent, "nobody knows their address")

	for kind, to := range map[NoticeKind]string{NoticeMatrix: "!r:x", NoticeSlack: "C1"} {
		sent, err = send(func(n *Notice) { n.Kind = kind })
		require.NoError(t, err)
		require.Equal(t, to, sent[0].To)
	}
	sent, err = send(func(n *Notice) { n.Kind, n.Text = NoticeEmail, strings.Repeat("x", 200_000) })
	require.NoError(t, err, "a long text is cut, so that the service takes it")
	require.Len(t, sent, 2)

	a.Config.Notices.Emails = []string{"nobody@example.com", "relops@example.com"}
	sent, err = send(func(n *Notice) { n.Kind = NoticeEmail })
	require.Contains(t, requireMeaning(t, err, Refused, false), "notify:email:nobody@example.com")
	require.Len(t, sent, 1, "an address that is refused keeps back no other")

	tc.SetDown(true)
	_, err = send(func(n *Notice) { n.Kind = NoticeSlack })
	requireMeaning(t, err, NotSent, true)
	tc.SetDown(false)
	a.Config.Notices.SlackChan = "C2"
	_, err = send(func(n *Notice) { n.Kind = NoticeSlack })
	require.Contains(t, requireMeaning(t, err, Refused, false), "notify:slack-channel:C2")
}

// The receiver checks the signature as docs/notices.md says.
func TestWebhookNotify(t *testing.T) {
	t.Parallel()
	status := http.StatusNoContent
	var got map[string]any
	var delivery string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mac := hmac.New(sha256.New, []byte(noticeKey))
		mac.Write([]byte(r.Header.Get("Roller-Timestamp")))
		mac.Write([]byte("."))
		mac.Write(body)
		at, err := strconv.ParseInt(r.Header.Get("Roller-Timestamp"), 10, 64)
		fresh := err == nil && time.Since(time.Unix(at, 0)).Abs() < 5*time.Minute
		if r.Header.Get("Roller-Signature") != "v1="+hex.EncodeToString(mac.Sum(nil)) || !fresh || json.Unmarshal(body, &got) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		delivery = r.Header.Get("Roller-Delivery")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(receiver.Close)
	a := withConfig(t, "NOTIFY_WEBHOOK_URL="+receiver.URL+"/token-in-the-path", "NOTIFY_WEBHOOK_KEY="+noticeKey)
	post := func() error {
		n := aNotice
		n.Kind = NoticeWebhook
		_, err := execute(t, nothing(a.WebhookNotify), n, call{})
		return err
	}
	require.NoError(t, post())
	require.Equal(t, "the-run/end", delivery)
	require.Equal(t, "back", got["outcome"])
	require.Equal(t, "ms1-10", got["worker_id"])
	require.NotContains(t, got, "kind")
	require.Contains(t, got["subject"], "reboot: back")

	for code, want := range map[int]struct {
		meaning Meaning
		again   bool
	}{500: {NotSent, true}, 429: {NotSent, true}, 404: {Refused, false}, 302: {Refused, false}} {
		status = code
		err := post()
		require.Contains(t, requireMeaning(t, err, want.meaning, want.again), strconv.Itoa(code))
	}
	a.Config.Notices.WebhookKey = config.NewSecret("another-key-of-more-than-32-characters")
	require.Contains(t, requireMeaning(t, post(), Refused, false), "401")
	receiver.Close()
	text := requireMeaning(t, post(), NotSent, true)
	require.NotContains(t, text, "token-in-the-path")
}

// ending is a Temporal that answers how a run ended when it is told to.
type ending struct {
	Runs
	event chan *historypb.HistoryEvent
	err   error
}

func (e ending) GetWorkflowHistory(ctx context.Context, _, _ string, wait bool, filter enumspb.HistoryEventFilterType) client.HistoryEventIterator {
	return &endingEvents{ctx: ctx, ending: e, right: wait && filter == enumspb.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT}
}

type endingEvents struct {
	ending

	ctx   context.Context
	right bool
	over  bool
}

func (e *endingEvents) HasNext() bool { return !e.over && e.right }

func (e *endingEvents) Next() (*historypb.HistoryEvent, error) {
	e.over = true
	if e.err != nil {
		return nil, e.err
	}
	select {
	case event := <-e.event:
		return event, nil
	case <-e.ctx.Done():
		return nil, e.ctx.Err()
	}
}

func TestAwaitClosed(t *testing.T) {
	t.Parallel()
	payloads := &common.Payloads{Payloads: []*common.Payload{{Data: []byte(`{"outcome":"back"}`)}}}
	for name, test := range map[string]struct {
		event *historypb.HistoryEvent
		want  Closed
	}{
		"completed": {&historypb.HistoryEvent{
			EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
			Attributes: &historypb.HistoryEvent_WorkflowExecutionCompletedEventAttributes{
				WorkflowExecutionCompletedEventAttributes: &historypb.WorkflowExecutionCompletedEventAttributes{Result: payloads},
			},
		}, Closed{"completed", payloads.GetPayloads()[0].GetData()}},
		"failed": {&historypb.HistoryEvent{
			EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
			Attributes: &historypb.HistoryEvent_WorkflowExecutionFailedEventAttributes{
				WorkflowExecutionFailedEventAttributes: &historypb.WorkflowExecutionFailedEventAttributes{Failure: &failurepb.Failure{
					FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Details: payloads}},
				}},
			},
		}, Closed{"failed", payloads.GetPayloads()[0].GetData()}},
		"cancelled": {&historypb.HistoryEvent{
			EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
			Attributes: &historypb.HistoryEvent_WorkflowExecutionCanceledEventAttributes{
				WorkflowExecutionCanceledEventAttributes: &historypb.WorkflowExecutionCanceledEventAttributes{Details: payloads},
			},
		}, Closed{"cancelled", payloads.GetPayloads()[0].GetData()}},
		"terminated": {&historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED}, Closed{How: "terminated"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := ending{event: make(chan *historypb.HistoryEvent, 1)}
			e.event <- test.event
			got, err := execute(t, (&Activities{Runs: e}).AwaitClosed, RunRef{"machine/mdc1/ms1-10", "the-run"}, call{})
			require.NoError(t, err)
			require.Equal(t, test.want.How, got.How)
			require.Equal(t, string(test.want.Record), string(got.Record))
		})
	}
	stop := make(chan struct{})
	close(stop)
	_, err := execute(t, (&Activities{Runs: ending{}}).AwaitClosed, RunRef{}, call{stop: stop})
	requireMeaning(t, err, Handover, true)
	_, err = execute(t, (&Activities{Runs: ending{err: serviceerror.NewNotFound("x")}}).AwaitClosed, RunRef{}, call{})
	requireMeaning(t, err, BadInput, false)
	_, err = execute(t, (&Activities{Runs: ending{err: serviceerror.NewUnavailable("x")}}).AwaitClosed, RunRef{}, call{})
	requireMeaning(t, err, NotSent, true)
}
