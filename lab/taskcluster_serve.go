package lab

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
)

// priorities are those that a task may have, the highest first.
var priorities = []string{"highest", "very-high", "high", "medium", "low", "very-low", "lowest"}

// serve checks the call's scopes and carries it out.
func (t *Taskcluster) serve(r *http.Request, c call, in *asked) (any, error) {
	if c.name == "queue.claimWork" { // which waits, and so takes the lock by itself
		group, _ := in.body["workerGroup"].(string)
		id, _ := in.body["workerId"].(string)
		in.args["workerGroup"], in.args["workerId"] = group, id
		if err := permit(c, in, nil); err != nil {
			return nil, err
		}
		return t.claim(r, in)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	switch c.name {
	case "queue.createTask":
		return t.create(c, in)
	case "hooks.hook", "hooks.createHook", "hooks.updateHook", "hooks.triggerHook":
		if err := permit(c, in, nil); err != nil {
			return nil, err
		}
		return t.hook(c, in)
	}
	if c.name == "queue.getWorker" || c.name == "queue.quarantineWorker" {
		return t.worker(c, in)
	}
	if strings.HasPrefix(c.name, "notify.") {
		return t.notify(c, in)
	}
	q, run, err := t.run(in)
	if err != nil {
		return nil, err
	}
	for _, field := range []string{"schedulerId", "taskGroupId", "projectId"} {
		in.args[field] = q.text(field)
	}
	if err := permit(c, in, nil); err != nil {
		return nil, err
	}
	switch c.name {
	case "queue.status":
		return q.status(), nil
	case "queue.cancelTask":
		q.resolve("exception", "canceled", t.Now())
		return q.status(), nil
	case "queue.reclaimTask":
		return t.reclaim(q, run)
	case "queue.reportCompleted":
		return t.report(q, run, "completed", "completed")
	case "queue.reportFailed":
		return t.report(q, run, "failed", "failed")
	case "queue.reportException":
		reason, _ := in.body["reason"].(string)
		return t.report(q, run, "exception", reason)
	case "queue.createArtifact":
		return t.artifact(q, run, in)
	}
	t.mistake("%s is not known to this stand-in", c.name)
	return nil, refuse(http.StatusNotImplemented, "NotImplemented", "%s", c.name)
}

// splitQueue takes a task queue's ID apart.
func splitQueue(queue string) (provisioner, workerType string) {
	provisioner, workerType, _ = strings.Cut(queue, "/")
	return provisioner, workerType
}

func permit(c call, in *asked, lists map[string][]string) error {
	if missing := granted(c.scopes, in.scopes, in.args, lists); missing != "" {
		return refuse(http.StatusForbidden, "InsufficientScopes", "Client ID %s does not have sufficient scopes: %s", in.client, missing)
	}
	return nil
}

const (
	// createdDrift is how far a task's creation may be off, and longestLife how far in
	// the future its deadline may be (services/queue, src/api.js).
	createdDrift = 15 * time.Minute
	longestLife  = 5 * 24 * time.Hour
)

// problem is what the queue refuses in a definition that its schema allows.
func (q *queueTask) problem(now time.Time) string {
	created, deadline, expires := q.time("created"), q.time("deadline"), q.time("expires")
	switch {
	case now.Sub(created).Abs() > createdDrift:
		return "`created` cannot be in the past or future (max 15min drift)"
	case created.After(deadline), deadline.Before(now):
		return "`deadline` cannot be in the past"
	case deadline.Sub(now) > longestLife+createdDrift:
		return "`deadline` cannot be more than 5 days into the future"
	case !expires.IsZero() && expires.Before(deadline):
		return "`expires` cannot be before `deadline`"
	case slices.ContainsFunc(q.strings("scopes"), func(s string) bool { return strings.HasSuffix(s, "**") }):
		return "scopes must not end with `**`"
	}
	return ""
}

// create makes a task of a definition.
func (t *Taskcluster) create(c call, in *asked) (any, error) {
	q := &queueTask{definition: in.body}
	priority := cmp.Or(q.text("priority"), "lowest")
	in.args["schedulerId"], in.args["projectId"] = cmp.Or(q.text("schedulerId"), "-"), cmp.Or(q.text("projectId"), "none")
	in.args["provisionerId"], in.args["workerType"] = q.text("provisionerId"), q.text("workerType")
	if queue := q.text("taskQueueId"); queue != "" {
		in.args["provisionerId"], in.args["workerType"] = splitQueue(queue)
	}
	err := permit(c, in, map[string][]string{
		"scopes": q.strings("scopes"), "routes": q.strings("routes"),
		"priorities": priorities[:slices.Index(priorities, priority)+1],
	})
	if err != nil {
		return nil, err
	}
	if problem := q.problem(t.Now()); problem != "" {
		t.mistake("createTask: %s", problem)
		return nil, refuse(http.StatusBadRequest, "InputError", "%s", problem)
	}
	if t.tasks[in.args["taskId"]] != nil {
		return nil, refuse(http.StatusConflict, "RequestConflict", "taskId `%s` already used by another task.", in.args["taskId"])
	}
	t.add(in.args["taskId"], in.body)
	return t.tasks[in.args["taskId"]].status(), nil
}
