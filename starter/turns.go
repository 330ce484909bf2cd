package starter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const (
	// turnCall bounds one question to Temporal about a turn.
	turnCall = 5 * time.Second
	// turnRetry is the pause after a question that Temporal did not answer.
	turnRetry = 500 * time.Millisecond
	// turnLook is how long the end of another's turn is waited for before it is
	// looked whether its holder still lives: longer than most turns are.
	turnLook = 5 * time.Second
	// turnStale is how old a turn of this process's own may be when it is found
	// to have been given: with an older one too little of the lease is left.
	turnStale = 10 * time.Second
	// headStart is how much later than a better rank that waits in another worker each
	// rank asks for a device that has become free.
	headStart = 200 * time.Millisecond
	// timedRest is the least interval that Temporal's timer waits for: its timers are up
	// to a second late (history.timerProcessorMaxTimeShift), which is most of a shorter
	// one, for each command to a device. The holder waits for those itself.
	timedRest = 3 * time.Second
	// overdue is how long the server lets a turn be that no worker ends: its
	// workflow is a line long, and yet no mistake may hold a device for ever.
	overdue = 5 * time.Minute
	// turnPriority: a turn's end is what others wait for.
	turnPriority = 1
	// lastReleases is how long a stopping process has for giving its turns back.
	// It is more than timedRest.
	lastReleases = 5 * time.Second
)

// Turns gives out devices, to one holder at a time over all processes: the turn
// is an open run whose workflow ID is the device's, so that Temporal itself
// admits no second one. It implements activities.Turns.
type Turns struct {
	client    client.Client
	namespace string
	identity  string // who holds a device, for people: process and host

	mu        sync.Mutex
	lines     map[config.Device]*line
	closed    bool
	releasing sync.WaitGroup
}

// NewTurns gives out the devices of one Temporal namespace.
func NewTurns(c client.Client, namespace string) *Turns {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return &Turns{
		client: c, namespace: namespace, identity: fmt.Sprintf("%d@%s", os.Getpid(), host),
		lines: map[config.Device]*line{},
	}
}

// Take implements activities.Turns. In this process who asks is served by rank,
// and within a rank by when it first asked; of several processes either may be
// next, but the later ranks ask later.
func (t *Turns) Take(ctx context.Context, ask workflows.TurnAsk) (workflows.HeldTurn, error) {
	l := t.line(ask.Device)
	w := &waiter{ask: ask, turn: make(chan workflows.HeldTurn, 1)}
	if l.join(w) {
		go t.serve(l) //nolint:contextcheck // for all who wait, of whom each may leave
	} else {
		t.track(func() { t.announce(ctx, l) })
	}
	select {
	case turn := <-w.turn:
		return turn, nil
	case <-ctx.Done():
	}
	why, left := l.leave(w)
	if !left {
		(<-w.turn).Release()
		why = "it came too late"
	}
	return workflows.HeldTurn{}, fmt.Errorf("%s: %w", why, context.Cause(ctx))
}

func (t *Turns) line(d config.Device) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines[d] == nil {
		t.lines[d] = &line{}
	}
	return t.lines[d]
}

// serve asks for one turn after the other until nobody waits.
func (t *Turns) serve(l *line) {
	for ctx, w := l.next(); w != nil; ctx, w = l.next() {
		t.askFor(ctx, l, w)
	}
}

// askFor asks for one who waits, and where another has the device returns when
// it may be asked for again. A turn is his for whom it was asked for: by what
// its run says of its holder others tell whether it is over.
func (t *Turns) askFor(ctx context.Context, l *line, w *waiter) {
	began, request := time.Now(), uuid.NewString()
	run, rival, err := t.ask(ctx, l, w.ask, request)
	switch {
	case err != nil:
		t.track(func() { t.abandon(context.WithoutCancel(ctx), w.ask, request, began) })
	case run != "":
		turn := t.held(ctx, w.ask, run, began)
		if aged(began) >= turnStale || !l.give(w, turn) {
			turn.Release()
		}
	default:
		l.say("others were before it")
		l.meet(rival)
		t.announce(ctx, l)
		t.outwait(ctx, l, w.ask, rival)
		t.yield(ctx, l, w.ask, rival)
	}
}

// aged is the time since a moment by whichever clock saw more of it: one of them
// stands still while this process's machine is paused.
func aged(since time.Time) time.Duration {
	return max(time.Since(since), time.Now().Round(0).Sub(since.Round(0)))
}

