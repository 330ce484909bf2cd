package workflows

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

var (
	gecko   = activities.TaskWorker{ProvisionerID: "p", WorkerType: "w", WorkerGroup: "mdc1", WorkerID: "ms1-10"}
	theLoan = activities.RunRef{WorkflowID: MachineID(ms1), RunID: "the-loan"}
	later   = activities.RunRef{WorkflowID: MachineID(ms1), RunID: "a-later-job"}
)

// lent is what a loan's run did.
type lent struct {
	memos   []LoanReading
	changes []string // of the quarantine: set, note, lift
	events  []activities.LoanEvent
	news    []LoanNews
	asked   chan struct{} // closed, where it is not nil, when Bugzilla is first asked
}

// newLoan is a world in which a loan's run does all it does, and its job goes on.
func newLoan(t *testing.T) (*world, *lent) {
	t.Helper()
	w, l := newWorld(t, LoanType), &lent{}
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: LoanID(ms1), TaskQueue: TaskQueue})
	w.env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, LoanNewsSignal, mock.Anything).Return(
		func(_, _, _, _ string, v any) error {
			n, ok := v.(LoanNews)
			require.True(t, ok)
			l.news = append(l.news, n)
			return nil
		}).Maybe()
	w.env.OnUpsertMemo(mock.Anything).Run(func(args mock.Arguments) {
		memo, ok := args.Get(0).(map[string]any)
		require.True(t, ok)
		r, ok := memo[activities.LoanMemo].(LoanReading)
		require.True(t, ok)
		l.memos = append(l.memos, r)
	}).Return(nil).Maybe()
	return w, l
}

// changing says what becomes of the changes of the quarantine.
func (l *lent) changing(w *world, known bool, liftErr ...error) {
	w.env.OnWorkflow(LoanQuarantineType, mock.Anything, mock.Anything).Return(func(_ workflow.Context, in LoanQuarantineInput) (LoanQuarantined, error) {
		switch {
		case in.Lift:
			l.changes = append(l.changes, "lift")
			if len(liftErr) > 0 {
				err := liftErr[0]
				liftErr = liftErr[1:]
				return LoanQuarantined{}, err
			}
		case in.Change.Ours.IsZero():
			l.changes = append(l.changes, "set")
		default:
			l.changes = append(l.changes, "note")
		}
		return LoanQuarantined{Known: known, Until: in.Change.Until}, nil
	}).Maybe()
}

func (l *lent) bugzilla(w *world, err error) {
	w.env.OnActivity(a.BugzillaLoan, mock.Anything, mock.Anything).Return(func(_ context.Context, b activities.LoanBug) (activities.BugResult, error) {
		if l.asked != nil && len(l.events) == 0 {
			close(l.asked)
		}
		l.events = append(l.events, b.Event)
		return activities.BugResult{ID: 7, URL: "https://bugs.example/7"}, err
	}).Maybe()
}

func (l *lent) steps() []LoanStep {
	var all []LoanStep
	for _, n := range l.news {
		all = append(all, n.Step)
	}
	return all
}

// ordered is an order, and when it comes.
type ordered struct {
	after time.Duration
	LoanOrder
}

func lendTo(w *world, noBug string, orders ...ordered) {
	for _, o := range orders {
		w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(LoanSignal, o.LoanOrder) }, o.after)
	}
	w.env.ExecuteWorkflow(LoanType, LoanInput{
		Loan: Loan{Machine: ms1, By: "sheriff", Why: "a bug", Worker: gecko}, FQDN: "ms1-10.example", Job: theLoan,
		For: config.Duration(87600 * time.Hour), BugLimit: config.Duration(24 * time.Hour), BugRetry: config.Duration(10 * time.Minute),
		Heartbeat: config.Duration(time.Minute), NoBug: noBug,
	})
}

