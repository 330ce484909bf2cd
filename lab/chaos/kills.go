package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
)

const (
	// killEvery is the time for one kill of each kind: a full run of eight
	// minutes makes 24.
	killEvery = 20 * time.Second
	// awaitCommand is how long a strike waits for a command to strike in. One
	// that none came for strikes all the same.
	awaitCommand = 6 * time.Second
	// downMost is the longest time until a killed process is started anew.
	downMost = 2 * time.Second
	// killsPerFreeze is how many kills there are for one frozen worker.
	killsPerFreeze = 18
	// quiet is the share of strikes that wait for no command.
	quiet = 0.15
)

// wanted is how many kills of each kind a run of this length makes.
func wanted(d time.Duration) int { return max(1, int(d/killEvery)) }

// strikes is what was struck, and what is to be.
type strikes struct {
	site *site
	rand *rand.Rand

	mu     sync.Mutex
	struck []check.Strike
	back   sync.WaitGroup // processes being started anew, frozen ones waiting to go on
	errs   []error
}

func (k *strikes) add(s check.Strike) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.struck = append(k.struck, s)
}

// plan is the kinds to be killed, in a random order.
func (k *strikes) plan(each int) []string {
	var kinds []string
	for range each {
		kinds = append(kinds, k.site.kinds()...)
	}
	k.rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	return kinds
}

// run kills by the plan, and freezes workers in between. It goes on until all
// have been made, also past the time that was planned for them.
func (k *strikes) run(ctx context.Context, d time.Duration) {
	kinds := k.plan(wanted(d))
	pace := time.NewTicker(d / time.Duration(len(kinds)+1))
	defer pace.Stop()
	for i, kind := range kinds {
		if i%killsPerFreeze == 0 {
			k.freeze(ctx)
		}
		k.kill(ctx, kind)
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
	}
}

// kill kills one process of a kind and has it started anew.
func (k *strikes) kill(ctx context.Context, kind string) {
	pause := time.Duration(k.rand.Int64N(int64(downMost)))
	p, hit := k.strike(ctx, kind, false)
	if p == nil {
		return
	}
	k.add(hit)
	k.back.Go(func() {
		select {
		case <-ctx.Done(): // the run is over, but all processes are to be there for its end
		case <-time.After(pause):
		}
		if err := p.up(context.WithoutCancel(ctx)); err != nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.errs = append(k.errs, err)
		}
	})
}

// freeze stops a worker in mid-command, past every time-out of that command.
func (k *strikes) freeze(ctx context.Context) {
	p, hit := k.strike(ctx, check.Worker, true)
	if p == nil {
		return
	}
	k.back.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(frozen):
		}
		p.thaw()
		hit.Until = time.Now()
		k.add(hit)
	})
}

// strike waits for a command and strikes while its device has it; a worker that
// sent the command itself is struck first of all.
func (k *strikes) strike(ctx context.Context, kind string, freeze bool) (*slot, check.Strike) {
	moment := []lab.Moment{lab.Arrived, lab.Acted}[k.rand.IntN(2)]
	first := k.rand.IntN(2)
	var struck *slot
	var made check.Strike
	if freeze || k.rand.Float64() >= quiet {
		a := k.site.striker.aim(moment, func(e lab.Entry) bool {
			for _, p := range k.inOrder(kind, first) {
				if kind == check.Worker && !sender(p.pid(), e.From) {
					continue
				}
				if hit, ok := p.strike(freeze); ok {
					hit.Command = e.Seq
					struck, made = p, hit
					return true
				}
			}
			return false
		})
		select {
		case <-a.done:
		case <-ctx.Done():
		case <-time.After(awaitCommand):
		}
		if !k.site.striker.drop(a) {
			return struck, made
		}
	}
	for !freeze && ctx.Err() == nil { // at any moment
		for _, p := range k.inOrder(kind, first) {
			if hit, ok := p.strike(false); ok {
				return p, hit
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil, check.Strike{}
}

func (k *strikes) inOrder(kind string, first int) []*slot {
	slots := k.site.kind(kind)
	first %= len(slots)
	return append(slots[first:len(slots):len(slots)], slots[:first]...)
}
