package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const (
	jobsPath = "/api/v1/workers/ms1-10/group/mdc1/jobs"
	jobPath  = jobsPath + "/" + taskID
)

var began = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// climbing is a job on its second rung.
func climbing() starter.View {
	return starter.View{
		Job:     starter.Job{Task: "ipmi_reset", TaskID: taskID, WorkflowID: "machine/mdc1/ms1-10"},
		Machine: "mdc1/ms1-10", Status: running, Rung: "ipmi_reset", ClientID: sheriff.ClientID, StartedAt: began, Live: true,
		Result: &workflows.Result{
			Task: "ipmi_reset", Outcome: workflows.Running, Now: "watching", Next: []string{"ipmi_cycle"},
			Attempts: []workflows.Attempt{
				{Rung: "ssh_reboot", StartedAt: began, EndedAt: began.Add(time.Second), Outcome: workflows.NotSent, Why: "no ssh"},
				{Rung: "ipmi_reset", StartedAt: began.Add(time.Second), Sent: "chassis power reset", SentAt: began.Add(2 * time.Second), Outcome: workflows.Running},
			},
		},
	}
}

func ended() starter.View {
	v := climbing()
	v.Status, v.Outcome, v.Off, v.ClosedAt, v.Live = "Completed", "bug_filed", "ipmi_off", began.Add(time.Minute), false
	v.Result = &workflows.Result{
		Outcome: workflows.BugFiled, Why: "not back", Loan: &workflows.LoanReading{ClientID: "monitor", Since: began}, Bug: &workflows.Bug{ID: 7, URL: "https://bugzilla.test/show_bug.cgi?id=7", WorkflowID: "bug/mdc1/ms1-10"},
	}
	return v
}

func withJob(v starter.View) func(*harness) { return func(h *harness) { h.starter.view = v } }

func (h *harness) get(path string, who tcclient.Credentials) answer {
	h.t.Helper()
	return h.do(h.signed(http.MethodGet, path, who))
}

