package lab

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/taskcluster/slugid-go/slugid"
)

// queueTask is a task as the queue has it.
type queueTask struct {
	id         string
	definition map[string]any
	retries    int
	runs       []*queueRun
}

// queueRun is one run of a task.
type queueRun struct {
	number                        int
	state, created, resolved      string // its state, and why it came to be and ended
	workerGroup, workerID         string
	scheduled, takenUntil, closed time.Time
	artifacts                     map[string]*queueArtifact
}

func (q *queueTask) text(field string) string {
	text, _ := q.definition[field].(string)
	return text
}

func (q *queueTask) strings(field string) []string {
	var out []string
	list, _ := q.definition[field].([]any)
	for _, entry := range list {
		text, _ := entry.(string)
		out = append(out, text)
	}
	return out
}

func (q *queueTask) time(field string) time.Time {
	at, _ := time.Parse(time.RFC3339, q.text(field))
	return at
}

// last is the newest run.
func (q *queueTask) last() *queueRun { return q.runs[len(q.runs)-1] }

// stamp is a time in the services' form.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// status is the task's status as the schema has it.
func (q *queueTask) status() map[string]any {
	runs := []any{}
	for _, r := range q.runs {
		run := map[string]any{"runId": r.number, "state": r.state, "reasonCreated": r.created, "scheduled": stamp(r.scheduled)}
		if r.workerID != "" {
			run["workerGroup"], run["workerId"], run["takenUntil"] = r.workerGroup, r.workerID, stamp(r.takenUntil)
		}
		if r.resolved != "" {
			run["reasonResolved"], run["resolved"] = r.resolved, stamp(r.closed)
		}
		runs = append(runs, run)
	}
	out := map[string]any{"taskId": q.id, "retriesLeft": q.retries, "state": q.last().state, "runs": runs}
	for _, field := range []string{"provisionerId", "workerType", "taskQueueId", "schedulerId", "projectId", "taskGroupId", "deadline", "expires"} {
		out[field] = q.definition[field]
	}
	return map[string]any{"status": out}
}

// resolve ends the task's newest run.
func (q *queueTask) resolve(state, reason string, now time.Time) {
	r := q.last()
	r.state, r.resolved, r.closed = state, reason, now
}

// settle does what time has done: claims expire, and so do tasks. The lock is held.
func (t *Taskcluster) settle() {
	now := t.Now()
	for _, q := range t.tasks {
		r := q.last()
		switch {
		case r.resolved != "":
		case now.After(q.time("deadline")):
			q.resolve("exception", "deadline-exceeded", now)
		case r.state == "running" && now.After(r.takenUntil):
			q.resolve("exception", "claim-expired", now)
			if q.retries > 0 {
				q.retries--
				q.runs = append(q.runs, newRun(len(q.runs), "retry", now))
			}
		}
	}
}

func newRun(number int, created string, now time.Time) *queueRun {
	return &queueRun{number: number, state: "pending", created: created, scheduled: now, artifacts: map[string]*queueArtifact{}}
}

// AddTask creates a task as somebody with all scopes would, with what the queue
// fills in by itself where the definition says nothing.
func (t *Taskcluster) AddTask(definition map[string]any) (taskID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := slugid.Nice()
	t.add(id, definition)
	t.ring()
	return id
}

func (t *Taskcluster) add(id string, definition map[string]any) {
	now := t.Now()
	d := map[string]any{
		"schedulerId": "-", "projectId": "none", "taskGroupId": id, "dependencies": []any{}, "requires": "all-completed",
		"routes": []any{}, "priority": "lowest", "retries": 5, "scopes": []any{}, "tags": map[string]any{}, "extra": map[string]any{},
		"expires": stamp(now.AddDate(1, 0, 0)),
		"created": stamp(now), "deadline": stamp(now.Add(2 * time.Hour)), "payload": map[string]any{},
		"metadata": map[string]any{"name": "n", "description": "d", "owner": "owner@example.com", "source": "https://example.com"},
	}
	maps.Copy(d, definition)
	text, _ := json.Marshal(d) // so that it is what a request would have been
	_ = json.Unmarshal(text, &d)
	if queue, ok := d["taskQueueId"].(string); ok {
		d["provisionerId"], d["workerType"] = splitQueue(queue)
	} else {
		provisioner, _ := d["provisionerId"].(string)
		workerType, _ := d["workerType"].(string)
		d["taskQueueId"] = provisioner + "/" + workerType
	}
	retries, _ := d["retries"].(float64)
	t.tasks[id] = &queueTask{id: id, definition: d, retries: int(retries), runs: []*queueRun{newRun(0, "scheduled", now)}}
	t.order = append(t.order, id)
}

// Task returns a task's definition.
func (t *Taskcluster) Task(taskID string) map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.tasks[taskID].definition)
}

// TaskRun is one run of a task, for tests.
type TaskRun struct {
	State, Reason string // Reason is why it ended, "" while it has not
	Artifacts     []string
}

