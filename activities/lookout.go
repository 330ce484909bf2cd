package activities

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// lookouts has one lookout for each site whose machines are being watched by
// this process: however many machines wait, each canary is asked once an
// interval.
type lookouts struct {
	mu   sync.Mutex
	open map[string]*lookout
}

// lookout asks the canaries of one site, all of them in one round, again and
// again. It knows for each moment of the last seconds whether the site could be
// seen, so that the silence of a machine can be held against it.
type lookout struct {
	site     string
	canaries []config.Canary
	prober   Prober
	need     int // rounds in a row without any answer that mean blind
	interval time.Duration
	timeout  time.Duration
	close    func()
	users    int // guarded by lookouts.mu

	mu     sync.Mutex
	rounds []*round      // oldest first
	news   chan struct{} // closed, and replaced, whenever a round ends
}

// round is one question to all canaries of a site.
type round struct {
	at       time.Time // when it was sent
	ended    bool
	answered bool // by one of them
}

// lookOut returns the lookout of a machine's site, nil where it has no canaries.
// All methods may be called on nil. Whoever has one must leave it. It serves
// many activities, so that the end of ctx is not its own.
func (a *Activities) lookOut(ctx context.Context, m config.Machine) *lookout {
	canaries := a.Config.Sight.Of(m.WorkerGroup)
	if len(canaries) == 0 {
		return nil
	}
	a.lookouts.mu.Lock()
	defer a.lookouts.mu.Unlock()
	l := a.lookouts.open[m.WorkerGroup]
	if l == nil {
		l = a.newLookout(context.WithoutCancel(ctx), m.WorkerGroup, canaries)
		a.lookouts.open[m.WorkerGroup] = l
	}
	l.users++
	return l
}

// lookOutFor is lookOut where the canaries may be believed.
func (a *Activities) lookOutFor(ctx context.Context, m config.Machine, b Baseline) *lookout {
	if b.DeafCanaries {
		return nil
	}
	return a.lookOut(ctx, m)
}

func (a *Activities) newLookout(ctx context.Context, site string, canaries []config.Canary) *lookout {
	c := a.Config.Ladder
	l := &lookout{
		site: site, canaries: canaries, prober: a.Prober, need: max(c.DownProbes, 1),
		interval: c.ProbeInterval.D(), timeout: c.ProbeTimeout.D(), news: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { l.run(ctx, &running) })
	l.close = func() { cancel(); running.Wait() }
	return l
}

// leave ends one use; the last one ends the lookout.
func (a *Activities) leave(l *lookout) {
	if l == nil {
		return
	}
	a.lookouts.mu.Lock()
	l.users--
	last := l.users == 0
	if last {
		delete(a.lookouts.open, l.site)
	}
	a.lookouts.mu.Unlock()
	if last {
		l.close()
	}
}

// run begins a round each interval, without waiting for the one before to end.
func (l *lookout) run(ctx context.Context, running *sync.WaitGroup) {
	ticker := time.NewTicker(l.interval)
	defer ticker.Stop()
	for {
		r := &round{at: time.Now()}
		l.begin(r)
		running.Go(func() { l.ask(ctx, r) })
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// begin adds a round and forgets those that nobody can ask for any more.
func (l *lookout) begin(r *round) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := 2*l.timeout + time.Duration(l.need+4)*l.interval
	l.rounds = slices.DeleteFunc(l.rounds, func(old *round) bool { return r.at.Sub(old.at) > keep })
	l.rounds = append(l.rounds, r)
}

// ask asks every canary; the first answer ends the round. A canary that cannot
// be asked (DNS does not answer either) has not answered.
func (l *lookout) ask(ctx context.Context, r *round) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, c := range l.canaries {
		asked.Go(func() {
			answered, err := l.prober.Probe(ctx, config.Machine{FQDN: c.Host, Addr: c.Host, Probe: c.Probe})
			if err == nil && answered {
				cancel() // the others need not
				l.end(r, true)
			}
		})
	}
	asked.Wait()
	l.end(r, false)
}

func (l *lookout) end(r *round, answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.ended {
		return
	}
	r.ended, r.answered = true, answered
	close(l.news)
	l.news = make(chan struct{})
}

// saw reports whether the site could be seen when a probe was sent. It waits
// until that is known; true where there are no canaries, or ctx ends first.
func (l *lookout) saw(ctx context.Context, at time.Time) bool {
	if l == nil {
		return true
	}
	for {
		seen, known, news := l.around(at)
		if known {
			return seen
		}
		select {
		case <-news:
		case <-ctx.Done():
			return true
		}
	}
}

// around judges by the rounds that were sent at about a moment, of which there is
// always one: an answer will do, and silence counts when all of them have ended.
func (l *lookout) around(at time.Time) (seen, known bool, news <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	about := l.interval * 3 / 4
	later, pending := false, false
	for _, r := range l.rounds {
		if r.at.Before(at.Add(-about)) {
			continue
		}
		later = later || !r.at.Before(at)
		if r.at.After(at.Add(about)) {
			break
		}
		if r.ended && r.answered {
			return true, true, l.news
		}
		pending = pending || !r.ended
	}
	return false, later && !pending, l.news
}

// blind reports whether the newest rounds have gone unanswered, as many in a row
// and as far apart as it takes to call a machine down.
func (l *lookout) blind() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := newPattern(true, l.need, l.interval)
	for _, r := range l.rounds {
		if r.ended {
			p.add(r.at, r.answered)
		}
	}
	return p.run >= p.need && !p.answered && p.last.Sub(p.first) >= p.spread
}

// decide waits until it is known whether the site can be seen now: it is when the
// newest round, or one after it, is answered. False where ctx ends first.
func (l *lookout) decide(ctx context.Context) (blind bool) {
	if l == nil {
		return false
	}
	from := time.Now().Add(-l.interval)
	for {
		if l.blind() {
			return true
		}
		seen, news := l.answeredSince(from)
		if seen {
			return false
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

func (l *lookout) answeredSince(from time.Time) (bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.rounds, func(r *round) bool { return r.answered && !r.at.Before(from) }), l.news
}

// text says what blind means, for people.
func (l *lookout) text() string { return fmt.Sprintf("none of %s's canaries answers", l.site) }
