package starter

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// line is who waits for one device in this process. Only one of its goroutines
// asks Temporal for the device, each time for whoever is first in the line at
// that moment: who came last may be.
type line struct {
	mu      sync.Mutex
	waiting []*waiter
	serving bool
	stop    context.CancelFunc // ends the asking: nobody waits any more
	why     string             // what Temporal said instead of a turn
	rival   string             // the run that had the device last, seen from here
	since   time.Time          // when it was first met, or looked at
	told    workflows.Rank     // the best that was announced to it from here
}

// waiter is one that waits.
type waiter struct {
	ask  workflows.TurnAsk
	turn chan workflows.HeldTurn // has room for it
}

// join puts one into the line, and reports whether the caller must see to it that
// it is served.
func (l *line) join(w *waiter) (serve bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, _ := slices.BinarySearchFunc(l.waiting, w, func(a, b *waiter) int {
		// Of two that are equal the one who came first stays first.
		return cmp.Or(cmp.Compare(a.ask.Rank, b.ask.Rank), a.ask.Since.Compare(b.ask.Since), -1)
	})
	l.waiting = slices.Insert(l.waiting, at, w)
	serve, l.serving = !l.serving, true
	return serve
}

// leave takes one out of the line who waits no longer, and says what kept it
// waiting. False means that it has its turn already.
func (l *line) leave(w *waiter) (why string, left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.Index(l.waiting, w)
	if at < 0 {
		return "", false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	if len(l.waiting) == 0 && l.stop != nil {
		l.stop()
	}
	return l.why, true
}

// next begins to ask for a turn, for who is first now. Where nobody waits the
// serving has ended.
func (l *line) next() (context.Context, *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
	}
	if len(l.waiting) == 0 {
		l.serving, l.stop = false, nil
		return nil, nil
	}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	return ctx, l.waiting[0]
}

// give gives a turn to whom it was asked for, and reports whether he still waits.
func (l *line) give(w *waiter, turn workflows.HeldTurn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.Index(l.waiting, w)
	if at < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	w.turn <- turn
	return true
}

// rank is that of who is first now.
func (l *line) rank() workflows.Rank {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return workflows.DarkRank
	}
	return l.waiting[0].ask.Rank
}

// meet takes note of the run that has the device.
func (l *line) meet(run string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rival != run {
		l.rival, l.since, l.told = run, time.Now(), workflows.BulkRank
	}
}

// untilLook is when it is time to look whether the holder of another's run lives.
// The time goes on while who waits changes: one attempt may wait for less.
func (l *line) untilLook() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return turnLook - time.Since(l.since)
}

// toAnnounce is the best rank that waits here, if it is better than bulk and the run that
// has the device is not told of it yet.
func (l *line) toAnnounce() (ask workflows.TurnAsk, run string, tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rival == "" || len(l.waiting) == 0 || l.waiting[0].ask.Rank >= l.told {
		return ask, "", false
	}
	ask = l.waiting[0].ask
	l.told = ask.Rank
	return ask, l.rival, true
}

// notAnnounced says that a run may not have been told.
func (l *line) notAnnounced(run string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rival == run {
		l.told = workflows.BulkRank
	}
}

// looked begins the time until the next look.
func (l *line) looked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = time.Now()
}

// say keeps what Temporal said instead of a turn.
func (l *line) say(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = why
}
