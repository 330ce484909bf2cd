package starter

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// world is a Temporal dev server with a worker of turns.
type world struct{ *stack.Stack }

func newWorld(t *testing.T) *world {
	t.Helper()
	temporal := os.Getenv("ROLLER_TEST_TEMPORAL")
	if temporal == "" {
		temporal = "../.bin/temporal"
	}
	temporal, err := filepath.Abs(temporal)
	require.NoError(t, err)
	require.FileExists(t, temporal, "run `make test`, which builds Temporal's CLI first")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := stack.New(ctx, stack.Options{Dir: t.TempDir(), Temporal: temporal, Database: true})
	require.NoError(t, err)
	t.Cleanup(s.Server.Stop)
	w := &world{s}
	served := worker.New(w.dial(t, nil), workflows.TaskQueue, worker.Options{})
	served.RegisterWorkflowWithOptions(workflows.Turn, workflow.RegisterOptions{Name: workflows.TurnType})
	require.NoError(t, served.Start())
	t.Cleanup(served.Stop)
	return w
}

// dial is a process's client; fault may answer a call in the place of the server.
func (w *world) dial(t *testing.T, fault grpc.UnaryClientInterceptor) client.Client {
	t.Helper()
	o := client.Options{HostPort: w.Address, Namespace: w.Namespace, Logger: quiet{}}
	if fault != nil {
		o.ConnectionOptions.DialOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(fault)}
	}
	c, err := client.NewLazyClient(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// process is one worker's turns.
func (w *world) process(t *testing.T, fault grpc.UnaryClientInterceptor) *Turns {
	t.Helper()
	turns := NewTurns(w.dial(t, fault), w.Namespace)
	t.Cleanup(turns.Close)
	return turns
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

func at(name string) workflows.TurnAsk {
	return workflows.TurnAsk{
		Device: config.Device{Kind: config.PDU, Name: name}, Rank: workflows.ClickRank,
		Since: time.Now(), Lease: time.Minute,
	}
}

// take takes a turn. A goroutine may call it too: without one nothing is held.
func take(t *testing.T, p *Turns, ask workflows.TurnAsk) workflows.HeldTurn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	turn, err := p.Take(ctx, ask)
	if !assert.NoError(t, err) {
		turn.Release = func() {}
	}
	return turn
}

// events counts the events of all turns at a device that have ended.
func (w *world) events(t *testing.T, c client.Client, ask workflows.TurnAsk) int {
	t.Helper()
	id := workflows.DeviceID(ask.Device)
	require.NoError(t, c.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil))
	n := 0
	for iter := c.GetWorkflowHistory(t.Context(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); iter.HasNext(); n++ {
		_, err := iter.Next()
		require.NoError(t, err)
	}
	return n
}

func TestTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, test := range map[string]func(*testing.T, *world){
		"one at a time, in several processes": oneAtATime,
		"events":                              fewEvents,
		"devices do not wait for each other":  otherDevice,
		"a person before a bulk job":          clickFirst,
		"a person in another process":         clickElsewhere,
		"a person behind a bulk job there":    clickJoinsElsewhere,
		"announcing takes no device":          announcesToNobody,
		"the lease ends a lost turn":          leaseEnds,
		"who leaves the line holds nothing":   leaves,
		"a lost answer is found":              lostAnswer,
		"a lost answer that nobody waits for": lostAnswerAbandoned,
		"a lost release is repeated":          lostRelease,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// Promise 7: one at a time, an interval between any two, with intervals that the
// holder waits for and such that Temporal's timer does.
func oneAtATime(t *testing.T, w *world) {
	for _, interval := range []time.Duration{250 * time.Millisecond, timedRest} {
		ask := at("one-" + interval.String())
		ask.Interval = interval
		processes := []*Turns{w.process(t, nil), w.process(t, nil)}
		var mu sync.Mutex
		var last time.Time
		var holders sync.WaitGroup
		for i := range 6 {
			holders.Go(func() {
				turn := take(t, processes[i%2], ask)
				mu.Lock()
				begun := time.Now()
				if !last.IsZero() {
					assert.GreaterOrEqual(t, begun.Sub(last), interval)
				}
				last = begun.Add(time.Hour) // whoever came now would be an hour early
				mu.Unlock()
				pause(t.Context(), 20*time.Millisecond)
				mu.Lock()
				last = time.Now()
				mu.Unlock()
				turn.Release()
			})
		}
		holders.Wait()
	}
}

func fewEvents(t *testing.T, w *world) {
	c := w.dial(t, nil)
	for interval, most := range map[time.Duration]int{0: 6, timedRest - 1: 6, timedRest: 11} {
		ask := at("events-" + interval.String())
		ask.Interval = interval
		take(t, w.process(t, nil), ask).Release()
		require.Eventually(t, func() bool {
			v, err := c.DescribeWorkflowExecution(t.Context(), workflows.DeviceID(ask.Device), "")
			return err == nil && v.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
		}, time.Minute, 20*time.Millisecond)
		require.Equal(t, most, w.events(t, c, ask))
	}
}

func otherDevice(t *testing.T, w *world) {
	p := w.process(t, nil)
	slow := take(t, p, at("slow"))
	defer slow.Release()
	take(t, p, at("free")).Release()
}

// inLine puts asks into the line one after the other, and returns who had a turn
// in what order.
func inLine(t *testing.T, held workflows.HeldTurn, asks []workflows.TurnAsk, of []*Turns) []int {
	t.Helper()
	order := make(chan int, len(asks))
	var all sync.WaitGroup
	for i, ask := range asks {
		all.Go(func() {
			turn := take(t, of[i], ask)
			order <- i
			turn.Release()
		})
		require.Eventually(t, func() bool {
			l := of[i].line(ask.Device)
			l.mu.Lock()
			defer l.mu.Unlock()
			return slices.ContainsFunc(l.waiting, func(w *waiter) bool { return w.ask == ask })
		}, time.Minute, time.Millisecond)
		require.Eventually(t, func() bool {
			return ask.Rank == workflows.BulkRank || of[i].announced(t.Context(), ask, "") <= ask.Rank
		}, time.Minute, 10*time.Millisecond)
	}
	held.Release()
	all.Wait()
	close(order)
	var got []int
	for i := range order {
		got = append(got, i)
	}
	return got
}

func clickFirst(t *testing.T, w *world) {
	p := w.process(t, nil)
	begun := time.Now()
	ask := func(rank workflows.Rank, since time.Duration) workflows.TurnAsk {
		a := at("order")
		a.Rank, a.Since = rank, begun.Add(since)
		return a
	}
	asks := []workflows.TurnAsk{
		ask(workflows.BulkRank, 2), ask(workflows.BulkRank, 1), ask(workflows.ClickRank, 4),
		ask(workflows.ClickRank, 3), ask(workflows.DarkRank, 5),
	}
	got := inLine(t, take(t, p, ask(workflows.BulkRank, 0)), asks, []*Turns{p, p, p, p, p})
	require.Equal(t, []int{4, 3, 2, 1, 0}, got)
}

func clickElsewhere(t *testing.T, w *world) {
	a, b := w.process(t, nil), w.process(t, nil)
	bulk, click := at("elsewhere"), at("elsewhere")
	bulk.Rank = workflows.BulkRank
	got := inLine(t, take(t, a, bulk), []workflows.TurnAsk{bulk, click}, []*Turns{a, b})
	require.Equal(t, []int{1, 0}, got)
}

func leaseEnds(t *testing.T, w *world) {
	ask := at("lost")
	ask.Lease = 2 * time.Second
	begun := time.Now()
	take(t, w.process(t, nil), ask) // by a process that is not heard of again
	take(t, w.process(t, nil), ask).Release()
	require.GreaterOrEqual(t, time.Since(begun), ask.Lease)
}

func leaves(t *testing.T, w *world) {
	p := w.process(t, nil)
	held := take(t, p, at("left"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := p.Take(ctx, at("left"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	held.Release()
	short := at("left")
	short.Lease = 10 * time.Minute // the next one does not wait for it
	begun := time.Now()
	take(t, p, short).Release()
	take(t, p, short).Release()
	require.Less(t, time.Since(begun), time.Minute)
}

// loses lets the server do what it was asked, and loses so many of its answers.
func loses(method string, answers int32) (grpc.UnaryClientInterceptor, *atomic.Int32) {
	var calls atomic.Int32
	return func(ctx context.Context, name string, in, out any, cc *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
		err := call(ctx, name, in, out, cc, o...)
		if strings.HasSuffix(name, "/"+method) && calls.Add(1) <= answers {
			return serviceerror.NewUnavailable("the answer is lost")
		}
		return err
	}, &calls
}

func lostAnswer(t *testing.T, w *world) {
	fault, calls := loses("StartWorkflowExecution", 2)
	begun := time.Now()
	turn := take(t, w.process(t, fault), at("unanswered"))
	require.Less(t, time.Since(begun), at("").Lease, "its own run is no rival")
	require.EqualValues(t, 3, calls.Load())
	require.LessOrEqual(t, turn.Began.Sub(begun), turnRetry, "the lease began with the first question")
	turn.Release()
	take(t, w.process(t, nil), at("unanswered")).Release()
}

func lostAnswerAbandoned(t *testing.T, w *world) {
	fault, _ := loses("StartWorkflowExecution", 1)
	ctx, cancel := context.WithCancel(t.Context())
	p := w.process(t, func(c context.Context, name string, in, out any, cc *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
		err := fault(c, name, in, out, cc, call, o...)
		cancel() // who asked is gone when the answer is lost
		return err
	})
	_, err := p.Take(ctx, at("abandoned"))
	require.Error(t, err)
	begun := time.Now()
	take(t, w.process(t, nil), at("abandoned")).Release()
	require.Less(t, time.Since(begun), at("").Lease)
}

func lostRelease(t *testing.T, w *world) {
	refuses := atomic.Int32{}
	p := w.process(t, func(ctx context.Context, name string, in, out any, cc *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
		if strings.HasSuffix(name, "/RequestCancelWorkflowExecution") && refuses.Add(1) <= 2 {
			return serviceerror.NewPermissionDenied("not now", "") // which the SDK does not repeat by itself
		}
		return call(ctx, name, in, out, cc, o...)
	})
	take(t, p, at("unreleased")).Release()
	begun := time.Now()
	take(t, w.process(t, nil), at("unreleased")).Release()
	require.Less(t, time.Since(begun), at("").Lease)
	require.Greater(t, refuses.Load(), int32(2))
}

// A turn outlives the server: nobody else has the device before it is released.
func TestTurnOutlivesTemporal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.process(t, nil), w.process(t, nil)
	held := take(t, a, at("kept"))
	w.Server.Kill()
	got := make(chan workflows.HeldTurn, 1)
	go func() { got <- take(t, b, at("kept")) }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, w.StartServer(ctx))
	l := b.line(at("kept").Device)
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.why == "others were before it"
	}, time.Minute, 20*time.Millisecond, "the restarted server knows of the turn")
	require.Empty(t, got)
	held.Release()
	(<-got).Release()
}

func TestLineIsAsFairAsItsRanks(t *testing.T) {
	t.Parallel()
	l := &line{}
	begun := time.Now()
	var joined []*waiter
	for i, ask := range []workflows.TurnAsk{
		{Rank: workflows.BulkRank, Since: begun},
		{Rank: workflows.ClickRank, Since: begun.Add(2)},
		{Rank: workflows.ClickRank, Since: begun.Add(1)},
		{Rank: workflows.ClickRank, Since: begun.Add(1)},
	} {
		w := &waiter{ask: ask, turn: make(chan workflows.HeldTurn, 1)}
		require.Equal(t, i == 0, l.join(w), "one serves the line")
		joined = append(joined, w)
	}
	_, left := l.leave(joined[1])
	require.True(t, left)
	for i, w := range []*waiter{joined[2], joined[3], joined[0]} {
		ctx, first := l.next()
		require.Same(t, w, first, fmt.Sprint(i))
		require.Equal(t, w.ask.Rank, l.rank())
		require.True(t, l.give(w, workflows.HeldTurn{}))
		require.Len(t, w.turn, 1, fmt.Sprint(i))
		require.NoError(t, ctx.Err())
	}
	require.False(t, l.give(joined[2], workflows.HeldTurn{}), "it waits no more")
	_, left = l.leave(joined[2])
	require.False(t, left, "it has its turn")
	_, nobody := l.next()
	require.Nil(t, nobody)
}
