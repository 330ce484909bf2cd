// Package bare is what the baselines do: the same work straight on Temporal or by
// the binaries that people use, without roller. It imports nothing of roller.
package bare

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what a number of calls took.
type Load struct {
	Elapsed time.Duration
	Each    []time.Duration
}

// PerSecond is how many calls ended in a second.
func (l Load) PerSecond() float64 { return float64(len(l.Each)) / l.Elapsed.Seconds() }

// Run makes n calls, so many at once, and returns how long they took, or the first
// error, after which no further call is made.
func Run(ctx context.Context, n, atOnce int, call func(ctx context.Context, i int) error) (Load, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := Load{Each: make([]time.Duration, n)}
	var next atomic.Int64
	var callers sync.WaitGroup
	began := time.Now()
	for range atOnce {
		callers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				called := time.Now()
				if err := call(ctx, i); err != nil {
					cancel(err)
				}
				l.Each[i] = time.Since(called)
			}
		})
	}
	callers.Wait()
	l.Elapsed = time.Since(began)
	return l, context.Cause(ctx)
}
