package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// queueWorkerState is a worker as the queue knows it.
type queueWorkerState struct {
	quarantined time.Time // zero: it never was
	set         int       // how often its quarantine was set
	notes       []string  // what was noted with it, the newest last
	recent      []any     // the tasks that it claimed, the newest last
}

// recentTasks is how many tasks the queue remembers of a worker.
const recentTasks = 20

// seen notes that a worker claimed a task.
func (t *Taskcluster) seen(queue, group, id, taskID string, run int) {
	name := queue + "/" + group + "/" + id
	w := t.workers[name]
	if w == nil {
		w = &queueWorkerState{}
		t.workers[name] = w
	}
	w.recent = append(w.recent, map[string]any{"taskId": taskID, "runId": run})
	w.recent = w.recent[max(0, len(w.recent)-recentTasks):]
}

// worker answers getWorker and quarantineWorker.
func (t *Taskcluster) worker(c call, in *asked) (any, error) {
	if err := permit(c, in, nil); err != nil {
		return nil, err
	}
	queue := in.args["provisionerId"] + "/" + in.args["workerType"]
	w := t.workers[queue+"/"+in.args["workerGroup"]+"/"+in.args["workerId"]]
	if w == nil {
		return nil, refuse(http.StatusNotFound, "ResourceNotFound", "Worker with workerId `%s` not found.", in.args["workerId"])
	}
	if c.name == "queue.quarantineWorker" {
		w.quarantined, _ = time.Parse(time.RFC3339, fmt.Sprint(in.body["quarantineUntil"]))
		w.set++
		if note, ok := in.body["quarantineInfo"].(string); ok {
			w.notes = append(w.notes, note)
		}
	}
	recent := w.recent
	if recent == nil {
		recent = []any{}
	}
	answer := map[string]any{
		"provisionerId": in.args["provisionerId"], "workerType": in.args["workerType"], "taskQueueId": queue,
		"workerGroup": in.args["workerGroup"], "workerId": in.args["workerId"], "recentTasks": recent,
		"expires": stamp(t.Now().AddDate(0, 0, 1)), "firstClaim": stamp(t.Now().AddDate(0, 0, -1)), "actions": []any{},
	}
	if !w.quarantined.IsZero() {
		answer["quarantineUntil"] = stamp(w.quarantined)
	}
	return answer, nil
}

// mostNote is how long a quarantine's note may be, in characters, as later services
// have it (services/queue, quarantine-worker-request.yml).
const mostNote = 4000

// withoutNote is a request without what v44 did not know yet: the note of a quarantine,
// where the deployment is of a later time.
func (t *Taskcluster) withoutNote(c call, in *asked) []byte {
	note, ok := in.body["quarantineInfo"].(string)
	if t.OldQueue || c.name != "queue.quarantineWorker" || !ok || len(note) > mostNote {
		return in.raw
	}
	rest := maps.Clone(in.body)
	delete(rest, "quarantineInfo")
	text, _ := json.Marshal(rest) // what was decoded can be encoded
	return text
}

// Notes returns what was noted with a worker's quarantines, the newest last.
func (t *Taskcluster) Notes(queue, group, id string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.workers[queue+"/"+group+"/"+id].notes)
}

// AddWorker makes a worker known, with a quarantine if until is not zero.
func (t *Taskcluster) AddWorker(queue, group, id string, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.workers[queue+"/"+group+"/"+id] = &queueWorkerState{quarantined: until}
}

// SetQuarantine sets a worker's quarantine, as a person would.
func (t *Taskcluster) SetQuarantine(queue, group, id string, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.workers[queue+"/"+group+"/"+id].quarantined = until
}

// ClaimAs claims a task as that worker, with all it takes; false if it gets none.
func (t *Taskcluster) ClaimAs(queue, group, id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	claims, err := t.pending(queue, group, id, 1)
	return err == nil && len(claims) == 1
}

// Quarantine returns until when a worker is quarantined, and how often that was set.
func (t *Taskcluster) Quarantine(queue, group, id string) (until time.Time, set int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.workers[queue+"/"+group+"/"+id]
	return w.quarantined, w.set
}

// Complete resolves a task as its own worker would.
func (t *Taskcluster) Complete(taskID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tasks[taskID].resolve("completed", "completed", t.Now())
	t.ring()
}