func TestGetJob(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		view starter.View
		want string
	}{
		"runs": {climbing(), `{"task_id":"` + taskID + `","task_name":"ipmi_reset","worker_id":"ms1-10","worker_group":"mdc1",
			"client_id":"mozilla-auth0/ad|sheriff","state":"running","outcome":"running","rung":"ipmi_reset","started_at":"2026-01-02T03:00:00Z",
			"workflow_id":"machine/mdc1/ms1-10","live":true,"cancelling":false,"now":"watching","next":["ipmi_cycle"],"attempts":[
			{"rung":"ssh_reboot","started_at":"2026-01-02T03:00:00Z","ended_at":"2026-01-02T03:00:01Z","outcome":"not_sent","why":"no ssh"},
			{"rung":"ipmi_reset","started_at":"2026-01-02T03:00:01Z","sent":"chassis power reset","sent_at":"2026-01-02T03:00:02Z","outcome":"running"}]}`},
		"has ended": {ended(), `{"task_id":"` + taskID + `","task_name":"ipmi_reset","worker_id":"ms1-10","worker_group":"mdc1",
			"client_id":"mozilla-auth0/ad|sheriff","state":"completed","outcome":"bug_filed","rung":"ipmi_reset","off":"ipmi_off",
			"started_at":"2026-01-02T03:00:00Z","ended_at":"2026-01-02T03:01:00Z","workflow_id":"machine/mdc1/ms1-10","live":false,"cancelling":false,
			"on_loan":{"client_id":"monitor","since":"2026-01-02T03:00:00Z"},
			"why":"not back","attempts":[],"bug":{"id":7,"url":"https://bugzilla.test/show_bug.cgi?id=7","workflow_id":"bug/mdc1/ms1-10"}}`},
		"left no record": {starter.View{
			Job: starter.Job{Task: "reboot", TaskID: taskID, WorkflowID: "w"}, Machine: "mdc1/ms1-10", Status: "Terminated", StartedAt: began, ClosedAt: began,
		}, `{"task_id":"` + taskID + `","task_name":"reboot","worker_id":"ms1-10","worker_group":"mdc1","client_id":"","state":"terminated",
			"outcome":"","started_at":"2026-01-02T03:00:00Z","ended_at":"2026-01-02T03:00:00Z","workflow_id":"w","live":false,"cancelling":false,"attempts":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			withJob(tc.view)(h)
			for _, who := range []tcclient.Credentials{sheriff, monitor} {
				a := h.get(jobPath, who)
				require.Equal(t, http.StatusOK, a.status, a.body)
				require.JSONEq(t, tc.want, a.body)
			}
			a := h.get("/api/v1/workers/MS1-10/jobs/"+strings.ToUpper(taskID)+"?worker_group=mdc1", monitor)
			require.Equal(t, http.StatusOK, a.status, a.body)
			require.Equal(t, tc.view.Task, h.line()["task"])
			require.Equal(t, taskID, h.line()["task_id"])
		})
	}
}

// viewPaths is each way to look at or end a job.
func viewPaths() map[string]string {
	return map[string]string{"GET " + jobsPath: "", "GET " + jobPath: "", "DELETE " + jobPath: "", "GET /api/v1/workers": ""}
}

func TestViewsAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		who     tcclient.Credentials
		err     error
		request func(*http.Request)
		status  int
		message string
	}{
		"to strangers":         {who: stranger, status: 403, message: `client "stranger" is missing the scope project:releng:roller:view`},
		"without a signature":  {who: sheriff, request: func(r *http.Request) { r.Header.Del("Authorization") }, status: 401, message: "is missing"},
		"for another method":   {who: sheriff, request: header(`Hawk id="monitor", ts="1", nonce="n", mac="bm8gbWF0Y2ggYXQgYWxs"`), status: 401, message: "does not match"},
		"while temporal rests": {who: sheriff, err: fmt.Errorf("%w: dial tcp", starter.ErrUnavailable), status: 503, message: "jobs cannot be looked up now"},
		"when all is wrong":    {who: sheriff, err: errors.New("a backend's own text"), status: 500, message: failedMessage},
	} {
		for path := range viewPaths() {
			t.Run(name+" "+path, func(t *testing.T) {
				t.Parallel()
				h := newHarness(t, withInventory())
				h.starter.view, h.starter.err = climbing(), tc.err
				method, target, _ := strings.Cut(path, " ")
				r := h.signed(method, target, tc.who)
				if tc.request != nil {
					tc.request(r)
				}
				a := h.do(r)
				require.Equal(t, tc.status, a.status, a.body)
				requireMessage(t, tc.message, a)
				require.Empty(t, h.starter.cancelled)
			})
		}
	}
}

func TestViewsRefuseWrongInput(t *testing.T) {
	t.Parallel()
	for path, message := range map[string]string{
		"GET " + jobsPath + "?limit=0":                         "limit: must be a whole number from 1 to 100",
		"GET " + jobsPath + "?limit=101":                       "limit: must be",
		"GET " + jobsPath + "?limit=1&limit=2":                 "limit: must stand there once",
		"GET " + jobsPath + "?task_name=format":                `task_name: "format" is not one of`,
		"GET " + jobsPath + "?outcome=fine":                    `outcome: "fine" is not one of running, back`,
		"GET " + jobsPath + "?continuationToken=%2B":           "continuationToken: must be that of an earlier page",
		"GET /api/v1/workers/-x/group/mdc1/jobs":               "worker_id: must not begin with -",
		"GET " + jobsPath + "/1":                               "task_id: must be a UUID",
		"GET " + jobsPath + "/{" + taskID + "}":                "task_id: must be a UUID",
		"GET " + jobPath + "?wait=51s":                         "wait: must be a time from 0s to 50s",
		"GET " + jobPath + "?wait=soon":                        "wait: must be",
		"DELETE " + jobsPath + "/1":                            "task_id: must be a UUID",
		"GET /api/v1/workers?worker_group=a.b":                 "worker_group: must be 1 to 128 characters",
		"GET /api/v1/workers?limit=x":                          "limit: must be",
		"GET /api/v1/workers?worker_group=a&worker_group=mdc1": "worker_group: must stand there once",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, withInventory())
			method, target, _ := strings.Cut(path, " ")
			a := h.do(h.signed(method, target, sheriff))
			require.Equal(t, http.StatusBadRequest, a.status, a.body)
			requireMessage(t, message, a)
		})
	}
}

func TestNoSuchJob(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	withJob(climbing())(h)
	for _, path := range []string{jobsPath + "/e62c4d06-8101-4074-b3c2-c639005a4431", "/api/v1/workers/ms1-11/group/mdc1/jobs/" + taskID} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			a := h.do(h.signed(method, path, sheriff))
			require.Equal(t, http.StatusNotFound, a.status, a.body)
			requireMessage(t, "no such job on this machine", a)
		}
	}
	require.Empty(t, h.starter.cancelled)
}

func TestListJobs(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withInventory())
	withJob(ended())(h)
	h.starter.next = []byte("\xff\xfepage 2")
	a := h.get(jobsPath+"?task_name=xen_reboot&outcome=bug_filed&limit=7", monitor)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.JSONEq(t, `{"jobs":[{"task_id":"`+taskID+`","task_name":"ipmi_reset","worker_id":"ms1-10","worker_group":"mdc1",
		"client_id":"mozilla-auth0/ad|sheriff","state":"completed","outcome":"bug_filed","rung":"ipmi_reset","off":"ipmi_off",
		"started_at":"2026-01-02T03:00:00Z","ended_at":"2026-01-02T03:01:00Z","workflow_id":"machine/mdc1/ms1-10"}],"continuationToken":"__5wYWdlIDI"}`, a.body)
	// The token leads to the next page; a machine without a group is the same one.
	a = h.get("/api/v1/workers/MS1-10/jobs?continuationToken=__5wYWdlIDI", monitor)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, []string{"7 ", "20 \xff\xfepage 2"}, h.starter.tokens)
	n := config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}
	require.Equal(t, []starter.Filter{{Machine: n, Task: "xenapi_reboot", Outcome: workflows.BugFiled}, {Machine: n}}, h.starter.filters)

	// A machine that nobody knows is a mistake, unless it was known once.
	require.Equal(t, http.StatusOK, h.get("/api/v1/workers/gone/jobs", monitor).status)
	require.Equal(t, config.Name{WorkerID: "gone"}, h.starter.filters[2].Machine)
	h.starter.view = starter.View{}
	a = h.get(jobsPath, monitor)
	require.JSONEq(t, `{"jobs":[]}`, a.body)
	require.Equal(t, http.StatusNotFound, h.get("/api/v1/workers/gone/jobs", monitor).status)
	h.starter.err = fmt.Errorf("%w: x", starter.ErrToken)
	require.Equal(t, http.StatusBadRequest, h.get(jobsPath+"?continuationToken=AAAA", monitor).status)
}

func TestCancelJob(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	withJob(climbing())(h)
	remove := func(who tcclient.Credentials) answer { return h.do(h.signed(http.MethodDelete, jobPath, who)) }
	a := remove(monitor)
	require.Equal(t, http.StatusForbidden, a.status, "who may look may not end")
	requireMessage(t, "is missing the scope project:releng:roller:ipmi_reset", a)
	require.Empty(t, h.starter.cancelled)
	a = remove(sheriff)
	require.Equal(t, http.StatusAccepted, a.status, a.body)
	require.Contains(t, a.body, `"cancelling":true`)
	require.Equal(t, []string{"machine/mdc1/ms1-10 " + taskID}, h.starter.cancelled)
	require.Equal(t, "cancelled", h.line()["decision"])
	require.Equal(t, "ipmi_reset", h.line()["task"])

	h.starter.view.Task = "reboot"
	requireMessage(t, "is missing the scope project:releng:roller:reboot", remove(sheriff))
	h.starter.view.Task = workflows.PowerOnType
	requireMessage(t, "power_on is roller's own job", remove(sheriff))
	require.Len(t, h.starter.cancelled, 1)
	h.starter.view = ended()
	a = remove(sheriff)
	require.Equal(t, http.StatusConflict, a.status, a.body)
	requireMessage(t, "the job has ended already", a)
}

func TestWaitForAJob(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	withJob(climbing())(h)
	seen := h.get(jobPath, monitor).header.Get("ETag")
	require.NotEmpty(t, seen)
	wait := func(etag string) answer {
		r := h.signed(http.MethodGet, jobPath+"?wait=30s", monitor)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		return h.do(r)
	}
	// Events that change nothing which is shown do not end the wait.
	looks := 0
	h.starter.change = func(_ context.Context, v starter.View) (starter.View, error) {
		if looks++; looks == 3 {
			v.Rung = "ipmi_cycle"
		}
		return v, nil
	}
	a := wait("")
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.body, `"rung":"ipmi_cycle"`)
	require.Equal(t, 3, looks)
	// What the asker has not seen yet is not waited for.
	h.starter.change = func(context.Context, starter.View) (starter.View, error) { panic("nothing to wait for") }
	a = wait(seen)
	require.Equal(t, http.StatusOK, a.status)
	require.NotEqual(t, seen, a.header.Get("ETag"))
	h.starter.change = func(context.Context, starter.View) (starter.View, error) { return ended(), nil }
	a = wait(a.header.Get("ETag"))
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.body, `"state":"completed"`)
	a = wait(a.header.Get("ETag")) // nothing changes any more
	require.Equal(t, http.StatusNotModified, a.status)
	require.Empty(t, a.body)
}

// If-None-Match is a list, and its comparison is the weak one: proxies that compress
// weaken tags.
func TestIfNoneMatch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	withJob(climbing())(h)
	tag := h.get(jobPath, monitor).header.Get("ETag")
	for said, status := range map[string]int{
		tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, `"x",W/` + tag + `, "y"`: 304, "*": 304,
		`"x"`: 200, "x": 200, strings.Trim(tag, `"`): 200, `"x", "y"`: 200,
	} {
		r := h.signed(http.MethodGet, jobPath, monitor)
		r.Header.Set("If-None-Match", said)
		a := h.do(r)
		require.Equal(t, status, a.status, said)
		require.Equal(t, tag, a.header.Get("ETag"))
	}
	r := h.signed(http.MethodGet, jobPath, monitor)
	r.Header["If-None-Match"] = []string{`"x"`, tag}
	require.Equal(t, http.StatusNotModified, h.do(r).status, "two headers are one list")

	// Who says so is let wait.
	waited := 0
	h.starter.change = func(context.Context, starter.View) (starter.View, error) { waited++; return ended(), nil }
	r = h.signed(http.MethodGet, jobPath+"?wait=30s", monitor)
	r.Header.Set("If-None-Match", `"x", W/`+tag)
	require.Equal(t, http.StatusOK, h.do(r).status)
	require.Equal(t, 1, waited)
}

