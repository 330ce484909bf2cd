package activities

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"

	"github.com/mozilla-platform-ops/roller/config"
)

// TaskWorker is a machine as Taskcluster's queue knows it.
type TaskWorker struct {
	ProvisionerID string `json:"provisioner_id"`
	WorkerType    string `json:"worker_type"`
	WorkerGroup   string `json:"worker_group"`
	WorkerID      string `json:"worker_id"`
}

// String names the worker as Taskcluster's scopes do.
func (w TaskWorker) String() string {
	return w.ProvisionerID + "/" + w.WorkerType + "/" + w.WorkerGroup + "/" + w.WorkerID
}

// Quarantine is what the queue says of a worker.
type Quarantine struct {
	Known bool      `json:"known"`          // else the queue has never seen it, and it runs nothing
	Until time.Time `json:"until,omitzero"` // zero: it was never quarantined
}

// QuarantineChange sets a quarantine. A lift names the one that roller had set: one
// that somebody has changed since is theirs.
type QuarantineChange struct {
	Worker TaskWorker `json:"worker"`
	Until  time.Time  `json:"until,omitzero"`
	Ours   time.Time  `json:"ours,omitzero"`
	Note   string     `json:"note,omitempty"` // for whoever sees the quarantine; an older Taskcluster has no room for it
}

func (a *Activities) getWorker(ctx context.Context, w TaskWorker) (*tcqueue.WorkerResponse, error) {
	cfg := a.Config.Taskcluster
	worker, err := asRoller(ctx, cfg, cfg.Timeout.D()).GetWorker(w.ProvisionerID, w.WorkerType, w.WorkerGroup, w.WorkerID)
	if err == nil {
		return worker, nil
	}
	if answered(err) == http.StatusNotFound {
		return nil, meaning(UnknownMachine, "getWorker: the queue does not know %s", w)
	}
	return nil, refusedOr("getWorker", w, "queue:get-worker:", err)
}

// refusedOr tells an answer that will be given again from none.
func refusedOr(call string, w TaskWorker, scope string, err error) error {
	if settled(err) {
		return refused("%s: taskcluster answered %d; does TASKCLUSTER_CLIENT_ID have the scope %s%s?", call, answered(err), scope, w)
	}
	return plainly(call, err)
}

// QuarantineRead asks the queue for a worker's quarantine. Errors: NotSent, Refused.
func (a *Activities) QuarantineRead(ctx context.Context, w TaskWorker) (Quarantine, error) {
	worker, err := a.getWorker(ctx, w)
	if err != nil && MeaningOf(err) == UnknownMachine {
		return Quarantine{}, nil
	}
	if err != nil {
		return Quarantine{}, fail(endedOr(ctx, err))
	}
	return Quarantine{Known: true, Until: time.Time(worker.QuarantineUntil)}, nil
}

// QuarantineSet quarantines a worker. Setting it twice is setting it once.
// Errors: NotSent (it may be set all the same), Refused.
func (a *Activities) QuarantineSet(ctx context.Context, c QuarantineChange) error {
	return fail(endedOr(ctx, a.quarantine(ctx, c.Worker, c.Until, c.Note)))
}

func (a *Activities) quarantine(ctx context.Context, w TaskWorker, until time.Time, note string) error {
	body := noted{tcclient.Time(until), note}
	err := a.putQuarantine(ctx, w, body)
	if note != "" && answered(err) == http.StatusBadRequest { // it is of a time before notes
		body.QuarantineInfo = ""
		err = a.putQuarantine(ctx, w, body)
	}
	if err != nil {
		return refusedOr("quarantineWorker", w, "queue:quarantine-worker:", err)
	}
	return nil
}

// noted is the body of quarantineWorker as later services have it: the client library
// knows no note.
type noted struct {
	QuarantineUntil tcclient.Time `json:"quarantineUntil"`
	QuarantineInfo  string        `json:"quarantineInfo,omitempty"`
}

func (a *Activities) putQuarantine(ctx context.Context, w TaskWorker, body noted) error {
	cfg := a.Config.Taskcluster
	q := tcclient.Client(*asRoller(ctx, cfg, cfg.Timeout.D()).Queue)
	route := "/provisioners/" + url.PathEscape(w.ProvisionerID) + "/worker-types/" + url.PathEscape(w.WorkerType) +
		"/workers/" + url.PathEscape(w.WorkerGroup) + "/" + url.PathEscape(w.WorkerID)
	_, _, err := (&q).APICall(&body, http.MethodPut, route, new(tcqueue.WorkerResponse), nil)
	return err
}

