package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/taskcluster/httpbackoff/v3"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcauth"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tchooks"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"
)

var queueWorker = Client{ID: "project/relops/roller", AccessToken: "lab-worker-token", Scopes: []string{
	"queue:claim-work:proj-relops/roller", "queue:worker-id:roller/*", "queue:status:*",
	"hooks:modify-hook:project-relops/*", "assume:hook-id:project-relops/*", "hooks:get:*", "hooks:trigger-hook:project-relops/*",
}}

// newDeployment returns a deployment and its queue as a worker's client sees it.
func newDeployment(t *testing.T, prepare func(*Taskcluster)) (*Taskcluster, *tcqueue.Queue) {
	t.Helper()
	tc, err := NewTaskcluster(queueWorker)
	require.NoError(t, err)
	tc.ClaimPoll = time.Millisecond
	if prepare != nil {
		prepare(tc)
	}
	root, err := tc.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tc.Close()) })
	return tc, queueAs(tcclient.Credentials{ClientID: queueWorker.ID, AccessToken: queueWorker.AccessToken}, root)
}

// queueAs is the queue as one client sees it, without connections that outlive the test.
func queueAs(who tcclient.Credentials, root string) *tcqueue.Queue {
	q := tcqueue.New(&who, root)
	q.HTTPClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	return q
}

func taskAs(c tcqueue.TaskCredentials, root string) *tcqueue.Queue {
	return queueAs(tcclient.Credentials{ClientID: c.ClientID, AccessToken: c.AccessToken, Certificate: c.Certificate}, root)
}

func claimOne(t *testing.T, q *tcqueue.Queue) tcqueue.TaskClaim {
	t.Helper()
	claimed, err := q.ClaimWork("proj-relops/roller", &tcqueue.ClaimWorkRequest{WorkerGroup: "roller", WorkerID: "w1", Tasks: 1})
	require.NoError(t, err)
	require.Len(t, claimed.Tasks, 1)
	return claimed.Tasks[0]
}

// requireStatus wants a call to have been answered with a status.
func requireStatus(t *testing.T, want int, err error) {
	t.Helper()
	e, ok := errors.AsType[*tcclient.APICallException](err)
	require.True(t, ok, "%v", err)
	bad, ok := errors.AsType[httpbackoff.BadHttpResponseCode](e.RootCause)
	require.True(t, ok, "%v", err)
	require.Equal(t, want, bad.HttpResponseCode, "%s", bad.Message)
}

// TestTaskclusterReference holds the extract against the source it is from.
func TestTaskclusterReference(t *testing.T) {
	t.Parallel()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/taskcluster/taskcluster/v44").Output()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "generated", "references.json"))
	require.NoError(t, err)
	var files []struct {
		Filename string
		Content  map[string]any
	}
	require.NoError(t, json.Unmarshal(text, &files))
	var extract struct {
		Calls   map[string]map[string]any
		Schemas map[string]any
	}
	require.NoError(t, json.Unmarshal(taskclusterReference, &extract))
	schemas, calls := 0, 0
	for _, f := range files {
		if have, ok := extract.Schemas[f.Filename]; ok {
			schemas++
			require.Equal(t, plainSchema(f.Content), have, f.Filename)
		}
		service, _ := f.Content["serviceName"].(string)
		entries, _ := f.Content["entries"].([]any)
		for _, e := range entries {
			entry, _ := e.(map[string]any)
			name, _ := entry["name"].(string)
			have := extract.Calls[service+"."+name]
			if have == nil || entry["method"] == nil { // an exchange has the same names
				continue
			}
			calls++
			for field, value := range have {
				require.Equal(t, entry[field], value, "%s.%s", name, field)
			}
		}
	}
	require.Len(t, extract.Schemas, schemas)
	require.Len(t, extract.Calls, calls)
}

// plainSchema drops what is for readers only.
func plainSchema(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			_, text := value.(string)
			if text && (key == "description" || key == "title" || key == "$schema" || key == "$id") {
				continue
			}
			out[key] = plainSchema(value)
		}
		return out
	case []any:
		out := []any{}
		for _, value := range v {
			out = append(out, plainSchema(value))
		}
		return out
	}
	return v
}

