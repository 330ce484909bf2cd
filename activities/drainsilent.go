package activities

import (
	"context"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// silence is for how long a machine that is being drained has shown no life. The queue
// tells of a worker that hangs only when its claim ends; a machine that is dead runs no
// task before that.
type silence struct {
	a     *Activities
	m     config.Machine
	look  *lookout // nil where nothing can be said of the machine
	since time.Time
}

// silenceOf watches a worker's machine where this process can tell a dead machine from
// a network that is cut: where canaries stand beside it, and no workers of its own site
// are needed to reach it.
func (a *Activities) silenceOf(ctx context.Context, w TaskWorker) *silence {
	m, err := a.lookup(config.Name{WorkerID: w.WorkerID, WorkerGroup: w.WorkerGroup})
	if err != nil {
		return &silence{}
	}
	if _, own := siteOf(a.Config, m.Name); own {
		return &silence{}
	}
	return &silence{a: a, m: m, look: a.lookOut(ctx, m)}
}

// leave ends the watch.
func (s *silence) leave() {
	if s.look != nil {
		s.a.leave(s.look)
	}
}

// lasts reports whether the machine has been silent, without a break and in sight, for
// DRAIN_SILENCE.
func (s *silence) lasts(ctx context.Context) bool {
	if s.look == nil {
		return false
	}
	at := time.Now()
	answered, err := s.a.Prober.Probe(ctx, s.m)
	alive := err != nil || answered || s.m.SSH != nil && s.a.witness.sshBanner(ctx, s.m)
	switch {
	case alive, !s.look.saw(ctx, at), ctx.Err() != nil:
		s.since = time.Time{}
		return false
	case s.since.IsZero():
		s.since = at
	}
	return at.Sub(s.since) >= s.a.Config.Drain.Silence.D()
}
