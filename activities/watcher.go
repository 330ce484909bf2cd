package activities

import (
	"context"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// identityEvery is how often a machine that stays up is asked for its identity:
// a reboot that no probe noticed is found within it.
const identityEvery = 10 * time.Second

// watcher is one watch for down, while it runs.
type watcher struct {
	a        *Activities
	m        config.Machine
	base     Baseline
	held     *held
	beat     func()
	pattern  *pattern
	bootID   string // as last read
	wasReset bool   // the held connection was, but the boot ID decides and is not known yet
	lastErr  error  // of the prober, if its newest probe could not be made
	sight    Sight
	finished bool
}

// probed is what became of one probe.
type probed struct {
	at       time.Time
	answered bool
	err      error
}

// watch probes until the machine is seen down, proven restarted or, if it was
// down before, up; until end; or until the worker stops or ctx ends, and then
// Done is false. The error says that no probe at all could be made.
func (a *Activities) watch(ctx context.Context, m config.Machine, base Baseline, h *held, end time.Time, beat func()) (Sight, error) {
	l := a.Config.Ladder
	w := &watcher{
		a: a, m: m, base: base, held: h, beat: beat,
		pattern: newPattern(base.Up, l.DownProbes, l.ProbeInterval.D()),
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer running.Wait()
	defer cancel()
	w.run(ctx, &running, end)
	if w.sight.Evidence == "" {
		w.sight.Evidence = w.pattern.evidence()
	}
	if w.sight.Done && w.pattern.sent == 0 && w.lastErr != nil && !w.sight.Rebooted {
		return w.sight, notSent("watch: %w", w.lastErr)
	}
	return w.sight, nil
}

// run sends a probe each interval, without waiting for the answer to the one
// before, and takes the answers in the order of sending: a reply that comes
// late must not hide the probes after it.
func (w *watcher) run(ctx context.Context, running *sync.WaitGroup, end time.Time) {
	interval := w.a.Config.Ladder.ProbeInterval.D()
	left := time.Until(end)
	probes, beats := time.NewTicker(interval), time.NewTicker(heartbeatEvery(ctx))
	identity := time.NewTicker(max(min(identityEvery, left/4), interval))
	over := time.NewTimer(left)
	defer func() { probes.Stop(); beats.Stop(); identity.Stop(); over.Stop() }()

	queue := []<-chan probed{w.probe(ctx, running)}
	var ids <-chan string
	for !w.finished {
		var next <-chan probed
		if len(queue) > 0 {
			next = queue[0]
		}
		select {
		case <-ctx.Done():
			return
		case <-stopping(ctx):
			return
		case <-over.C:
			w.last(ctx)
		case <-probes.C:
			queue = append(queue, w.probe(ctx, running))
			if w.wasReset {
				ids = w.identify(ctx, running, ids)
			}
		case p := <-next:
			queue = queue[1:]
			w.take(p)
		case <-w.held.wasReset():
			w.reset()
		case <-identity.C:
			ids = w.identify(ctx, running, ids)
		case id := <-ids:
			ids = nil
			w.identified(id)
		case <-beats.C:
			w.beat()
		}
	}
}

func (w *watcher) probe(ctx context.Context, running *sync.WaitGroup) <-chan probed {
	out := make(chan probed, 1)
	running.Go(func() {
		p := probed{at: time.Now()}
		p.answered, p.err = w.a.Prober.Probe(ctx, w.m)
		out <- p
	})
	return out
}

// take feeds one answer to the pattern. A probe that could not be made is no sample.
func (w *watcher) take(p probed) {
	if w.lastErr = p.err; p.err != nil {
		return
	}
	w.pattern.add(p.at, p.answered)
	switch {
	case w.pattern.down:
		w.sight.Down, w.sight.DownAt = true, w.pattern.downAt
		w.done()
	case w.pattern.cameUp:
		w.sight.Up, w.sight.UpAt = true, w.pattern.first
		w.done()
	}
}

func (w *watcher) done() { w.sight.Done, w.finished = true, true }

func (w *watcher) rebooted(evidence string) {
	w.sight.Rebooted, w.sight.Evidence = true, evidence
	w.done()
}

// reset takes note that the held connection was reset. Where the machine has a
// boot ID, that decides, and is asked for until it is known: a firewall that
// lost its state resets connections too.
func (w *watcher) reset() {
	w.held = nil
	if w.base.BootID != "" {
		w.wasReset = true
		return
	}
	w.rebooted(evidenceReset)
}

const evidenceReset = "the held connection was reset: the machine has lost its state"

// identify asks a machine that answers who it is; ids is the answer that is
// still on its way, if there is one.
func (w *watcher) identify(ctx context.Context, running *sync.WaitGroup, ids <-chan string) <-chan string {
	if !w.pattern.answers() {
		return ids
	}
	w.held.check()
	if w.base.BootID == "" || ids != nil {
		return ids
	}
	out := make(chan string, 1)
	running.Go(func() { out <- w.a.bootID(ctx, w.m) })
	return out
}

func (w *watcher) identified(id string) {
	if id == "" {
		return
	}
	w.bootID = id
	if id != w.base.BootID {
		w.rebooted("boot id changed")
	}
}

// last asks once more at the end of the watch.
func (w *watcher) last(ctx context.Context) {
	w.done()
	if !w.pattern.answers() {
		return
	}
	if w.base.BootID != "" {
		w.bootID = ""
		w.identified(w.a.bootID(ctx, w.m))
	} else if w.held.alive() {
		w.held.check()
		w.awaitReset(ctx)
	}
	switch {
	case w.sight.Rebooted:
	case w.bootID != "":
		w.sight.Evidence = w.pattern.evidence() + ", boot id unchanged"
	case w.wasReset:
		w.rebooted(evidenceReset + " (its boot id could not be read)")
	}
}

// awaitReset waits for the answer to a check: the kernel of a machine that
// answers probes gives it as fast as it answers those.
func (w *watcher) awaitReset(ctx context.Context) {
	t := time.NewTimer(w.a.Config.Ladder.ProbeTimeout.D() / 4)
	defer t.Stop()
	select {
	case <-w.held.wasReset():
		w.reset()
	case <-t.C:
	case <-ctx.Done():
	}
}