// Runs returns a task's runs.
func (t *Taskcluster) Runs(taskID string) []TaskRun {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	var out []TaskRun
	for _, r := range t.tasks[taskID].runs {
		out = append(out, TaskRun{r.state, r.resolved, slices.Sorted(maps.Keys(r.artifacts))})
	}
	return out
}

// Cancel cancels a task, as a person would.
func (t *Taskcluster) Cancel(taskID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tasks[taskID].resolve("exception", "canceled", t.Now())
	t.ring()
}

// ExpireClaim resolves what runs as an expired claim, as the queue does with workers
// that are gone.
func (t *Taskcluster) ExpireClaim(taskID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tasks[taskID].last().takenUntil = t.Now().Add(-time.Second)
	t.settle()
	t.ring()
}

// claim answers claimWork: at once if there is work, else when some comes, with
// nothing after ClaimPoll.
func (t *Taskcluster) claim(r *http.Request, in *asked) (any, error) {
	t.waits(1)
	defer t.waits(-1)
	poll := time.NewTimer(t.ClaimPoll)
	defer poll.Stop()
	most, _ := in.body["tasks"].(float64)
	group, _ := in.body["workerGroup"].(string)
	id, _ := in.body["workerId"].(string)
	for {
		t.mu.Lock()
		claims, err := t.pending(in.args["taskQueueId"], group, id, int(most))
		changed := t.changed
		t.mu.Unlock()
		if err != nil || len(claims) > 0 {
			return map[string]any{"tasks": claims}, err
		}
		select {
		case <-changed:
		case <-poll.C:
			return map[string]any{"tasks": []any{}}, nil
		case <-r.Context().Done(): // the worker has gone: nothing is claimed
			return map[string]any{"tasks": []any{}}, nil
		}
	}
}

// waits counts the claimWork calls that wait for work.
func (t *Taskcluster) waits(more int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open += more
	if more < 0 {
		t.ring()
	}
}

func (t *Taskcluster) pending(queue, group, id string, most int) ([]any, error) {
	t.settle()
	if w := t.workers[queue+"/"+group+"/"+id]; w != nil && w.quarantined.After(t.Now()) {
		return nil, nil
	}
	var claims []any
	for _, taskID := range t.order {
		q := t.tasks[taskID]
		run := q.last()
		if len(claims) == most || run.state != "pending" || q.text("taskQueueId") != queue {
			continue
		}
		run.state, run.workerGroup, run.workerID, run.takenUntil = "running", group, id, t.Now().Add(t.ClaimLife)
		claim, err := t.claimed(q, run)
		if err != nil {
			return nil, err
		}
		claim["task"] = q.definition
		t.seen(queue, group, id, taskID, run.number)
		claims = append(claims, claim)
	}
	return claims, nil
}

// claimed is what a claim and a reclaim answer alike.
func (t *Taskcluster) claimed(q *queueTask, run *queueRun) (map[string]any, error) {
	credentials, err := t.issue(q, run)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"status": q.status()["status"], "runId": run.number, "workerGroup": run.workerGroup, "workerId": run.workerID,
		"takenUntil": stamp(run.takenUntil), "credentials": credentials,
	}, nil
}

// run finds the task and the run of a call's arguments.
func (t *Taskcluster) run(in *asked) (*queueTask, *queueRun, error) {
	q := t.tasks[in.args["taskId"]]
	if q == nil {
		return nil, nil, refuse(http.StatusNotFound, "ResourceNotFound", "Task `%s` not found. Are you sure it was created?", in.args["taskId"])
	}
	n, err := strconv.Atoi(cmp.Or(in.args["runId"], strconv.Itoa(len(q.runs)-1)))
	if err != nil || n < 0 || n >= len(q.runs) {
		return nil, nil, refuse(http.StatusNotFound, "ResourceNotFound", "Run %s not found on task `%s`.", in.args["runId"], q.id)
	}
	return q, q.runs[n], nil
}

// reclaim keeps a run for another ClaimLife.
func (t *Taskcluster) reclaim(q *queueTask, run *queueRun) (any, error) {
	if run != q.last() || run.state != "running" {
		return nil, refuse(http.StatusConflict, "RequestConflict", "Run %d on task `%s` is resolved or not running.", run.number, q.id)
	}
	run.takenUntil = t.Now().Add(t.ClaimLife)
	return t.claimed(q, run)
}

// report resolves a run; to say the same again is no conflict.
func (t *Taskcluster) report(q *queueTask, run *queueRun, state, reason string) (any, error) {
	if run != q.last() || run.state != "running" && (run.state != state || run.resolved != reason) {
		return nil, refuse(http.StatusConflict, "RequestConflict", "Run %d of task `%s` is not running or %s.", run.number, q.id, state)
	}
	if run.state == "running" {
		q.resolve(state, reason, t.Now())
	}
	return q.status(), nil
}