// A loan lasts from its job's word until the machine is returned, and nothing else
// lifts its quarantine.
func TestOnLoan(t *testing.T) {
	t.Parallel()
	keep := ordered{time.Minute, LoanOrder{Step: LoanKeep, Job: theLoan}}
	back := ordered{2400 * time.Hour, LoanOrder{Step: LoanReturn, Job: later, Reimage: "back"}}
	refusedBug := temporal.NewNonRetryableApplicationError("bad key", string(activities.Refused), nil)
	for name, test := range map[string]struct {
		orders  []ordered
		unknown bool          // the queue does not know the worker
		noBug   string        // why none can be filed
		closes  time.Duration // when the job closes, 0: never
		cancels time.Duration
		lifts   []error // of the tries to lift the quarantine
		changes []string
		events  []activities.LoanEvent
		steps   []LoanStep
	}{
		"lent and returned": {
			orders: []ordered{keep, back}, changes: []string{"set", "note", "lift"},
			events: []activities.LoanEvent{activities.LoanBegan, activities.LoanEnded}, steps: []LoanStep{"", LoanKeep, LoanReturn},
		},
		"no bugs are filed":             {orders: []ordered{keep, back}, noBug: "no key", changes: []string{"set", "lift"}, steps: []LoanStep{"", LoanReturn}},
		"its job closes without a word": {closes: time.Minute, changes: []string{"set", "lift"}, steps: []LoanStep{""}},
		"an unknown worker":             {unknown: true, changes: []string{"set"}, steps: []LoanStep{""}},
		"somebody else's word counts for nothing": {
			orders: []ordered{{time.Minute, LoanOrder{Step: LoanKeep, Job: later}}}, closes: time.Hour,
			changes: []string{"set", "lift"}, steps: []LoanStep{"", LoanKeep},
		},
		"asked for again, and not reimaged": {
			orders: []ordered{
				keep,
				{time.Hour, LoanOrder{Step: LoanAgain, Job: later}},
				{2 * time.Hour, LoanOrder{Step: LoanLook, Job: later}},
				{3 * time.Hour, LoanOrder{Step: LoanStay, Job: later, Reimage: "not_back"}},
				back,
			},
			changes: []string{"set", "note", "lift"},
			events:  []activities.LoanEvent{activities.LoanBegan, activities.LoanAsked, activities.LoanStays, activities.LoanEnded},
			steps:   []LoanStep{"", LoanKeep, LoanAgain, LoanLook, LoanStay, LoanReturn},
		},
		"a quarantine that cannot be lifted at first": {
			orders: []ordered{keep, back, {2500 * time.Hour, LoanOrder{Step: LoanReturn, Job: later}}}, lifts: []error{refusedBug},
			changes: []string{"set", "note", "lift", "lift"},
			events:  []activities.LoanEvent{activities.LoanBegan, activities.LoanEnded}, steps: []LoanStep{"", LoanKeep, LoanReturn, LoanReturn},
		},
		"cancelled by somebody": {orders: []ordered{keep}, cancels: time.Hour, changes: []string{"set", "note"}, events: []activities.LoanEvent{activities.LoanBegan}, steps: []LoanStep{"", LoanKeep}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := newLoan(t)
			l.changing(w, !test.unknown, test.lifts...)
			l.bugzilla(w, nil)
			w.env.OnActivity(a.AwaitClosed, mock.Anything, mock.Anything).Return(activities.Closed{How: "cancelled"}, nil).
				After(cmp.Or(test.closes, 10000*time.Hour)).Maybe()
			if test.cancels > 0 {
				w.env.RegisterDelayedCallback(w.env.CancelWorkflow, test.cancels)
			}
			lendTo(w, test.noBug, test.orders...)
			require.True(t, w.env.IsWorkflowCompleted())
			require.Equal(t, test.changes, l.changes)
			require.Equal(t, test.events, l.events)
			require.Equal(t, test.steps, l.steps())
			want := []string{"", "https://bugs.example/7"} // the bugs of the memos: at the hand-over, and once it is filed
			if test.noBug != "" {
				want = want[:1]
			}
			if !slices.Contains(test.steps, LoanReturn) && test.cancels == 0 {
				want = nil // it was never handed over
			}
			require.Len(t, l.memos, len(want))
			for i, m := range l.memos {
				require.Equal(t, want[i], m.Bug)
				require.Equal(t, []string{"sheriff", "a bug"}, []string{m.ClientID, m.Why})
				require.False(t, m.Since.IsZero() || m.Until.IsZero())
			}
			require.Equal(t, test.cancels > 0, temporal.IsCanceledError(w.env.GetWorkflowError()), "%v", w.env.GetWorkflowError())
		})
	}
}

