package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const webhookKey = "e2e-webhook-key-of-more-than-32-characters"

// hooked is a receiver of notices that takes only what is signed, as docs/notices.md
// says. Its first answers are failures.
type hooked struct {
	mu     sync.Mutex
	fails  int
	down   bool
	got    []map[string]any
	forged int // posts whose signature was not that of the key
}

func (h *hooked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a text that is cut has another signature
	var notice map[string]any
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.fails > 0 || h.down:
		h.fails--
		w.WriteHeader(http.StatusInternalServerError)
	case !genuine(r.Header, body) || json.Unmarshal(body, &notice) != nil:
		h.forged++
		w.WriteHeader(http.StatusUnauthorized)
	default:
		notice["delivery"] = r.Header.Get("Roller-Delivery")
		h.got = append(h.got, notice)
	}
}

// genuine checks a post as docs/notices.md tells receivers to.
func genuine(header http.Header, body []byte) bool {
	timestamp := header.Get("Roller-Timestamp")
	mac := hmac.New(sha256.New, []byte(webhookKey))
	mac.Write(append([]byte(timestamp+"."), body...))
	at, err := strconv.ParseInt(timestamp, 10, 64)
	return err == nil && time.Since(time.Unix(at, 0)).Abs() < 5*time.Minute &&
		hmac.Equal([]byte(header.Get("Roller-Signature")), []byte("v1="+hex.EncodeToString(mac.Sum(nil))))
}

func (h *hooked) setDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

// of returns the notices of one job's event.
func (h *hooked) of(taskID, event string) []map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.got), func(n map[string]any) bool { return n["task_id"] != taskID || n["event"] != event })
}

// Jobs are told of at their start and their end, also one that was terminated; no
// notice that fails holds a job or makes it fail; and all that costs a job few events.
func TestNotices(t *testing.T) {
	t.Parallel()
	receiver := &hooked{fails: 2}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	s, _ := newTaskclusterSite(t, map[string]string{
		"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "NOTIFY_WEBHOOK_URL": server.URL, "NOTIFY_WEBHOOK_KEY": webhookKey,
		"NOTIFY_EMAIL": "relops@example.com", "NOTIFY_REQUESTERS": "mozilla-auth0/ad|Mozilla-LDAP|=example.com", "NOTIFY_SLACK_CHANNEL": "C1",
		"NOTIFY_LIMIT": "30s", "UP_TIMEOUT": "60s",
	}, nil,
		lab.Spec{WorkerID: "well", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "gone", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}},
		lab.Spec{WorkerID: "long", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: time.Minute}})
	long := s.job(t, "reboot", s.lab.Machine("long"))
	well, gone := s.job(t, "reboot", s.lab.Machine("well")), s.job(t, "reboot", s.lab.Machine("gone"))
	r, v := s.end(t, well)
	require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	events := len(s.history(t, v.Job))
	t.Logf("%d events of 42", events)
	require.LessOrEqual(t, events, 42)
	require.Equal(t, "ping", s.job(t, "ping", s.lab.Machine("well")).Task)
	s.until(t, long, "it runs", func(r workflows.Result) bool { return len(r.Attempts) > 0 })
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), long.WorkflowID, long.TaskID, "by hand"))
	_, _ = s.end(t, gone)
	for job, outcome := range map[string]string{well.TaskID: "back", gone.TaskID: "bug_filed", long.TaskID: "terminated"} {
		require.Eventually(t, func() bool { return len(receiver.of(job, "start")) == 1 && len(receiver.of(job, "end")) == 1 },
			enough, 100*time.Millisecond, outcome)
		require.Equal(t, outcome, receiver.of(job, "end")[0]["outcome"])
		require.Equal(t, sheriff, receiver.of(job, "start")[0]["client_id"])
	}
	require.NotEmpty(t, receiver.of(gone.TaskID, "end")[0]["bug"])
	mails := func(to string) int {
		return len(slices.DeleteFunc(s.tc.Notices(), func(n lab.TaskclusterNotice) bool { return n.Kind != "email" || n.To != to }))
	}
	require.Eventually(t, func() bool { return mails("relops@example.com") == 6 && mails("sheriff@example.com") == 6 },
		enough, 100*time.Millisecond, "three jobs, twice each; roller has no scope for Slack, which keeps back nothing else")
	logs, err := s.Logs()
	require.NoError(t, err)
	require.Contains(t, logs, "notify:slack-channel:C1", "what could not be delivered is in the log")
	require.NotContains(t, logs, webhookKey)
	require.NotContains(t, logs, "DATA RACE")
	s.noSecrets(t, "gone")
}

// noticesOf returns what the notify service told of a job, by kind, address and event, and
// what the webhook's receiver took.
func (s *site) noticesOf(job starter.Job, receiver *hooked) []string {
	var all []string
	for _, n := range s.tc.Notices() {
		text := fmt.Sprint(n.Request["content"], n.Request["body"], n.Request["text"]) // an email's, Matrix's, Slack's
		if regexp.MustCompile(`run ` + job.TaskID).MatchString(text) {
			event := "end"
			if regexp.MustCompile(job.Task + ` requested`).MatchString(fmt.Sprint(n.Request["subject"], text)) {
				event = "start"
			}
			all = append(all, n.Kind+" "+n.To+" "+event)
		}
	}
	for _, event := range []string{"start", "end"} {
		for range receiver.of(job.TaskID, event) {
			all = append(all, "webhook "+event)
		}
	}
	slices.Sort(all)
	return all
}

