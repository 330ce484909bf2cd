package activities

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// taskclusterBench is a deployment and the activities of a process that serves it.
type taskclusterBench struct {
	*Taskcluster
	tc   *lab.Taskcluster
	jobs *jobsByHand
}

// jobsByHand is a door to jobs that are as the test says.
type jobsByHand struct {
	mu        sync.Mutex
	look      JobLook
	err       error
	cancelled []JobRun
}

func (j *jobsByHand) Ask(context.Context, JobAsk) (JobRun, error) { return aJob, j.err }

func (j *jobsByHand) Look(context.Context, JobRun) (JobLook, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.look, j.err
}

func (j *jobsByHand) Cancel(_ context.Context, job JobRun) error {
	j.cancelled = append(j.cancelled, job)
	return j.err
}

func (j *jobsByHand) set(look JobLook) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.look = look
}

var aJob = JobRun{WorkflowID: "machine/mdc1/ms1-10", RunID: "the-run"}

func newTaskclusterBench(t *testing.T, env ...string) taskclusterBench {
	t.Helper()
	tc, err := lab.NewTaskcluster(lab.Client{ID: "roller", AccessToken: "s3cret-roller", Scopes: []string{
		"queue:claim-work:proj-relops/roller", "queue:worker-id:roller/*", "queue:status:*",
	}})
	require.NoError(t, err)
	tc.ClaimPoll = time.Millisecond
	root, err := tc.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, tc.Close())
		require.Empty(t, tc.Mistakes())
	})
	cfg, err := config.Load(append([]string{
		"TASKCLUSTER_ROOT_URL=" + root, "TASKCLUSTER_CLIENT_ID=roller", "TASKCLUSTER_ACCESS_TOKEN=s3cret-roller", "TASKCLUSTER_RECLAIM=1s",
		"ROLLER_SEAL_KEY=" + base64.StdEncoding.EncodeToString([]byte("a-seal-key-of-two-and-thirty-b.!")), "TASK_NAMES=reboot,ping", "VALID_WORKER_ID_REGEX=ms1-.*",
	}, env...))
	require.NoError(t, err)
	require.NoError(t, cfg.ValidateTaskcluster())
	jobs := &jobsByHand{}
	return taskclusterBench{&Taskcluster{Config: cfg, Jobs: jobs}, tc, jobs}
}

// claim creates a task and claims it.
func (b taskclusterBench) claim(t *testing.T, change map[string]any) Claim {
	t.Helper()
	definition := map[string]any{
		"taskQueueId": "proj-relops/roller", "scopes": []string{"project:releng:roller:reboot"}, "retries": 1,
		"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "worker_group": "mdc1"},
	}
	maps.Copy(definition, change)
	b.tc.AddTask(definition)
	claims, err := ClaimTasks(t.Context(), b.Config)
	require.NoError(t, err)
	require.Len(t, claims, 1)
	return claims[0]
}

