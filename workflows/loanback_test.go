package workflows

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// A return that is revoked ends the loan, or leaves the machine on loan and
// quarantined, and the loan says which.
func TestLoanReturnIsRevoked(t *testing.T) {
	t.Parallel()
	back := ordered{2 * time.Hour, LoanOrder{Step: LoanReturn, Job: later, Reimage: "back"}}
	// The test suite tries an activity ten times at most, which takes five minutes here.
	revoke := ordered{back.after + 3*time.Minute, LoanOrder{Step: LoanRevoke, Job: later}}
	again := ordered{30 * time.Hour, LoanOrder{Step: LoanReturn, Job: theLoan}}
	stays := []activities.LoanEvent{activities.LoanBegan, activities.LoanStays, activities.LoanEnded}
	over := []activities.LoanEvent{activities.LoanBegan, activities.LoanEnded}
	lost := errors.New("no answer")
	for name, test := range map[string]struct {
		orders []ordered
		down   time.Duration // until when, from the loan's begin, each try to lift has no answer
		lifts  bool          // it is lifted all the same
		during bool          // it is revoked while a try is under way
		blind  bool          // nor does Taskcluster answer what there is
		failed []string      // what the news of each return say, "" of one that ended the loan
		steps  []LoanStep
		events []activities.LoanEvent
	}{
		"while taskcluster is down": {
			orders: []ordered{back, revoke, again}, down: 29 * time.Hour, failed: []string{"was not lifted by then", ""},
			steps: []LoanStep{LoanReturn, LoanReturn}, events: stays,
		},
		"while nothing is known": {
			orders: []ordered{back, revoke, again}, down: 29 * time.Hour, blind: true, failed: []string{"whether its quarantine was lifted is not known", ""},
			steps: []LoanStep{LoanReturn, LoanReturn}, events: stays,
		},
		"after a lost answer":      {orders: []ordered{back, revoke}, down: 29 * time.Hour, lifts: true, failed: []string{""}, steps: []LoanStep{LoanReturn}, events: over},
		"by somebody else":         {orders: []ordered{back, {revoke.after, LoanOrder{Step: LoanRevoke, Job: theLoan}}}, down: revoke.after + time.Minute, failed: []string{""}, steps: []LoanStep{LoanReturn}, events: over},
		"after it was carried out": {orders: []ordered{back}, during: true, failed: []string{""}, steps: []LoanStep{LoanReturn}, events: over},
		"and asked for meanwhile": {
			orders: []ordered{back, {back.after + 2*time.Minute, LoanOrder{Step: LoanAgain, Job: theLoan}}, revoke, again}, down: 29 * time.Hour,
			failed: []string{"was not lifted by then", ""}, steps: []LoanStep{LoanReturn, LoanAgain, LoanReturn},
			events: []activities.LoanEvent{activities.LoanBegan, activities.LoanStays, activities.LoanAsked, activities.LoanEnded},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := newLoan(t)
			l.bugzilla(w, nil)
			var until time.Time // of the quarantine
			began := w.env.Now()
			w.env.OnActivity(a.AwaitClosed, mock.Anything, mock.Anything).Return(activities.Closed{}, nil).After(10000 * time.Hour).Maybe()
			w.env.OnActivity(a.QuarantineRead, mock.Anything, mock.Anything).Return(func(context.Context, activities.TaskWorker) (activities.Quarantine, error) {
				if test.blind && !until.IsZero() && len(l.steps()) > 1 && w.env.Now().Sub(began) < test.down {
					return activities.Quarantine{}, lost
				}
				return activities.Quarantine{Known: true, Until: until}, nil
			}).Maybe()
			w.env.OnActivity(a.QuarantineSet, mock.Anything, mock.Anything).Return(func(_ context.Context, c activities.QuarantineChange) error {
				until = c.Until
				return nil
			}).Maybe()
			w.env.OnActivity(a.QuarantineLift, mock.Anything, mock.Anything).Return(func(_ context.Context, c activities.QuarantineChange) error {
				require.True(t, until.Equal(c.Ours) || test.lifts)
				if test.during {
					w.env.SignalWorkflow(LoanSignal, revoke.LoanOrder)
				}
				down := w.env.Now().Sub(began) < test.down
				if !down || test.lifts {
					until = c.Until
				}
				if down {
					return lost
				}
				return nil
			}).Maybe()
			lendTo(w, "", append([]ordered{{time.Minute, LoanOrder{Step: LoanKeep, Job: theLoan}}}, test.orders...)...)
			require.True(t, w.env.IsWorkflowCompleted())
			require.NoError(t, w.env.GetWorkflowError())
			var failed []string
			for _, n := range l.news {
				if n.Step == LoanReturn {
					failed = append(failed, n.Failed)
				}
			}
			require.Len(t, failed, len(test.failed), "%v", failed)
			for i, want := range test.failed {
				require.Contains(t, failed[i], want)
				require.Equal(t, want == "", failed[i] == "", "%q", failed[i])
			}
			require.Equal(t, append([]LoanStep{"", LoanKeep}, test.steps...), l.steps())
			require.Equal(t, test.events, l.events)
			require.True(t, until.IsZero(), "and in the end it is lifted")
		})
	}
}

