package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is one thing that is measured.
type row struct {
	name  string
	about string        // what, and beside what
	limit time.Duration // a row that takes longer has failed
	run   func(context.Context, *bench) (Row, error)
}

// rows are all there are, in the order of the table.
func rows() []row {
	return []row{
		{
			"accept", "POSTs that start a job, Hawk verified by the local stand-in, beside bare ExecuteWorkflow calls",
			10 * time.Minute, accept,
		},
		{
			"ladders", "ladders that end at the first rung, on machines that reboot at once, beside bare workflows with as many activities",
			15 * time.Minute, ladders,
		},
		{
			"power-cut", "all machines down at once, until the last is back, beside what their devices' intervals allow",
			15 * time.Minute, powerCut,
		},
		{
			"devices", "dialogues with devices, by roller's own code, beside the binaries that people use",
			15 * time.Minute, devices,
		},
		{
			"events", "history events and Temporal's state transitions of one job, from real runs of each outcome",
			5 * time.Minute, events,
		},
		{
			"in-flight", "what one worker process needs that waits for so many machines at once",
			60 * time.Minute, inside("in-flight", inFlight),
		},
		{
			"detection", "from the moment a machine could answer to its workflow's end, beside a bare activity's return and its workflow's end",
			20 * time.Minute, inside("detection", detection),
		},
	}
}

func rowNames() []string {
	var names []string
	for _, r := range rows() {
		names = append(names, r.name)
	}
	return names
}

// choose returns the rows with these names, all without any.
func choose(names string) ([]row, error) {
	if names == "" {
		return rows(), nil
	}
	var chosen []row
	for name := range strings.SplitSeq(names, ",") {
		at := slices.Index(rowNames(), strings.TrimSpace(name))
		if at < 0 {
			return nil, fmt.Errorf("row %q: there are %s", name, strings.Join(rowNames(), ", "))
		}
		chosen = append(chosen, rows()[at])
	}
	return chosen, nil
}

// bench is what the rows are measured with.
type bench struct {
	options
	say    func(string, ...any)
	server string // Temporal's version, once a row has spoken to it
}

func (b *bench) measure(ctx context.Context, r row) (Row, error) {
	b.say("%s: %s", r.name, r.about)
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	began, load := time.Now(), firstWord("/proc/loadavg")
	measured, err := r.run(ctx, b)
	if err != nil {
		return measured, err
	}
	measured.Name, measured.About, measured.Load = r.name, r.about, load
	measured.At, measured.Took = began.UTC().Truncate(time.Second), time.Since(began).Round(time.Second).String()
	for _, m := range measured.Measures {
		b.say("%s: %s", r.name, m)
	}
	return measured, nil
}

// pick returns how much is measured: the first in a small run.
func pick[T any](b *bench, small, full T) T {
	if b.small {
		return small
	}
	return full
}