func TestTaskAsks(t *testing.T) {
	t.Parallel()
	b := newTaskclusterBench(t)
	for name, test := range map[string]struct {
		change  map[string]any
		want    JobAsk // without key; zero if it is a problem
		problem string
	}{
		"a reboot": {want: JobAsk{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1"}},
		"who asked": {
			change: map[string]any{"extra": map[string]any{"requestedBy": "mozilla-auth0/ad|x|sheriff"}},
			want:   JobAsk{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1", ClientID: "mozilla-auth0/ad|x|sheriff"},
		},
		"who asked, with a line break": {
			change: map[string]any{"extra": map[string]any{"requestedBy": "sheriff\nroot"}},
			want:   JobAsk{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
		"bulk, no group": {
			change: map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "priority": "bulk"}},
			want:   JobAsk{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "none", Bulk: true},
		},
		"drained": {
			change: map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "worker_group": "mdc1", "drain": true, "provisioner_id": "p", "worker_type": "w"}},
			want:   JobAsk{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1", Drain: new(true), ProvisionerID: "p", WorkerType: "w"},
		},
		"drained, of which queue": {
			change:  map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "drain": true, "worker_type": "w"}},
			problem: "provisioner_id, worker_type: go together",
		},
		"not drained, whatever the inventory says": {
			change: map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "worker_group": "mdc1", "drain": false}},
			want:   JobAsk{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1", Drain: new(false)},
		},
		"a read is not drained": {
			change:  map[string]any{"payload": map[string]any{"task_name": "ping", "worker_id": "ms1-10", "drain": true, "provisioner_id": "p", "worker_type": "w"}},
			problem: "drain: is nothing that ping can do",
		},
		"a provisioner with a slash": {
			change:  map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "provisioner_id": "p/q"}},
			problem: "provisioner_id, worker_type: must be",
		},
		"a scope for all": {
			change: map[string]any{"scopes": []string{"project:releng:roller:*"}},
			want:   JobAsk{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
		"an unmanaged host may be pinged": {
			change: map[string]any{
				"payload": map[string]any{"task_name": "ping", "worker_id": "other", "worker_group": "mdc1"},
				"scopes":  []string{"project:releng:roller:ping"},
			},
			want: JobAsk{Task: "ping", WorkerID: "other", WorkerGroup: "mdc1"},
		},
		"an unmanaged host": {
			change:  map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "other", "worker_group": "mdc1"}},
			problem: "not a managed host",
		},
		"no scope":      {change: map[string]any{"scopes": []string{}}, problem: "task.scopes is missing the scope project:releng:roller:reboot"},
		"another scope": {change: map[string]any{"scopes": []string{"project:releng:roller:ping"}}, problem: "task.scopes is missing"},
		"nothing":       {change: map[string]any{"payload": map[string]any{}}, problem: "task_name"},
		"a task that is not open": {
			change:  map[string]any{"payload": map[string]any{"task_name": "ipmi_off", "worker_id": "ms1-10"}, "scopes": []string{"*"}},
			problem: `task_name: "ipmi_off" is not one of reboot, ping`,
		},
		"a field too many": {change: map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "x": 1}}, problem: "payload: must be"},
		"another type":     {change: map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": 7}}, problem: "payload: must be"},
		"a strange priority": {
			change:  map[string]any{"payload": map[string]any{"task_name": "reboot", "worker_id": "ms1-10", "priority": "now"}},
			problem: "priority: must be bulk or normal",
		},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: each claims what there is
			c := b.claim(t, test.change)
			if test.problem != "" {
				require.Contains(t, c.Problem, test.problem)
				return
			}
			require.Empty(t, c.Problem)
			require.NotEmpty(t, c.Ask.Key)
			if test.want.ClientID == "" {
				test.want.ClientID = "taskcluster-task/" + c.TaskID
			}
			c.Ask.Key = ""
			require.Equal(t, test.want, c.Ask)
		})
	}
}

// A run that Taskcluster made by itself repeats the same wish; a rerun is a new one.
func TestAskKeyIsTheWish(t *testing.T) {
	t.Parallel()
	run := func(id int64, reasons ...string) tcqueue.TaskClaim {
		c := tcqueue.TaskClaim{RunID: id, Status: tcqueue.TaskStatusStructure{TaskID: "t"}}
		for i, reason := range reasons {
			c.Status.Runs = append(c.Status.Runs, tcqueue.RunInformation{RunID: int64(i), ReasonCreated: reason})
		}
		return c
	}
	key := func(c tcqueue.TaskClaim) string { return askKey(config.Taskcluster{RootURL: "https://tc"}, c) }
	first := key(run(0, "scheduled"))
	require.Equal(t, first, key(run(1, "scheduled", "retry")))
	require.NotEqual(t, first, key(run(1, "scheduled", "rerun")))
	require.Equal(t, key(run(1, "scheduled", "rerun")), key(run(2, "scheduled", "rerun", "task-retry")))
	other := run(0, "scheduled")
	other.Status.TaskID = "u"
	require.NotEqual(t, first, key(other))
}