// QuarantineLift puts a worker's quarantine back to what it was before roller's own;
// where it was none, to a time that is over. Errors: NotSent, Refused.
func (a *Activities) QuarantineLift(ctx context.Context, c QuarantineChange) error {
	worker, err := a.getWorker(ctx, c.Worker)
	switch {
	case err != nil && MeaningOf(err) == UnknownMachine: // there is nothing to lift
		return nil
	case err != nil:
		return fail(endedOr(ctx, err))
	case !time.Time(worker.QuarantineUntil).Equal(c.Ours):
		return nil // somebody's own, or back already
	}
	until := c.Until
	if until.IsZero() {
		until = time.Now().Add(-time.Second)
	}
	return fail(endedOr(ctx, a.quarantine(ctx, c.Worker, until, c.Note)))
}

// Draining is the input of AwaitDrained.
type Draining struct {
	Worker TaskWorker      `json:"worker"`
	Settle config.Duration `json:"settle"` // how long a claim that was under way may still bring a task
	Limit  config.Duration `json:"limit"`  // how long the task is waited for after that
}

// Drained is why nothing more is waited for.
type Drained struct {
	Why string `json:"why"`
}

// hungMargin is how long before its end a claim is renewed at the latest: one that
// is nearer to its end than that is a hung worker's.
const hungMargin = time.Minute

// AwaitDrained waits until a quarantined worker runs no task any more, or has not
// renewed its claim, or its machine is dead, or the time is over. Errors: Handover when roller's own worker
// stops.
func (a *Activities) AwaitDrained(ctx context.Context, in Draining) (Drained, error) {
	p := until(ctx, in.Settle.D()+in.Limit.D())
	settles := p.Until.Add(-in.Limit.D())
	poll := time.NewTicker(a.Config.Drain.Poll.D())
	defer poll.Stop()
	machine := a.silenceOf(ctx, in.Worker)
	defer machine.leave()
	for {
		busy, why := a.runsTask(ctx, in.Worker)
		if busy && machine.lasts(ctx) {
			busy, why = false, "its machine has shown no life for "+a.Config.Drain.Silence.String()+", so that its task is lost"
		}
		now := time.Now()
		switch {
		case !busy && !now.Before(settles):
			return Drained{Why: why}, nil
		case !now.Before(p.Until):
			return Drained{Why: "not waited for any longer: " + why}, nil
		}
		beat(ctx, p)
		select {
		case <-ctx.Done():
			return Drained{}, fail(ended(ctx))
		case <-stopping(ctx):
			return Drained{}, fail(meaning(Handover, "this worker stops: another one must go on waiting for %s", in.Worker))
		case <-poll.C:
		}
	}
}

// runsTask reports whether a worker runs a task. What the queue does not say counts
// as running: the time is bounded.
func (a *Activities) runsTask(ctx context.Context, w TaskWorker) (busy bool, why string) {
	worker, err := a.getWorker(ctx, w)
	if err != nil {
		return MeaningOf(err) != UnknownMachine, err.Error()
	}
	if len(worker.RecentTasks) == 0 {
		return false, "it has run no task"
	}
	last := worker.RecentTasks[len(worker.RecentTasks)-1]
	name := last.TaskID + "/" + strconv.FormatInt(last.RunID, 10)
	cfg := a.Config.Taskcluster
	answer, err := asRoller(ctx, cfg, cfg.Timeout.D()).Status(last.TaskID)
	if answered(err) == http.StatusNotFound {
		return false, "its last task " + name + " is long over"
	}
	if err != nil {
		return true, refusedOr("status", w, "queue:status:"+last.TaskID+" for ", err).Error()
	}
	for _, run := range answer.Status.Runs {
		if run.RunID != last.RunID || run.State != "running" || run.WorkerID != w.WorkerID || run.WorkerGroup != w.WorkerGroup {
			continue
		}
		if left := time.Until(time.Time(run.TakenUntil)); left < hungMargin {
			return false, fmt.Sprintf("it hangs: it has not renewed its claim of task %s", name)
		}
		return true, "task " + name + " runs"
	}
	return false, "its last task " + name + " is over"
}