// A Bugzilla that is down all the time holds up neither the job nor the quarantine's end.
func TestLoanWithoutBugzilla(t *testing.T) {
	t.Parallel()
	w, l := newLoan(t)
	l.changing(w, true)
	l.bugzilla(w, temporal.NewNonRetryableApplicationError("bad key", string(activities.Refused), nil))
	w.env.OnActivity(a.AwaitClosed, mock.Anything, mock.Anything).Return(activities.Closed{}, nil).After(10000 * time.Hour).Maybe()
	began := w.env.Now()
	var lifted time.Duration
	w.env.RegisterDelayedCallback(func() {
		if len(l.changes) == 2 {
			lifted = w.env.Now().Sub(began)
		}
	}, 2*time.Hour+time.Minute)
	lendTo(w, "", ordered{time.Minute, LoanOrder{Step: LoanKeep, Job: theLoan}}, ordered{2 * time.Hour, LoanOrder{Step: LoanReturn, Job: later}})
	require.True(t, w.env.IsWorkflowCompleted())
	require.Error(t, w.env.GetWorkflowError(), "what could not be told is seen")
	require.Equal(t, []string{"set", "lift"}, l.changes)
	require.NotZero(t, lifted, "it was lifted while the bug was being filed")
	require.Equal(t, []LoanStep{"", LoanReturn}, l.steps())
	require.Equal(t, activities.LoanBegan, l.events[0])
	require.Equal(t, activities.LoanEnded, l.events[len(l.events)-1])
}

// A quarantine is set for no shorter than somebody had, and one that may have been set
// is undone.
func TestLoanQuarantine(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	ours, longer := now.AddDate(10, 0, 0), now.AddDate(1000, 0, 0)
	for name, test := range map[string]struct {
		in     LoanQuarantineInput
		before activities.Quarantine
		setErr error
		want   []activities.QuarantineChange // set and lifted
		out    LoanQuarantined
	}{
		"set": {
			in: LoanQuarantineInput{Change: activities.QuarantineChange{Until: ours, Note: "n"}}, before: activities.Quarantine{Known: true, Until: now},
			want: []activities.QuarantineChange{{Until: ours, Note: "n"}}, out: LoanQuarantined{Known: true, Before: now, Until: ours},
		},
		"there is a longer one": {
			in: LoanQuarantineInput{Change: activities.QuarantineChange{Until: ours}}, before: activities.Quarantine{Known: true, Until: longer},
			want: []activities.QuarantineChange{{Until: longer}}, out: LoanQuarantined{Known: true, Before: longer, Until: longer},
		},
		"an unknown worker": {in: LoanQuarantineInput{Change: activities.QuarantineChange{Until: ours}}},
		"it may have been set": {
			in: LoanQuarantineInput{Change: activities.QuarantineChange{Until: ours}}, before: activities.Quarantine{Known: true, Until: now},
			setErr: temporal.NewNonRetryableApplicationError("no scope", string(activities.Refused), nil),
			want:   []activities.QuarantineChange{{Until: ours}, {Until: now, Ours: ours}},
		},
		"its note": {
			in: LoanQuarantineInput{Change: activities.QuarantineChange{Until: ours, Ours: ours, Note: "n"}}, before: activities.Quarantine{Known: true, Until: ours},
			want: []activities.QuarantineChange{{Until: ours, Ours: ours, Note: "n"}}, out: LoanQuarantined{Known: true, Before: ours, Until: ours},
		},
		"its note, where somebody lifted it": {
			in: LoanQuarantineInput{Change: activities.QuarantineChange{Until: ours, Ours: ours, Note: "n"}}, before: activities.Quarantine{Known: true, Until: now},
			out: LoanQuarantined{Known: true, Before: now},
		},
		"lifted": {
			in:   LoanQuarantineInput{Change: activities.QuarantineChange{Until: now, Ours: ours}, Lift: true},
			want: []activities.QuarantineChange{{Until: now, Ours: ours}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, LoanQuarantineType)
			var did []activities.QuarantineChange
			change := func(err error) func(context.Context, activities.QuarantineChange) error {
				return func(_ context.Context, c activities.QuarantineChange) error { did = append(did, c); return err }
			}
			w.env.OnActivity(a.QuarantineRead, mock.Anything, mock.Anything).Return(test.before, nil).Maybe()
			w.env.OnActivity(a.QuarantineSet, mock.Anything, mock.Anything).Return(change(test.setErr)).Maybe()
			w.env.OnActivity(a.QuarantineLift, mock.Anything, mock.Anything).Return(change(nil)).Maybe()
			test.in.Limit = config.Duration(time.Minute)
			w.env.ExecuteWorkflow(LoanQuarantineType, test.in)
			require.Equal(t, test.want, did)
			if test.setErr != nil {
				require.ErrorContains(t, w.env.GetWorkflowError(), "no scope")
				return
			}
			var out LoanQuarantined
			require.NoError(t, w.env.GetWorkflowResult(&out))
			require.Equal(t, test.out, out)
		})
	}
}

