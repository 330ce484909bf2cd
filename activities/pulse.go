package activities

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
)

// pulse heartbeats through an attempt whatever it is busy with, and notices when
// this process was stopped for so long that the server may have given it up.
//
// What the server has heard last decides what a lost attempt counts as: as long as
// that is Preparing, nothing has been sent. So each heartbeat waits for its answer
// before the next one, and a command for that of Sending. The SDK's own heartbeats
// would not do: it keeps one back that follows another, and may send it after a
// later one (internal_task_handlers.go of v1.50.0, temporalInvoker.Heartbeat).
type pulse struct {
	record func(context.Context, Progress) error // sends one heartbeat, and waits for its answer

	mu      sync.Mutex
	fence   fence
	stalled error // why this attempt must not send any more
	details Progress
}

const (
	// cancelWithin is how soon a command learns of a cancel, which comes with the
	// answer to a heartbeat.
	cancelWithin = 3 * time.Second
	// bulkBeats is how many heartbeats a second the bulk jobs of one process send at
	// most to learn of a cancel: each is a write to Temporal's database, and the dev
	// server drowns in some 600.
	bulkBeats = 150
)

// crowd is the attempts of bulk jobs that are under way in this process. There may
// be thousands, which then learn of a cancel later.
type crowd struct{ size atomic.Int64 }

// every is the time between two heartbeats of an attempt that must beat once in
// needed, whatever else.
func (c *crowd) every(needed time.Duration, rank Rank) time.Duration {
	soon := cancelWithin
	if rank >= BulkRank {
		soon = max(soon, time.Duration(c.size.Load())*time.Second/bulkBeats)
	}
	return min(needed, soon)
}

func (c *crowd) join(rank Rank) (leave func()) {
	if rank < BulkRank {
		return func() {}
	}
	c.size.Add(1)
	return func() { c.size.Add(-1) }
}

// startPulse begins with what lasts longer than a moment, and of a bulk job with what
// lasts as long as it may take to learn of a cancel: of a worker that is lost
// before its first word it is known that it has sent nothing. It goes on after a
// cancel, for as long as the command takes whose reply is waited for: that worker is
// not lost.
func (a *Activities) startPulse(ctx context.Context, details Progress, rank Rank) (p *pulse, stop func()) {
	p = &pulse{record: func(ctx context.Context, details Progress) error { return recordProgress(ctx, details) }, fence: newFence(ctx), details: details}
	return p, a.keepBeating(ctx, p, rank)
}

func (a *Activities) keepBeating(ctx context.Context, p *pulse, rank Rank) (stop func()) {
	running, cancel := context.WithCancel(ctx)
	lasting, end := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), knowsOfCancel{}, true))
	leave := a.bulk.join(rank)
	var ticking sync.WaitGroup
	ticking.Go(func() {
		first := tellAfter
		if rank >= BulkRank { // a thousand that look at dark machines for some seconds have nothing to say
			first = a.bulk.every(heartbeatEvery(ctx), rank)
		}
		pause(running, min(first, heartbeatEvery(ctx)))
		tick := func(ctx context.Context) {
			for ctx.Err() == nil {
				p.beat(ctx)
				pause(ctx, a.bulk.every(heartbeatEvery(ctx), rank))
			}
		}
		tick(running)
		if ctx.Err() != nil && canceled(ctx) {
			tick(lasting)
		}
	})
	return func() { cancel(); end(); ticking.Wait(); leave() }
}

// knowsOfCancel marks the context of heartbeats that need not be told to the SDK.
type knowsOfCancel struct{}

// set changes what the heartbeats say, and sends one. Its error says that the
// server may not have it.
func (p *pulse) set(ctx context.Context, details Progress) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.details = details
	return p.tell(ctx)
}

// note changes what the heartbeats say, from the next one on: what decides nothing is
// worth no write to Temporal's database.
func (p *pulse) note(details Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.details = details
}

func (p *pulse) beat(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.tell(ctx) // whoever wants to send asks ready
}

// tell sends one heartbeat. One that may have been lost may also come late, after
// that of Sending: then this attempt must not send any more. The next one may,
// because the server takes no heartbeat of an attempt that is over.
func (p *pulse) tell(ctx context.Context) error {
	if p.stalled == nil {
		p.stalled = p.fence.check(ctx)
	}
	next := newFence(ctx)
	err := p.record(ctx, p.details)
	if err == nil {
		p.fence = next
	} else if p.stalled == nil && ctx.Err() == nil {
		p.stalled = notSent("tell Temporal how far it is: %w", err)
	}
	return err
}

// ready is asked at the last moment before a command goes out: this attempt is
// still the server's.
func (p *pulse) ready(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		return p.stalled
	}
	return p.fence.check(ctx)
}

// recordLimit is the longest time for one heartbeat's answer.
const recordLimit = 10 * time.Second

// recordProgress sends one heartbeat and waits for its answer: without an error the server
// has stored it. It is tried once, because of two copies one might come late.
// Outside Temporal there is nobody to tell.
func recordProgress(ctx context.Context, details any) error {
	if !activity.IsActivity(ctx) {
		return nil
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(details)
	if err != nil {
		return fmt.Errorf("encode the heartbeat: %w", err)
	}
	limit := recordLimit
	if t := heartbeatTimeout(ctx); t > 0 {
		limit = min(limit, t/2)
	}
	call, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	info := activity.GetInfo(ctx)
	answer, err := activity.GetClient(ctx).WorkflowService().RecordActivityTaskHeartbeat(call, &workflowservice.RecordActivityTaskHeartbeatRequest{
		Namespace: info.Namespace, TaskToken: info.TaskToken, Details: payloads,
	})
	_, over := errors.AsType[*serviceerror.NotFound](err)
	if ctx.Value(knowsOfCancel{}) != nil {
		return err
	}
	if over || answer.GetCancelRequested() || answer.GetActivityPaused() || answer.GetActivityReset() {
		beat(ctx, details) // the SDK hears the same, and ends this attempt's context
	}
	return err
}