func TestTaskclusterWorkersCourse(t *testing.T) {
	t.Parallel()
	tc, q := newDeployment(t, nil)
	none, err := q.ClaimWork("proj-relops/roller", &tcqueue.ClaimWorkRequest{WorkerGroup: "roller", WorkerID: "w1", Tasks: 1})
	require.NoError(t, err)
	require.Empty(t, none.Tasks)
	id := tc.AddTask(map[string]any{"taskQueueId": "proj-relops/roller", "scopes": []string{"a:b"}})
	claim := claimOne(t, q)
	require.Equal(t, id, claim.Status.TaskID)
	task := taskAs(claim.Credentials, q.RootURL)

	again, err := task.ReclaimTask(id, "0")
	require.NoError(t, err)
	require.NotEqual(t, claim.Credentials.AccessToken, again.Credentials.AccessToken)
	task = taskAs(again.Credentials, q.RootURL)

	request := tcqueue.PostArtifactRequest(`{"storageType":"s3","contentType":"text/plain","expires":"` + claim.Task.Expires.String() + `"}`)
	answer, err := task.CreateArtifact(id, "0", "public/logs/x.log", &request)
	require.NoError(t, err)
	var s3 tcqueue.S3ArtifactResponse
	require.NoError(t, json.Unmarshal(*answer, &s3))
	for _, text := range []string{"one", "one two"} {
		put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s3.PutURL, bytes.NewReader([]byte(text)))
		require.NoError(t, err)
		put.Header.Set("Content-Type", "text/plain")
		put.Close = true
		done, err := http.DefaultClient.Do(put) //nolint:forbidigo // a loopback stand-in
		require.NoError(t, err)
		require.NoError(t, done.Body.Close())
		require.Equal(t, http.StatusOK, done.StatusCode)
	}
	content, puts := tc.Artifact(id, 0, "public/logs/x.log")
	require.Equal(t, "one two", content)
	require.Equal(t, 2, puts)

	for range 2 { // to say it again is no conflict
		_, err = task.ReportCompleted(id, "0")
		require.NoError(t, err)
	}
	_, err = task.ReportFailed(id, "0")
	requireStatus(t, http.StatusConflict, err)
	_, err = task.ReclaimTask(id, "0")
	requireStatus(t, http.StatusConflict, err)
	_, err = task.CreateArtifact(id, "0", "public/late", &request)
	requireStatus(t, http.StatusConflict, err)
	require.Equal(t, []TaskRun{{"completed", "completed", []string{"public/logs/x.log"}}}, tc.Runs(id))
	require.Empty(t, tc.Mistakes())
}

func TestTaskclusterEndsRunsByItself(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   func(tc *Taskcluster, id string)
		want []TaskRun
	}{
		"cancelled": {func(tc *Taskcluster, id string) { tc.Cancel(id) }, []TaskRun{{State: "exception", Reason: "canceled"}}},
		"claim expired": {func(tc *Taskcluster, id string) { tc.ExpireClaim(id) }, []TaskRun{
			{State: "exception", Reason: "claim-expired"}, {State: "pending"},
		}},
		"deadline": {func(tc *Taskcluster, _ string) {
			tc.Now = func() time.Time { return time.Now().Add(3 * time.Hour) }
		}, []TaskRun{{State: "exception", Reason: "deadline-exceeded"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc, q := newDeployment(t, nil)
			id := tc.AddTask(map[string]any{"taskQueueId": "proj-relops/roller", "retries": 1})
			claim := claimOne(t, q)
			test.do(tc, id)
			require.Equal(t, test.want, tc.Runs(id))
			if name != "deadline" { // by then the credentials are over, too
				_, err := taskAs(claim.Credentials, q.RootURL).ReclaimTask(id, "0")
				requireStatus(t, http.StatusConflict, err)
			}
		})
	}
}

func TestTaskclusterCredentials(t *testing.T) {
	t.Parallel()
	tc, q := newDeployment(t, nil)
	id := tc.AddTask(map[string]any{"taskQueueId": "proj-relops/roller"})
	other := tc.AddTask(map[string]any{"taskQueueId": "proj-relops/roller"})
	claim := claimOne(t, q)
	mine := taskAs(claim.Credentials, q.RootURL)
	_, err := mine.ReclaimTask(other, "0")
	requireStatus(t, http.StatusForbidden, err)
	_, err = q.ReclaimTask(id, "0")
	requireStatus(t, http.StatusForbidden, err)
	forged := claim.Credentials
	forged.Certificate = strings.Replace(forged.Certificate, id+"/0", other+"/0", 1)
	_, err = taskAs(forged, q.RootURL).ReclaimTask(other, "0")
	requireStatus(t, http.StatusUnauthorized, err)
	_, err = q.ClaimWork("proj-relops/other", &tcqueue.ClaimWorkRequest{WorkerGroup: "roller", WorkerID: "w1", Tasks: 1})
	requireStatus(t, http.StatusForbidden, err)
}