// answering plays a machine's loan for its jobs: nil answers as nobody does.
func (w *world) answering(t *testing.T, answer func(LoanOrder) *LoanNews) *[]LoanStep {
	t.Helper()
	var orders []LoanStep
	w.env.OnSignalExternalWorkflow(mock.Anything, LoanID(ms1), "", LoanSignal, mock.Anything).Return(func(_, _, _, _ string, v any) error {
		order, ok := v.(LoanOrder)
		require.True(t, ok)
		orders = append(orders, order.Step)
		news := answer(order)
		if news == nil {
			return &temporal.UnknownExternalWorkflowExecutionError{}
		}
		news.Step = order.Step
		w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(LoanNewsSignal, *news) }, time.Second)
		return nil
	}).Maybe()
	return &orders
}

// The job lends nothing but a machine whose worker is quarantined, and only after its
// task is over.
func TestLoanJob(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		on      *Loan // the machine's, already
		queue   string
		unknown bool // the queue does not know the worker
		outcome Outcome
		why     string
		orders  []LoanStep
		events  []activities.LoanEvent
	}{
		"lent":              {queue: "w", outcome: Done, why: "; its task is over", orders: []LoanStep{LoanAgain}, events: []activities.LoanEvent{activities.LoanBegan, activities.LoanEnded}},
		"on loan already":   {queue: "w", on: &Loan{By: "sheriff", Bug: &Bug{ID: 7}}, outcome: Done, why: "on loan already: to sheriff", orders: []LoanStep{LoanAgain}},
		"an unknown worker": {queue: "w", unknown: true, outcome: Refused, why: "does not know the worker p/w/mdc1/ms1-10", orders: []LoanStep{LoanAgain}},
		"of no known queue": {outcome: Refused, why: "provisioner_id and worker_type are needed", orders: []LoanStep{LoanAgain}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := newWorld(t, config.Loan), &lent{}
			w.plan.Drain = activities.Drain{ProvisionerID: "p", WorkerType: test.queue}
			orders := w.answering(t, func(LoanOrder) *LoanNews {
				if test.on != nil {
					return &LoanNews{Loan: *test.on}
				}
				return nil
			})
			l.changing(w, !test.unknown)
			l.bugzilla(w, nil)
			l.asked = make(chan struct{})
			w.env.OnActivity(a.AwaitClosed, mock.Anything, mock.Anything).Return(func(context.Context, activities.RunRef) (activities.Closed, error) {
				<-l.asked // the job goes on until then
				return activities.Closed{}, nil
			}).Maybe()
			w.env.OnActivity(a.AwaitDrained, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.Draining) (activities.Drained, error) {
				require.Equal(t, gecko, in.Worker)
				require.Equal(t, []string{"set"}, l.changes, "first the quarantine")
				require.Empty(t, l.events, "and the bug last")
				return activities.Drained{Why: "its task is over"}, nil
			}).Maybe()
			w.env.RegisterDelayedCallback(func() { // the suite waits for what the job leaves behind
				_ = w.env.SignalWorkflowByID(LoanID(ms1), LoanSignal, LoanOrder{Step: LoanReturn, Job: later})
			}, 48*time.Hour)
			r, err := w.run(t, config.Loan)
			require.Equal(t, test.outcome, r.Outcome, "%v", err)
			require.Equal(t, test.outcome == Done, err == nil, "%v", err)
			require.Contains(t, r.Why, test.why)
			require.Equal(t, test.orders, *orders)
			require.Equal(t, test.events, l.events)
			require.Equal(t, test.events != nil || test.on != nil, r.Bug != nil && r.Bug.ID == 7, "%+v", r.Bug)
		})
	}
}