// What has changed when the wait is over is shown, whole.
func TestWaitIsOverWithAChange(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	withJob(climbing())(h)
	h.starter.change = func(context.Context, starter.View) (starter.View, error) { return ended(), nil }
	h.starter.onShow = func(ctx context.Context) {
		deadline, ok := ctx.Deadline()
		require.True(t, !ok || time.Until(deadline) > time.Minute, "it is not cut short by the wait's end")
	}
	a := h.get(jobPath+"?wait=0.05", monitor)
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.body, `"state":"completed"`)
}

// No request has a body: it would not be signed.
func TestReadsHaveNoBody(t *testing.T) {
	t.Parallel()
	for _, path := range []string{jobsPath, jobPath, "/api/v1/workers"} {
		h := newHarness(t, withInventory())
		withJob(climbing())(h)
		r := h.signed(http.MethodGet, path, sheriff)
		setBody(r, "{}", 2)
		a := h.do(r)
		require.Equal(t, http.StatusBadRequest, a.status, path)
		requireMessage(t, "body: must be empty", a)
	}
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	withJob(climbing())(h)
	h.starter.change = func(ctx context.Context, v starter.View) (starter.View, error) {
		<-ctx.Done()
		return v, ctx.Err()
	}
	a := h.get(jobPath+"?wait=0.05", monitor)
	require.Equal(t, http.StatusOK, a.status)
	require.Contains(t, a.body, `"state":"running"`)
}