func TestTaskclusterCredentialsExpire(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	tc, q := newDeployment(t, func(tc *Taskcluster) {
		tc.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	id := tc.AddTask(map[string]any{"taskQueueId": "proj-relops/roller", "retries": 0})
	task := taskAs(claimOne(t, q).Credentials, q.RootURL)
	_, err := task.ReclaimTask(id, "0")
	require.NoError(t, err)
	later.Store(int64(14 * time.Minute)) // Hawk's own skew ends at 15
	_, err = task.ReclaimTask(id, "0")
	require.NoError(t, err)
	tc.ClaimLife = time.Second
	id = tc.AddTask(map[string]any{"taskQueueId": "proj-relops/roller", "retries": 0})
	task = taskAs(claimOne(t, q).Credentials, q.RootURL)
	later.Store(int64(28 * time.Minute))
	_, err = task.ReclaimTask(id, "0")
	requireStatus(t, http.StatusUnauthorized, err)
}

func TestTaskclusterRemembersMistakes(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(q *tcqueue.Queue) error{
		"more tasks than there may be": func(q *tcqueue.Queue) error {
			_, err := q.ClaimWork("proj-relops/roller", &tcqueue.ClaimWorkRequest{WorkerGroup: "roller", WorkerID: "w1", Tasks: 33})
			return err
		},
		"a worker's name of another form": func(q *tcqueue.Queue) error {
			_, err := q.ClaimWork("proj-relops/roller", &tcqueue.ClaimWorkRequest{WorkerGroup: "roller", WorkerID: "w.1", Tasks: 1})
			return err
		},
		"no such reason": func(q *tcqueue.Queue) error {
			_, err := q.ReportException(someTask, "0", &tcqueue.TaskExceptionRequest{Reason: "tired"})
			return err
		},
		"a field too many": func(q *tcqueue.Queue) error {
			_, _, err := (*tcclient.Client)(q).APICall(map[string]any{"reason": "internal-error", "text": "x"}, http.MethodPost, "/task/"+someTask+"/runs/0/exception", nil, nil)
			return err
		},
		"a body where there is none": func(q *tcqueue.Queue) error {
			_, _, err := (*tcclient.Client)(q).APICall(map[string]any{"a": 1}, http.MethodPost, "/task/"+someTask+"/runs/0/completed", nil, nil)
			return err
		},
		"no such call": func(q *tcqueue.Queue) error {
			_, _, err := (*tcclient.Client)(q).APICall(nil, http.MethodPost, "/task/"+someTask+"/runs/0/complete", nil, nil)
			return err
		},
		"a task's ID of another form": func(q *tcqueue.Queue) error {
			_, err := q.Status("x")
			return err
		},
		"a run's number of another form": func(q *tcqueue.Queue) error {
			_, err := q.ReportFailed(someTask, "first")
			return err
		},
		"a worker's ID with a dot": func(q *tcqueue.Queue) error {
			_, err := q.GetWorker("p", "t", "g", "ms1-10.example.com")
			return err
		},
		"a query": func(q *tcqueue.Queue) error {
			_, _, err := (*tcclient.Client)(q).APICall(nil, http.MethodGet, "/task/"+someTask+"/status", nil, url.Values{"x": {"1"}})
			return err
		},
		"a malformed question to auth": func(q *tcqueue.Queue) error {
			_, err := tcauth.New(nil, q.RootURL).AuthenticateHawk(&tcauth.HawkSignatureAuthenticationRequest{Method: "POST", Host: "a", Port: 1})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc, q := newDeployment(t, nil)
			require.Error(t, ask(q))
			require.Len(t, tc.Mistakes(), 1)
		})
	}
}

// someTask is a task's ID that nothing has.
const someTask = "AAAAAAAASAKAAAAAAAAAAA"

// What the queue refuses in a task that its schema allows, it refuses here, too.
func TestTaskclusterRefusesTasks(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) tcclient.Time { return tcclient.Time(time.Now().Add(d)) }
	good := tcqueue.TaskDefinitionRequest{
		TaskQueueID: "proj-relops/roller", SchedulerID: "-", Created: at(0), Deadline: at(time.Hour), Expires: at(2 * time.Hour), Payload: json.RawMessage(`{}`),
		Priority: "lowest", Metadata: tcqueue.TaskMetadata{Name: "n", Description: "d", Owner: "owner@example.com", Source: "https://example.com"},
	}
	for name, test := range map[string]struct {
		change func(*tcqueue.TaskDefinitionRequest)
		says   string
	}{
		"good":               {func(*tcqueue.TaskDefinitionRequest) {}, ""},
		"made yesterday":     {func(d *tcqueue.TaskDefinitionRequest) { d.Created = at(-24 * time.Hour) }, "`created` cannot be in the past"},
		"made tomorrow":      {func(d *tcqueue.TaskDefinitionRequest) { d.Created = at(24 * time.Hour) }, "`created` cannot be in the past or future"},
		"over already":       {func(d *tcqueue.TaskDefinitionRequest) { d.Deadline = at(-time.Minute) }, "`deadline` cannot be in the past"},
		"for a week":         {func(d *tcqueue.TaskDefinitionRequest) { d.Deadline, d.Expires = at(7*24*time.Hour), at(8*24*time.Hour) }, "more than 5 days"},
		"forgotten too soon": {func(d *tcqueue.TaskDefinitionRequest) { d.Expires = at(time.Minute) }, "`expires` cannot be before `deadline`"},
		"all scopes twice":   {func(d *tcqueue.TaskDefinitionRequest) { d.Scopes = []string{"a**"} }, "must not end with `**`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc, q := newDeployment(t, nil)
			q.Credentials = &tcclient.Credentials{ClientID: tc.issuer.ClientID, AccessToken: tc.issuer.AccessToken}
			definition := good
			test.change(&definition)
			_, err := q.CreateTask(someTask, &definition)
			if test.says == "" {
				require.NoError(t, err)
				require.Empty(t, tc.Mistakes())
				return
			}
			require.ErrorContains(t, err, test.says)
			require.Len(t, tc.Mistakes(), 1)
		})
	}
}