// Only a machine that was reimaged and is back takes work again, unless the request
// says otherwise; one that is not on loan is left alone.
func TestReturnLoan(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		off     bool // it is not on loan
		asIs    bool
		skip    string // why it cannot be reimaged
		answers []answer
		ups     []activities.Sight
		lift    string // why the quarantine cannot be lifted
		outcome Outcome
		why     string
		orders  []LoanStep
	}{
		"reimaged":             {answers: []answer{cycled, wasOn}, ups: []activities.Sight{installd}, outcome: Back, orders: []LoanStep{LoanLook, LoanReturn}},
		"refused":              {answers: []answer{refusedIt}, outcome: Refused, why: "wrong password; it stays quarantined, and on loan", orders: []LoanStep{LoanLook, LoanStay}},
		"not back":             {answers: []answer{cycled, wasOn, wasOn}, ups: []activities.Sight{{Done: true}}, outcome: NotBack, why: "it stays quarantined, and on loan", orders: []LoanStep{LoanLook, LoanStay}},
		"as it is":             {asIs: true, skip: "no ipmi entry", outcome: Done, orders: []LoanStep{LoanLook, LoanReturn}},
		"no way to reimage":    {skip: "no ipmi entry", outcome: Refused, why: "it cannot be reimaged (no ipmi entry) and stays quarantined", orders: []LoanStep{LoanLook}},
		"not on loan":          {off: true, outcome: Refused, why: "is not on loan: nothing was done", orders: []LoanStep{LoanLook}},
		"reimaged, no lifting": {answers: []answer{cycled, wasOn}, ups: []activities.Sight{installd}, lift: "no scope", outcome: Failed, why: "cannot be lifted, so that it is on loan still: no scope", orders: []LoanStep{LoanLook, LoanReturn}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newInstall(t, unset, nil)
			w.plan.Rungs[0].Skip = test.skip
			w.answers, w.ups = test.answers, test.ups
			orders := w.answering(t, func(order LoanOrder) *LoanNews {
				switch {
				case test.off:
					return nil
				case order.Step == LoanReturn:
					require.Empty(t, w.answers, "first the reimage")
					return &LoanNews{Failed: test.lift}
				}
				return &LoanNews{}
			})
			w.env.ExecuteWorkflow(config.ReturnLoan, Job{WorkerID: "ms1-10", WorkerGroup: "mdc1", NoReimage: test.asIs})
			var r Result
			value, err := w.env.QueryWorkflow(ProgressQuery)
			require.NoError(t, err)
			require.NoError(t, value.Get(&r))
			require.Equal(t, test.outcome, r.Outcome, "%+v", r)
			require.Contains(t, r.Why, test.why)
			require.Equal(t, test.orders, *orders)
			require.Empty(t, w.answers)
			good := test.outcome == Back || test.outcome == Done
			require.Equal(t, good, w.env.GetWorkflowError() == nil, "%v", w.env.GetWorkflowError())
		})
	}
}