// ask starts a turn. A question without an answer is repeated as the same
// request, which finds the run that an earlier one started: run is this
// request's own, rival another's. The error means that it is not known whether
// there is one.
func (t *Turns) ask(ctx context.Context, l *line, ask workflows.TurnAsk, request string) (run, rival string, err error) {
	for {
		run, err = t.start(ctx, ask, request)
		if err == nil {
			return run, "", nil
		}
		if other, ok := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); ok {
			return "", other.RunId, nil
		}
		l.say(unavailable(err).Error())
		if pause(ctx, turnRetry); ctx.Err() != nil {
			return "", "", err
		}
	}
}

// start asks once. No cancel tears the question in two.
func (t *Turns) start(ctx context.Context, ask workflows.TurnAsk, request string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), turnCall)
	defer cancel()
	start, err := t.request(ask, request)
	if err != nil {
		return "", err
	}
	answer, err := t.client.WorkflowService().StartWorkflowExecution(ctx, start)
	return answer.GetRunId(), err
}

// request describes a turn to Temporal.
func (t *Turns) request(ask workflows.TurnAsk, request string) (*workflowservice.StartWorkflowExecutionRequest, error) {
	in := workflows.TurnInput{Interval: config.Duration(ask.Interval - ownRest(ask))}
	input, err := converter.GetDefaultDataConverter().ToPayloads(in)
	if err != nil {
		return nil, err
	}
	holder, err := converter.GetDefaultDataConverter().ToPayload(ask.Holder)
	if err != nil {
		return nil, err
	}
	return &workflowservice.StartWorkflowExecutionRequest{
		Namespace: t.namespace, RequestId: request,
		WorkflowId:   workflows.DeviceID(ask.Device),
		WorkflowType: &commonpb.WorkflowType{Name: workflows.TurnType},
		TaskQueue:    &taskqueuepb.TaskQueue{Name: workflows.TaskQueue},
		Input:        input,
		Memo:         &commonpb.Memo{Fields: map[string]*commonpb.Payload{holderMemo: holder}},
		Identity:     t.identity,
		// The lease: the delay ends by the release, or by itself.
		WorkflowStartDelay:       durationpb.New(ask.Lease + ownRest(ask)),
		WorkflowRunTimeout:       durationpb.New(ask.Lease + ask.Interval + overdue),
		WorkflowIdReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIdConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		Priority:                 &commonpb.Priority{PriorityKey: turnPriority},
	}, nil
}

// held makes a run the caller's turn.
func (t *Turns) held(ctx context.Context, ask workflows.TurnAsk, run string, began time.Time) workflows.HeldTurn {
	ctx = context.WithoutCancel(ctx)
	var once sync.Once
	return workflows.HeldTurn{Began: began, Release: func() {
		once.Do(func() { t.track(func() { t.release(ctx, ask, run, began) }) })
	}}
}

// ownRest is the part of a turn's interval that its holder waits for, before it gives
// the turn back: all of a short one, nothing of any other.
func ownRest(ask workflows.TurnAsk) time.Duration {
	if ask.Interval < timedRest {
		return ask.Interval
	}
	return 0
}

// release ends a turn, after the part of its interval that is the holder's. One that
// cannot be released ends by its lease.
func (t *Turns) release(ctx context.Context, ask workflows.TurnAsk, run string, began time.Time) {
	ctx, cancel := context.WithDeadline(ctx, began.Add(ask.Lease+ownRest(ask)))
	defer cancel()
	pause(ctx, ownRest(ask))
	for ctx.Err() == nil {
		err := t.giveBack(ctx, ask.Device, run)
		if err == nil || gone(err) {
			return
		}
		pause(ctx, turnRetry)
	}
}

func (t *Turns) giveBack(ctx context.Context, d config.Device, run string) error {
	ctx, cancel := context.WithTimeout(ctx, turnCall)
	defer cancel()
	return t.client.CancelWorkflow(ctx, workflows.DeviceID(d), run)
}

// abandon gives back what an unanswered question may have started, as soon as the
// same question is answered.
func (t *Turns) abandon(ctx context.Context, ask workflows.TurnAsk, request string, began time.Time) {
	ctx, cancel := context.WithDeadline(ctx, began.Add(ask.Lease))
	defer cancel()
	for ctx.Err() == nil {
		run, err := t.start(ctx, ask, request)
		if err == nil {
			t.release(ctx, ask, run, began)
			return
		}
		if _, taken := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); taken {
			return
		}
		pause(ctx, turnRetry)
	}
}

// track lets Close wait for what gives a turn back.
func (t *Turns) track(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		go do()
		return
	}
	t.releasing.Go(do)
}

// Close returns when all turns have been given back, or after a while: then their
// leases end them. It is for a process that ends.
func (t *Turns) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	done := make(chan struct{})
	go func() { t.releasing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(lastReleases):
	}
}

// gone reports whether a run has ended, or is not known any more.
func gone(err error) bool {
	_, ok := errors.AsType[*serviceerror.NotFound](err)
	return ok
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
