package config

import "time"

// Drain is how a worker is taken out of Taskcluster's work before its machine is
// rebooted.
type Drain struct {
	Limit   Duration // DRAIN_LIMIT: how long the task that it runs is waited for, 1h
	Settle  Duration // DRAIN_SETTLE: how long a claim that was under way may still bring it a task, 25s
	Poll    Duration // DRAIN_POLL: between two looks at its tasks, 15s
	Silence Duration // DRAIN_SILENCE: how long a machine must show no life until its task counts as lost, 3m
	Loan    Duration // LOAN_QUARANTINE: how long the worker of a machine on loan is quarantined at most, 87600h
}

// DrainQuarantine is how much longer than all waits a quarantine lasts by itself:
// whatever becomes of roller, the worker takes work again after that.
const DrainQuarantine = Duration(12 * time.Hour)

func (e *environ) drain() Drain {
	return Drain{
		Limit:   e.duration("DRAIN_LIMIT", time.Hour, 0),
		Settle:  e.duration("DRAIN_SETTLE", 25*time.Second, 0), // an open claimWork lasts 20 s (services/queue)
		Poll:    e.duration("DRAIN_POLL", 15*time.Second, 100*time.Millisecond),
		Silence: e.duration("DRAIN_SILENCE", 3*time.Minute, time.Second),
		Loan:    e.duration("LOAN_QUARANTINE", 10*365*24*time.Hour, 24*time.Hour), // a loan ends by return_loan, not by its time
	}
}
