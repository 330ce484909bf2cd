package lab

import (
	"fmt"
	"net/http"
	"time"
)

// queueWorkerState is a worker as the queue knows it.
type queueWorkerState struct {
	quarantined time.Time // zero: it never was
	set         int       // how often its quarantine was set
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
