package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// hooked is a receiver of notices. Its first answers are failures.
type hooked struct {
	mu    sync.Mutex
	fails int
	got   []map[string]any
}

func (h *hooked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a text that is cut is no JSON
	var notice map[string]any
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fails > 0 || json.Unmarshal(body, &notice) != nil {
		h.fails--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h.got = append(h.got, notice)
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
	const key = "e2e-webhook-key-of-more-than-32-characters"
	s, _ := newTaskclusterSite(t, map[string]string{
		"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "NOTIFY_WEBHOOK_URL": server.URL, "NOTIFY_WEBHOOK_KEY": key,
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
	require.NotContains(t, logs, key)
	require.NotContains(t, logs, "DATA RACE")
	s.noSecrets(t, "gone")
}
