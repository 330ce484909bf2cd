package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
)

// rampage is one run, from the first click to the recorded facts.
type rampage struct {
	*site
	options options
	say     func(string, ...any)
	began   time.Time
	clicks  *clicks
	strikes *strikes
}

// run makes trouble, ends it, waits for all jobs and records.
func (r *rampage) run(ctx context.Context) (*check.Facts, error) {
	r.clicks = &clicks{site: r.site, rand: random(r.options.seed, "clicks"), cancels: map[string]int{}}
	r.strikes = &strikes{site: r.site, rand: random(r.options.seed, "strikes")}
	r.say("faults, clicks and kills begin")
	r.trouble(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r.say("%d strikes, %d clicks; now all jobs are to end", len(r.strikes.struck), len(r.clicks.posts)+len(r.clicks.starts))
	if err := r.heal(ctx); err != nil {
		return nil, err
	}
	if err := r.settle(ctx, r.say); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r.say("not all jobs have ended within %s", settleLimit)
	}
	return r.record(ctx)
}

// trouble goes on for the duration, and until the last kill that was planned.
func (r *rampage) trouble(ctx context.Context) {
	devices := &faults{site: r.site, rand: random(r.options.seed, "faults"), machine: map[*lab.Machine]bool{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { r.clicks.run(ctx) })
	running.Go(func() { devices.run(ctx) })
	running.Go(func() { r.progress(ctx) })
	r.strikes.run(ctx, r.options.duration)
	r.strikes.back.Wait()
	cancel()
	running.Wait()
}

// progress says now and then how far it is.
func (r *rampage) progress(ctx context.Context) {
	every := time.NewTicker(30 * time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			r.clicks.mu.Lock()
			clicks := len(r.clicks.posts) + len(r.clicks.starts)
			r.clicks.mu.Unlock()
			r.strikes.mu.Lock()
			r.say("%d strikes, %d clicks, %d commands", len(r.strikes.struck), clicks,
				r.lab.Count("", func(e lab.Entry) bool { return e.Control }))
			r.strikes.mu.Unlock()
		}
	}
}

// heal sees to it that every process is there, and every device is as it is by
// itself.
func (r *rampage) heal(ctx context.Context) error {
	if err := errors.Join(r.strikes.errs...); err != nil {
		return err
	}
	for _, p := range r.slots {
		if err := p.up(ctx); err != nil {
			return err
		}
		if p.ended() {
			return fmt.Errorf("%s has ended by itself: %s", p.name, p.process.Tail())
		}
	}
	for _, m := range r.lab.Machines() {
		heal(m) //nolint:contextcheck // a simulated machine outlives whoever heals it
	}
	r.bugs.SetFaults(lab.BugzillaFaults{})
	return nil
}

// record reads everything that the checkers need, and keeps it in a file.
func (r *rampage) record(ctx context.Context) (*check.Facts, error) {
	r.say("reading the histories")
	r.stopRoller()
	f := &check.Facts{
		Seed: r.options.seed, Began: r.began, Duration: r.options.duration, Wanted: map[string]int{}, Rest: rests,
		Log: r.lab.Log(), Edges: r.lab.Edges(), Posts: r.clicks.posts, Starts: r.clicks.starts, Cancels: r.clicks.cancels,
		Strikes: r.strikes.struck, Bugs: r.bugs.Bugs(),
	}
	for _, kind := range r.kinds() {
		f.Wanted[kind] = wanted(r.options.duration)
	}
	for _, m := range r.lab.Machines() {
		f.Machines = append(f.Machines, check.Machine{Name: nameOf(m), Spec: m.Spec(), Final: m.State()})
	}
	var err error
	if f.Runs, f.Found, err = r.runs(ctx); err != nil {
		return nil, err
	}
	found, err := r.texts(f.Posts)
	if err != nil {
		return nil, err
	}
	f.Found, f.Ended = append(f.Found, found...), time.Now()
	text, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return f, os.WriteFile(filepath.Join(r.options.dir, "facts.json"), text, 0o600)
}