func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withServer(func(s *server) { require.True(t, s.waiting.TryAcquire(mostWaiting)) }))
	withJob(climbing())(h)
	h.starter.change = func(context.Context, starter.View) (starter.View, error) { panic("too many wait already") }
	require.Equal(t, http.StatusOK, h.get(jobPath+"?wait=30s", monitor).status)
}

func TestListWorkers(t *testing.T) {
	t.Parallel()
	machines := []config.Machine{}
	for _, name := range []config.Name{{WorkerGroup: "mdc1", WorkerID: "a"}, {WorkerGroup: "mdc1", WorkerID: "b"}, {WorkerGroup: "mdc2", WorkerID: "a"}} {
		machines = append(machines, config.Machine{Name: name, FQDN: name.WorkerID + "." + name.WorkerGroup + ".test"})
	}
	inventory := config.NewInventory(machines...)
	h := newHarness(t, withServer(func(s *server) { s.Inventory = func() *config.Inventory { return inventory } }))
	v := ended()
	withJob(v)(h)
	loan := workflows.LoanReading{ClientID: sheriff.ClientID, Why: "bug 1", Since: began, Until: began.AddDate(10, 0, 0), Bug: "https://bugzilla.test/show_bug.cgi?id=8"}
	h.starter.loans = map[string]workflows.LoanReading{"mdc1/b": loan, "mdc1/gone": {Since: began}}
	var page struct {
		Workers []struct {
			WorkerID    string          `json:"worker_id"`
			WorkerGroup string          `json:"worker_group"`
			FQDN        string          `json:"fqdn"`
			LastJob     json.RawMessage `json:"last_job"`
			OnLoan      json.RawMessage `json:"on_loan"`
		} `json:"workers"`
		ContinuationToken string `json:"continuationToken"`
	}
	var seen []string
	path := "/api/v1/workers?limit=2"
	for path != "" {
		a := h.get(path, monitor)
		require.Equal(t, http.StatusOK, a.status, a.body)
		page.ContinuationToken = ""
		require.NoError(t, json.Unmarshal([]byte(a.body), &page))
		for _, w := range page.Workers {
			seen = append(seen, w.FQDN)
			require.Contains(t, string(w.LastJob), taskID)
			if w.FQDN != "b.mdc1.test" {
				require.Equal(t, "null", string(w.OnLoan))
				continue
			}
			require.JSONEq(t, `{"client_id":"mozilla-auth0/ad|sheriff","why":"bug 1","since":"2026-01-02T03:00:00Z","until":"2036-01-02T03:00:00Z",
				"bug":"https://bugzilla.test/show_bug.cgi?id=8"}`, string(w.OnLoan))
		}
		if path = ""; page.ContinuationToken != "" {
			path = "/api/v1/workers?limit=2&continuationToken=" + page.ContinuationToken
		}
	}
	require.Equal(t, []string{"a.mdc1.test", "b.mdc1.test", "a.mdc2.test"}, seen)
	require.Contains(t, h.starter.filters, starter.Filter{Machine: config.Name{WorkerGroup: "mdc2", WorkerID: "a"}})
	a := h.get("/api/v1/workers?on_loan=true&limit=1", monitor)
	require.NoError(t, json.Unmarshal([]byte(a.body), &page), a.body)
	require.Len(t, page.Workers, 1, "those on loan only")
	require.Equal(t, "b.mdc1.test", page.Workers[0].FQDN)
	require.NotContains(t, a.body, "continuationToken")
	a = h.get("/api/v1/workers?on_loan=false", monitor)
	require.Equal(t, http.StatusBadRequest, a.status, a.body)
	h.starter.view = starter.View{}
	a = h.get("/api/v1/workers?worker_group=MDC2", monitor)
	require.JSONEq(t, `{"workers":[{"worker_id":"a","worker_group":"mdc2","fqdn":"a.mdc2.test","last_job":null,"on_loan":null}]}`, a.body)
}

func TestNoInventoryNoWorkers(t *testing.T) {
	t.Parallel()
	a := newHarness(t).get("/api/v1/workers", monitor)
	require.Equal(t, http.StatusNotFound, a.status)
	requireMessage(t, "this API was given no inventory", a)
}
