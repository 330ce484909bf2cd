package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mozilla-platform-ops/roller/bench/bare"
)

const (
	// probeInterval is the worker's, PROBE_INTERVAL.
	probeInterval = time.Second
	// mostTimes the bare latency is what roller may take beside a probe's interval.
	mostTimes = 3
	// riseEvery is between two machines that come back: not a multiple of the interval,
	// so that they meet the probes at all phases.
	riseEvery = 130 * time.Millisecond
)

// detection brings machines back, one after the other, while a thousand others stay
// silent, and takes the time until each one's workflow has ended.
func detection(ctx context.Context, b *bench) (row Row, err error) {
	others, each := pick(b, 20, 1000), pick(b, 5, 40)
	row.Setup = fmt.Sprintf("%d machines stay silent in one worker while %d come back a round, one each %s: from the moment at which the kernel "+
		"answers pings and SSH at the machine's address to its workflow's end; PROBE_INTERVAL is %s. Baseline: from the return of a "+
		"workflow's only activity to its end, in another worker at the same time", others, each, riseEvery, probeInterval)
	w, err := b.wait(ctx, "detection", others+b.rounds*each)
	defer func() {
		if cerr := w.close(ctx); err == nil {
			err = cerr
		}
	}()
	if err != nil {
		return row, err
	}
	next := others
	rounds, err := b.alternate(ctx, b.rounds,
		func(ctx context.Context) (Sample, error) {
			l, err := bare.Ends(ctx, w.client, each, riseEvery)
			return ends(l, func(bare time.Duration) time.Duration { return probeInterval + mostTimes*bare }), err
		},
		func(ctx context.Context) (Sample, error) {
			first := next
			next += each
			l, err := bare.Times(ctx, each, riseEvery,
				func(i int) error { return w.fleet.rise(address(first + i)) },
				func(ctx context.Context, i int) (time.Time, error) {
					job := w.jobs[first+i]
					return bare.Ended(ctx, w.client, job.WorkflowID, job.TaskID)
				})
			return ends(l, func(p99 time.Duration) time.Duration { return p99 }), err
		})
	if err != nil {
		return row, err
	}
	row.Measures = []Measure{
		compare(rounds, "p50", "ms", nil), compare(rounds, "p99", "ms", nil),
		compare(rounds, "p99, by probe interval + 3 x bare p99", "ms", atMost(1)),
	}
	return row, nil
}

// ends is what a round measured, and its p99 as it is compared.
func ends(l bare.Load, compared func(p99 time.Duration) time.Duration) Sample {
	if len(l.Each) == 0 {
		return nil
	}
	p99 := quantile(l.Each, 0.99)
	return Sample{
		"p50": milliseconds(quantile(l.Each, 0.5)), "p99": milliseconds(p99),
		"p99, by probe interval + 3 x bare p99": milliseconds(compared(p99)),
	}
}