func TestCredentialsAreSealed(t *testing.T) {
	t.Parallel()
	b := newTaskclusterBench(t)
	c := b.claim(t, nil)
	token := b.tc.TaskTokens()[0]
	text, err := json.Marshal(c)
	require.NoError(t, err)
	require.NotContains(t, string(text), token)
	box, err := base64.StdEncoding.DecodeString(string(c.Credentials))
	require.NoError(t, err)
	require.NotContains(t, string(box), token)
	who, err := unseal(b.Config.Taskcluster, c.Run(), c.Credentials)
	require.NoError(t, err)
	require.Equal(t, token, who.AccessToken)

	other := b.Config.Taskcluster
	newKey := base64.StdEncoding.EncodeToString([]byte("another-key-of-two-and-thirty-b!"))
	other.SealKey = config.NewSecret(newKey)
	changing := b.Config.Taskcluster
	changing.SealKey = config.NewSecret(newKey + ", " + changing.SealKey.Reveal())
	who, err = unseal(changing, c.Run(), c.Credentials)
	require.NoError(t, err, "a box of the old key")
	require.Equal(t, token, who.AccessToken)
	later, err := seal(changing, c.Run(), tcqueue.TaskCredentials{AccessToken: "later"})
	require.NoError(t, err)
	who, err = unseal(other, c.Run(), later)
	require.NoError(t, err, "the first key seals")
	require.Equal(t, "later", who.AccessToken)
	for name, open := range map[string]func() (*tcclient.Credentials, error){
		"another key": func() (*tcclient.Credentials, error) { return unseal(other, c.Run(), c.Credentials) },
		"another run": func() (*tcclient.Credentials, error) {
			return unseal(b.Config.Taskcluster, c.TaskID+"/1", c.Credentials)
		},
		"a bit changed": func() (*tcclient.Credentials, error) {
			box[len(box)-1] ^= 1
			return unseal(b.Config.Taskcluster, c.Run(), Sealed(base64.StdEncoding.EncodeToString(box)))
		},
		"no box": func() (*tcclient.Credentials, error) { return unseal(b.Config.Taskcluster, c.Run(), "AAAA") },
	} {
		_, err := open()
		require.Error(t, err, name)
		require.Equal(t, Refused, MeaningOf(err), name)
		require.NotContains(t, err.Error(), token)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		look JobLook
		left time.Duration // until the deadline; 0: the stand-in's own
		do   func(b taskclusterBench, c Claim)
		want string
	}{
		"with the job":                 {look: JobLook{Ended: true}, want: FollowedToEnd},
		"with a cancelled task":        {do: func(b taskclusterBench, c Claim) { b.tc.Cancel(c.TaskID) }, want: TaskCancelled},
		"with an expired claim":        {do: func(b taskclusterBench, c Claim) { b.tc.ExpireClaim(c.TaskID) }, want: TaskResolved},
		"a margin before the deadline": {left: 100 * time.Second, want: DeadlineNear},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTaskclusterBench(t)
			b.jobs.look = test.look
			var change map[string]any
			if test.left > 0 {
				change = map[string]any{"created": "2020-01-01T00:00:00.000Z", "deadline": time.Now().Add(test.left).UTC().Format(time.RFC3339)}
			}
			c := b.claim(t, change)
			if test.do != nil {
				test.do(b, c)
			}
			out, err := execute(t, b.TaskclusterFollow, Following{Claim: c, Job: aJob}, call{})
			require.NoError(t, err)
			require.Equal(t, test.want, out.How)
		})
	}
}

// Why a run is no longer roller's may not be known at once: of a cancelled task the job
// is cancelled, however often Taskcluster must be asked.
func TestFollowFindsOutWhyItsRunIsGone(t *testing.T) {
	t.Parallel()
	b := newTaskclusterBench(t)
	c := b.claim(t, nil)
	b.tc.SetDown(true, "queue.status")
	b.tc.Cancel(c.TaskID)
	out, err := execute(t, b.TaskclusterFollow, Following{Claim: c, Job: aJob}, call{onBeat: func(converter.EncodedValues) {
		if b.tc.Calls("queue.status") > 0 {
			b.tc.SetDown(false)
		}
	}})
	require.NoError(t, err)
	require.Equal(t, TaskCancelled, out.How)
	require.GreaterOrEqual(t, b.tc.Calls("queue.status"), 2)
}

// A task is reported while Taskcluster still takes a report.
func TestReportBy(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	for life, margin := range map[time.Duration]time.Duration{
		24 * time.Hour: 2 * time.Minute, 2 * time.Hour: 2 * time.Minute, 10 * time.Minute: time.Minute, time.Minute: 6 * time.Second,
	} {
		c := Claim{Created: created, Deadline: created.Add(life)}
		require.Equal(t, c.Deadline.Add(-margin), c.reportBy(), life)
	}
}

// The claim and its credentials are renewed, the log grows meanwhile, and another
// attempt goes on with what the last one had.
func TestFollowRenewsAndGrows(t *testing.T) {
	t.Parallel()
	b := newTaskclusterBench(t)
	c := b.claim(t, nil)
	b.jobs.set(JobLook{Text: "first rung\n"})
	var held heldClaim
	stop := make(chan struct{})
	var once sync.Once
	_, err := execute(t, b.TaskclusterFollow, Following{Claim: c, Job: aJob}, call{stop: stop, onBeat: func(d converter.EncodedValues) {
		if d.Get(&held) == nil && b.tc.Calls("queue.reclaimTask") > 0 {
			once.Do(func() { close(stop) })
		}
	}})
	requireMeaning(t, err, Handover, true)
	require.NotEqual(t, c.Credentials, held.Credentials)
	require.False(t, held.TakenUntil.Before(c.TakenUntil))
	log, _ := b.tc.Artifact(c.TaskID, 0, "public/logs/live.log")
	require.Contains(t, log, "first rung")

	b.jobs.set(JobLook{Ended: true})
	out, err := execute(t, b.TaskclusterFollow, Following{Claim: c, Job: aJob}, call{details: held})
	require.NoError(t, err)
	require.Equal(t, Followed{How: FollowedToEnd, Credentials: held.Credentials}, out)
}

