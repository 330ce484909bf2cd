package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

// limited starts a job that changes something only while its client and all
// clients together have started few enough. Whoever has not may still join what
// runs and hear the first answer again: that switches nothing.
func (s *server) limited(ctx context.Context, r *starter.Request) (starter.Job, error) {
	if config.IsRead(r.Task) {
		return s.start(ctx, r)
	}
	wait, settle := s.limits.take(r.ClientID)
	r.NoStart = wait > 0
	job, err := s.start(ctx, r)
	settle(mayHaveStarted(job, err))
	if errors.Is(err, starter.ErrNotStarted) {
		return job, &failure{code: tooMany, message: "too many jobs were started: ask again later", again: wait, cause: err}
	}
	return job, err
}

// mayHaveStarted counts what is not known to have started nothing, too.
func mayHaveStarted(job starter.Job, err error) bool {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code == unavailable
	}
	return err != nil || !job.Joined && !job.Repeated
}

// limits are the budgets of jobs of this process. A budget is looked at before a
// start and charged after it, when it is known whether there was one.
type limits struct {
	client, total config.Limit
	now           func() time.Time

	mu      sync.Mutex
	all     *budget
	clients map[string]*budget
	sweepAt int // how many clients make it worth while to look for full budgets
}

// leastSweep is how many budgets are kept without a look.
const leastSweep = 128

func newLimits(client, total config.Limit) *limits {
	return &limits{client: client, total: total, now: time.Now, all: newBudget(total), clients: map[string]*budget{}, sweepAt: leastSweep}
}

// take holds one job of both budgets until settle says whether it was started.
// A wait says how long it takes until there is one; nothing is held then.
func (l *limits) take(clientID string) (wait time.Duration, settle func(started bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	own := l.of(clientID, now)
	if wait := max(own.wait(now), l.all.wait(now)); wait > 0 {
		return wait, func(bool) {}
	}
	own.held++
	l.all.held++
	return 0, func(started bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		own.settle(l.now(), started)
		l.all.settle(l.now(), started)
	}
}

// of returns a client's budget. One that is full is as good as none, so that
// those are forgotten: what is left belongs to clients that started a job of late,
// and TOTAL_LIMIT bounds these, whatever names they take.
func (l *limits) of(clientID string, now time.Time) *budget {
	if b, ok := l.clients[clientID]; ok {
		return b
	}
	if len(l.clients) >= l.sweepAt {
		for id, b := range l.clients {
			if b.full(now) {
				delete(l.clients, id)
			}
		}
		l.sweepAt = max(leastSweep, 2*len(l.clients))
	}
	b := newBudget(l.client)
	l.clients[clientID] = b
	return b
}

// budget is a token bucket with tokens that are held, but not yet spent.
type budget struct {
	tokens *rate.Limiter
	held   int
}

func newBudget(of config.Limit) *budget {
	if of.Jobs == 0 {
		return &budget{tokens: rate.NewLimiter(rate.Inf, 0)}
	}
	return &budget{tokens: rate.NewLimiter(rate.Every(of.Per/time.Duration(of.Jobs)), of.Jobs)}
}

// wait is how long it takes until one more job may be started, if none is
// started meanwhile.
func (b *budget) wait(now time.Time) time.Duration {
	if b.tokens.Limit() == rate.Inf {
		return 0
	}
	missing := 1 + float64(b.held) - b.tokens.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(b.tokens.Limit()) * float64(time.Second))
}

func (b *budget) settle(now time.Time, started bool) {
	b.held--
	if started {
		b.tokens.AllowN(now, 1) // there is one: it was held
	}
}

func (b *budget) full(now time.Time) bool {
	return b.held == 0 && b.tokens.TokensAt(now) >= float64(b.tokens.Burst())
}