// A return that is cancelled, or whose loan does not answer, ends with what is true: the
// machine is on loan still, or the loan is over.
func TestReturnLoanCancelled(t *testing.T) {
	t.Parallel()
	const onLoan = "it is reimaged and back, and stays quarantined, and on loan"
	revoked := []LoanStep{LoanLook, LoanReturn, LoanRevoke}
	for name, test := range map[string]struct {
		asIs    bool
		install time.Duration // how long it is installed
		clear   time.Duration // and then, up again, its network boot looked at
		cancel  time.Duration // 0: never
		// lifted is what the loan says of the return: "-" nothing, "late" that it is over,
		// once the order is revoked, or why it is not.
		lifted  string
		outcome Outcome
		ends    bool // as a job that was not cancelled
		why     string
		orders  []LoanStep
	}{
		"while it is installed":   {install: time.Hour, cancel: 10 * time.Minute, outcome: Cancelled, why: "it stays quarantined, and on loan", orders: []LoanStep{LoanLook, LoanStay}},
		"before it is ordered":    {clear: time.Hour, cancel: 30 * time.Minute, outcome: Cancelled, why: onLoan, orders: []LoanStep{LoanLook, LoanStay}},
		"and the loan is over":    {cancel: 5 * time.Minute, lifted: "late", outcome: Back, ends: true, orders: revoked},
		"and the loan goes on":    {cancel: 5 * time.Minute, lifted: "not lifted by then", outcome: Cancelled, why: onLoan, orders: revoked},
		"as it is":                {asIs: true, cancel: 5 * time.Minute, lifted: "not lifted by then", outcome: Cancelled, why: "it stays quarantined, and on loan", orders: revoked},
		"and nobody says":         {cancel: 5 * time.Minute, lifted: "-", outcome: Cancelled, why: onLoan, orders: revoked},
		"never, and nobody says":  {lifted: "-", outcome: Failed, why: "did not answer within 11m0s; " + onLoan + "; loan/mdc1/ms1-10 did not answer within 5m0s; it ends when its quarantine can be lifted", orders: revoked},
		"never, and it goes on":   {lifted: "not lifted by then", outcome: Failed, why: onLoan + "; not lifted by then", orders: revoked},
		"never, and over at last": {lifted: "late", outcome: Back, ends: true, orders: revoked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newInstall(t, unset, nil)
			if !test.asIs {
				w.answers, w.ups = []answer{cycled, wasOn, wasOn}, []activities.Sight{installd}
			}
			w.takes = map[string]time.Duration{"AwaitInstalled": test.install, "ClearNetboot": test.clear}
			var orders []LoanStep
			w.env.OnSignalExternalWorkflow(mock.Anything, LoanID(ms1), "", LoanSignal, mock.Anything).Return(func(_, _, _, _ string, v any) error {
				order, ok := v.(LoanOrder)
				require.True(t, ok)
				orders = append(orders, order.Step)
				news := LoanNews{Step: order.Step}
				if order.Step == LoanRevoke {
					news.Step = LoanReturn
					if test.lifted != "late" {
						news.Failed = test.lifted
					}
				}
				if order.Step == LoanLook || order.Step == LoanRevoke && test.lifted != "-" {
					w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(LoanNewsSignal, news) }, time.Second)
				}
				return nil
			}).Maybe()
			if test.cancel > 0 {
				w.env.RegisterDelayedCallback(w.env.CancelWorkflow, test.cancel)
			}
			w.env.ExecuteWorkflow(config.ReturnLoan, Job{WorkerID: "ms1-10", WorkerGroup: "mdc1", NoReimage: test.asIs})
			require.True(t, w.env.IsWorkflowCompleted())
			value, err := w.env.QueryWorkflow(ProgressQuery)
			require.NoError(t, err)
			var r Result
			require.NoError(t, value.Get(&r))
			require.Equal(t, test.outcome, r.Outcome, "%+v", r)
			require.Equal(t, test.orders, orders)
			require.Contains(t, r.Why, test.why)
			require.Equal(t, test.outcome == Cancelled, temporal.IsCanceledError(w.env.GetWorkflowError()), "%v", w.env.GetWorkflowError())
			require.Equal(t, test.ends, w.env.GetWorkflowError() == nil, "%v", w.env.GetWorkflowError())
			last := r.Attempts[len(r.Attempts)-1]
			require.NotEqual(t, Running, last.Outcome)
			if test.ends {
				require.Contains(t, last.Why, "its worker takes work again")
				require.Equal(t, test.cancel > 0, last.Why == "its worker takes work again; the cancel came too late", last.Why)
			}
		})
	}
}