// While Taskcluster is down nothing is given up.
func TestFollowOutlivesTaskcluster(t *testing.T) {
	t.Parallel()
	b := newTaskclusterBench(t)
	c := b.claim(t, nil)
	b.tc.SetDown(true)
	stop := make(chan struct{})
	var once sync.Once
	_, err := execute(t, b.TaskclusterFollow, Following{Claim: c, Job: aJob}, call{stop: stop, onBeat: func(converter.EncodedValues) {
		once.Do(func() { close(stop) })
	}})
	requireMeaning(t, err, Handover, true)
	require.Positive(t, b.tc.Calls("queue.reclaimTask"))
	require.Equal(t, "running", b.tc.Runs(c.TaskID)[0].State)
}

func TestReports(t *testing.T) {
	t.Parallel()
	bug := "https://bugzilla.example/show_bug.cgi?id=7"
	for name, test := range map[string]struct {
		report        Report
		look          JobLook
		state, reason string
		log           string
	}{
		"good":      {report: Report{Job: aJob}, look: JobLook{Ended: true, Good: true, Text: "ssh_reboot back\n"}, state: "completed", reason: "completed", log: "ssh_reboot back"},
		"bad":       {report: Report{Job: aJob}, look: JobLook{Ended: true, Text: "bug: " + bug + "\n", Bug: bug}, state: "failed", reason: "failed", log: bug},
		"deadline":  {report: Report{Job: aJob, End: FailedTask, Text: "the job goes on"}, look: JobLook{Text: "first rung\n"}, state: "failed", reason: "failed", log: "first rung\nthe job goes on\n"},
		"malformed": {report: Report{End: MalformedPayload, Text: "payload: worker_id"}, state: "exception", reason: "malformed-payload", log: "payload: worker_id"},
		"not known": {report: Report{Job: aJob, End: InternalError, Text: "cannot be followed"}, state: "exception", reason: "internal-error", log: "cannot be followed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTaskclusterBench(t)
			b.jobs.look = test.look
			test.report.Claim = b.claim(t, nil)
			for range 2 { // an answer may be lost
				out, err := execute(t, b.TaskclusterReport, test.report, call{})
				require.NoError(t, err)
				require.True(t, out.Taken)
			}
			run := b.tc.Runs(test.report.Claim.TaskID)[0]
			require.Equal(t, test.state, run.State)
			require.Equal(t, test.reason, run.Reason)
			log, _ := b.tc.Artifact(test.report.Claim.TaskID, 0, "public/logs/live.log")
			require.Contains(t, log, test.log)
			link, _ := b.tc.Artifact(test.report.Claim.TaskID, 0, "public/bug")
			require.Equal(t, test.look.Bug, link)
		})
	}
}

// A report may be tried again while Taskcluster is down, and is not taken once the
// run is resolved otherwise.
func TestReportsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	b := newTaskclusterBench(t)
	report := Report{Claim: b.claim(t, nil), End: FailedTask}
	b.tc.SetDown(true)
	_, err := execute(t, b.TaskclusterReport, report, call{})
	message := requireMeaning(t, err, NotSent, true)
	require.NotContains(t, message, b.tc.TaskTokens()[0])
	b.tc.SetDown(false)
	b.tc.Cancel(report.Claim.TaskID)
	out, err := execute(t, b.TaskclusterReport, report, call{})
	require.NoError(t, err)
	require.False(t, out.Taken)
	require.Equal(t, "canceled", b.tc.Runs(report.Claim.TaskID)[0].Reason)
}

func TestClaimErrorsAreShort(t *testing.T) {
	t.Parallel()
	b := newTaskclusterBench(t)
	b.tc.SetDown(true)
	_, err := ClaimTasks(t.Context(), b.Config)
	require.EqualError(t, err, "claimWork: taskcluster answered 503")
	require.NoError(t, b.tc.Close())
	_, err = ClaimTasks(t.Context(), b.Config)
	require.ErrorContains(t, err, "claimWork: no answer from taskcluster")
}