// undelivered reads the metric of notices that were given up, by kind and event.
func undelivered(t *testing.T, address string) []string {
	t.Helper()
	var all []string
	for _, line := range regexp.MustCompile(`(?m)^roller_notices_undelivered_total\{(.*)\} (\d+)$`).FindAllStringSubmatch(scrape(t, address), -1) {
		label := func(name string) string {
			return regexp.MustCompile(`(?:^|,)` + name + `="(\w+)"`).FindStringSubmatch(line[1])[1]
		}
		all = append(all, label("kind")+" "+label("event")+" "+line[2])
	}
	slices.Sort(all)
	return all
}

// Every way to tell people delivers a job's start and its end: Taskcluster's notify
// service takes each request by its own schema, and the webhook's receiver each
// signature. What cannot be delivered holds no job, fails none, and is counted.
func TestNoticesDelivered(t *testing.T) {
	t.Parallel()
	receiver := &hooked{}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	s, _ := newTaskclusterSite(t, map[string]string{
		"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "NOTIFY_WEBHOOK_URL": server.URL, "NOTIFY_WEBHOOK_KEY": webhookKey,
		"NOTIFY_EMAIL": "relops@example.com", "NOTIFY_REQUESTERS": "mozilla-auth0/ad|Mozilla-LDAP|=example.com",
		"NOTIFY_MATRIX_ROOM": "!relops:example.org", "NOTIFY_SLACK_CHANNEL": "C123456GZ", "NOTIFY_LIMIT": "1h", "UP_TIMEOUT": "60s",
	}, nil,
		lab.Spec{WorkerID: "well", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "gone", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}})
	port, err := stack.Port(0)
	require.NoError(t, err)
	metrics := fmt.Sprintf("127.0.0.1:%d", port)
	replaced := func(env map[string]string) {
		s.Workers[len(s.Workers)-1].Stop()
		maps.Copy(s.Env, env)
		_, err := s.StartWorker()
		require.NoError(t, err)
	}
	replaced(map[string]string{"METRICS_ADDR": metrics})
	all := []string{
		"email relops@example.com end", "email relops@example.com start", "email sheriff@example.com end", "email sheriff@example.com start",
		"matrix !relops:example.org end", "matrix !relops:example.org start", "slack C123456GZ end", "slack C123456GZ start", "webhook end", "webhook start",
	}

	well, gone := s.job(t, "reboot", s.lab.Machine("well")), s.job(t, "reboot", s.lab.Machine("gone"))
	_, _ = s.end(t, well)
	r, _ := s.end(t, gone)
	require.Equal(t, workflows.BugFiled, r.Outcome, "%s", pretty(r))
	for _, job := range []starter.Job{well, gone} {
		require.Eventually(t, func() bool { return slices.Equal(all, s.noticesOf(job, receiver)) }, enough, 100*time.Millisecond, "all are told of %s", job.WorkflowID)
	}
	require.Equal(t, well.TaskID+"/end", receiver.of(well.TaskID, "end")[0]["delivery"])
	require.True(t, slices.ContainsFunc(s.tc.Notices(), func(n lab.TaskclusterNotice) bool {
		link, linked := n.Request["link"].(map[string]any)
		return n.Kind == "email" && linked && link["href"] == r.Bug.URL
	}), "the mail has the bug's link")
	require.Empty(t, undelivered(t, metrics))

	s.tc.SetNoticeStatus("email", http.StatusInternalServerError)
	s.tc.SetNoticeStatus("matrix", http.StatusInternalServerError)
	s.tc.SetNoticeStatus("slack", http.StatusForbidden)
	receiver.setDown(true)
	ill := s.job(t, "reboot", s.lab.Machine("well"))
	r, _ = s.end(t, ill)
	require.Equal(t, workflows.Back, r.Outcome, "it does not fail: %s", pretty(r))
	require.Empty(t, s.noticesOf(ill, receiver), "and did not wait for them")
	description, err := s.client.DescribeWorkflowExecution(t.Context(), workflows.NoticeID(ill.TaskID), "")
	require.NoError(t, err)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, description.GetWorkflowExecutionInfo().GetStatus())
	s.tc.SetNoticeStatus("email", 0)
	s.tc.SetNoticeStatus("matrix", 0)
	receiver.setDown(false)
	require.Eventually(t, func() bool {
		return slices.Equal(slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n[:5] == "slack" }), s.noticesOf(ill, receiver))
	}, enough, 100*time.Millisecond, "what can be delivered later is")
	require.Eventually(t, func() bool { return slices.Equal([]string{"slack end 1", "slack start 1"}, undelivered(t, metrics)) },
		enough, 200*time.Millisecond, "a refusal is counted at once")

	replaced(map[string]string{"NOTIFY_LIMIT": "2s"})
	for _, kind := range []string{"email", "matrix", "slack"} {
		s.tc.SetNoticeStatus(kind, http.StatusInternalServerError)
	}
	receiver.setDown(true)
	r, _ = s.end(t, s.job(t, "reboot", s.lab.Machine("well")))
	require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	require.Eventually(t, func() bool {
		return slices.Equal([]string{
			"email end 1", "email start 1", "matrix end 1", "matrix start 1", "requester end 1", "requester start 1",
			"slack end 1", "slack start 1", "webhook end 1", "webhook start 1",
		}, undelivered(t, metrics))
	}, enough, 200*time.Millisecond, "and so is what failed for NOTIFY_LIMIT")
	require.Zero(t, receiver.forged)
	s.noSecrets(t, "well")
}