func TestTaskclusterFiresHooks(t *testing.T) {
	t.Parallel()
	tc, q := newDeployment(t, nil)
	hooks := tchooks.New(&tcclient.Credentials{ClientID: queueWorker.ID, AccessToken: queueWorker.AccessToken}, q.RootURL)
	hooks.HTTPClient = q.HTTPClient
	definition := &tchooks.HookCreationRequest{
		Metadata: tchooks.HookMetadata{Name: "n", Description: "d", Owner: "owner@example.com"},
		Task: json.RawMessage(`{"taskQueueId":"proj-relops/roller","deadline":{"$fromNow":"2 hours"},"payload":{"$eval":"payload"},
			"extra":{"requestedBy":{"$eval":"clientId"}},"metadata":{"name":"n","description":"d","owner":"owner@example.com","source":"https://example.com"}}`),
		TriggerSchema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}`),
	}
	_, err := hooks.CreateHook("project-relops", "h", definition)
	require.NoError(t, err)
	fire := func(payload string) error {
		p := tchooks.TriggerHookRequest(payload)
		_, err := hooks.TriggerHook("project-relops", "h", &p)
		return err
	}
	requireStatus(t, http.StatusBadRequest, fire(`{"n":"one"}`))
	requireStatus(t, http.StatusForbidden, fire(`{"n":1}`)) // the role may create nothing yet
	tc.SetRole("hook-id:project-relops/h", "queue:create-task:lowest:proj-relops/roller", "queue:create-task:project:none", "queue:scheduler-id:-")
	require.NoError(t, fire(`{"n":1}`))
	claim := claimOne(t, q)
	require.JSONEq(t, `{"n":1}`, string(claim.Task.Payload))
	require.JSONEq(t, `{"requestedBy":`+strconv.Quote(queueWorker.ID)+`}`, string(claim.Task.Extra))
	require.Empty(t, tc.Mistakes())
}
