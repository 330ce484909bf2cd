package activities

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

const (
	// identityEvery is how often a machine that stays up is asked for its identity:
	// a reboot that no probe noticed is found within it.
	identityEvery = 10 * time.Second
	// hearing is for how many probes more a silent machine that can prove that it
	// has not restarted is given the time to: a switch port that lost its link has
	// it back by then.
	hearing = 10
	// longest bounds what is added to a watch, so that it ends before the server
	// gives it up.
	longest = 30 * time.Second
)

// watcher is one watch for down, while it runs.
type watcher struct {
	a        *Activities
	m        config.Machine
	base     Baseline
	held     *held
	look     *lookout
	beat     func()
	pattern  *pattern
	end      time.Time
	turn     moment // of the newest turn of the loop
	added    time.Duration
	over     *time.Timer
	verdict  <-chan time.Time // the end of a hearing, while there is one
	asked    bool             // the held connection was asked for this hearing
	overtime bool             // the time is over, but the machine has just fallen silent
	boot     boot             // as last read
	wasReset bool             // the held connection was, but the identity decides and is not known yet
	lastErr  error            // of the prober, if its newest probe could not be made
	sight    Sight
	finished bool
}

// probed is what became of one probe.
type probed struct {
	at       time.Time
	answered bool
	void     bool // unanswered when no canary answered either, or when this process was held up
	err      error
}

var errHeldUp = errors.New("this process was held up for longer than a probe may take")

// watch probes until the machine is seen down, proven restarted or, if it was
// down before, up; until the site cannot be seen; until end; or until the worker
// stops or ctx ends, and then Done is false. The error says that no probe at all
// could be made.
func (a *Activities) watch(ctx context.Context, m config.Machine, base Baseline, h *held, look *lookout, end time.Time, beat func()) (Sight, error) {
	l := a.Config.Ladder
	w := &watcher{
		a: a, m: base.seen(m), base: base, held: h, look: look, beat: beat, end: end,
		pattern: newPattern(base.Up, l.DownProbes, l.ProbeInterval.D()),
	}
	if base.Up { // the baseline ended with the first answer
		w.pattern.upSent, w.pattern.upLost = base.Lost+1, base.Lost
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer running.Wait()
	defer cancel()
	w.run(ctx, &running)
	if w.sight.Evidence == "" {
		w.sight.Evidence = w.pattern.evidence()
	}
	if w.sight.Done && w.pattern.sent == 0 && w.lastErr != nil && !w.sight.Rebooted && !w.sight.Blind {
		return w.sight, notSent("watch: %w", w.lastErr)
	}
	return w.sight, nil
}

// run sends a probe each interval, without waiting for the answer to the one
// before, and takes the answers in the order of sending: a reply that comes
// late must not hide the probes after it.
func (w *watcher) run(ctx context.Context, running *sync.WaitGroup) {
	interval := w.interval()
	left := time.Until(w.end)
	probes, beats := time.NewTicker(interval), time.NewTicker(heartbeatEvery(ctx))
	ids := time.NewTicker(max(min(identityEvery, left/4), interval))
	w.over = time.NewTimer(left)
	defer func() { probes.Stop(); beats.Stop(); ids.Stop(); w.over.Stop() }()

	w.turn = now()
	queue := []<-chan probed{w.probe(ctx, running)}
	var read <-chan boot
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
		case <-w.over.C:
			if !w.heldUp() {
				w.timeOver(ctx)
			}
		case <-w.verdict:
			w.down()
		case <-probes.C:
			w.heldUp()
			queue = append(queue, w.probe(ctx, running))
			if w.asked && w.held.acknowledged() {
				w.same()
			}
			if w.wasReset || w.verdict != nil {
				read = w.identify(ctx, running, read)
			}
		case p := <-next:
			queue = queue[1:]
			w.take(ctx, p)
		case <-w.held.wasReset():
			w.reset()
		case <-ids.C:
			if w.pattern.answers() {
				w.held.ask()
			}
			read = w.identify(ctx, running, read)
		case b := <-read:
			read = nil
			w.identified(b)
		case <-beats.C:
			w.beat()
		}
	}
}

func (w *watcher) interval() time.Duration { return w.a.Config.Ladder.ProbeInterval.D() }

// heldUp adds to the watch the time for which this process did not run, and
// reports whether it did. Nothing was seen in it.
func (w *watcher) heldUp() bool {
	lost := w.turn.since() - w.interval()
	w.turn = now()
	if lost < w.a.Config.Ladder.ProbeTimeout.D() || w.added+lost > longest {
		return false
	}
	w.added += lost
	w.end = w.end.Add(lost)
	w.over.Reset(time.Until(w.end))
	return true
}

func (w *watcher) probe(ctx context.Context, running *sync.WaitGroup) <-chan probed {
	out := make(chan probed, 1)
	running.Go(func() {
		sent, timeout := now(), w.a.Config.Ladder.ProbeTimeout.D()
		p := probed{at: sent.mono}
		p.answered, p.err = w.a.Prober.Probe(ctx, w.m)
		switch {
		case p.answered || p.err != nil && w.look == nil:
		case sent.since() > timeout+timeout/4:
			p.void, p.err = true, errHeldUp
		default:
			p.void = !w.look.saw(ctx, p.at)
		}
		out <- p
	})
	return out
}

// take feeds one answer to the pattern. A probe that could not be made is no
// sample, nor is one that could not have been answered.
func (w *watcher) take(ctx context.Context, p probed) {
	w.lastErr = p.err
	if p.void {
		w.pattern.interrupt()
		if w.look.blind() {
			w.sight.Blind, w.sight.Evidence = true, w.look.text()
			w.done()
		}
		return
	}
	if p.err != nil {
		return
	}
	w.pattern.add(p.at, p.answered)
	switch {
	case w.pattern.down && w.verdict == nil:
		w.hear()
	case w.pattern.cameUp:
		w.sight.Up, w.sight.UpAt = true, w.pattern.first
		w.done()
	case w.overtime && p.answered:
		w.last(ctx)
	}
}

// hear gives a machine that can prove that it has not restarted a little time to
// do so, when its probes say that it is down.
func (w *watcher) hear() {
	if !w.held.alive() && !w.base.known() {
		w.down()
		return
	}
	w.asked = w.held.ask()
	w.verdict = time.After(min(hearing*w.interval(), longest))
}

func (w *watcher) down() {
	w.sight.Down, w.sight.DownAt = true, w.pattern.downAt
	w.done()
}

// same notes proof that the machine has not restarted: whatever fell silent, it
// was not that.
func (w *watcher) same() {
	if w.verdict != nil {
		w.verdict, w.asked = nil, false
		w.pattern.acquit()
	}
}

func (w *watcher) done() { w.sight.Done, w.finished = true, true }

func (w *watcher) rebooted(evidence string) {
	w.sight.Rebooted, w.sight.Evidence = true, evidence
	if w.pattern.down {
		w.sight.Down, w.sight.DownAt = true, w.pattern.downAt
	}
	w.done()
}

// reset takes note that the held connection was reset. Where the machine has an
// identity, that decides, and is asked for until it is known: a firewall that
// lost its state resets connections too.
func (w *watcher) reset() {
	w.held = nil
	if w.base.known() {
		w.wasReset = true
		return
	}
	w.rebooted(evidenceReset)
}

const evidenceReset = "the held connection was reset: the machine has lost its state"

// identify asks a machine that answers who it is; read is the answer that is
// still on its way, if there is one.
func (w *watcher) identify(ctx context.Context, running *sync.WaitGroup, read <-chan boot) <-chan boot {
	if !w.pattern.answers() || !w.base.known() || read != nil {
		return read
	}
	out := make(chan boot, 1)
	running.Go(func() { out <- w.a.boot(ctx, w.m, w.base) })
	return out
}

func (w *watcher) identified(b boot) {
	restarted, known, evidence := w.base.compare(b)
	if !known {
		return
	}
	w.boot = b
	if restarted {
		w.rebooted(evidence)
		return
	}
	w.same()
}

// timeOver ends the watch, but not in the middle of a silence that may be the
// machine going down.
func (w *watcher) timeOver(ctx context.Context) {
	if w.overtime || !w.pattern.silent() {
		w.last(ctx)
		return
	}
	w.overtime = true
	missing := time.Duration(w.pattern.needed()-w.pattern.run+1) * w.interval()
	if w.verdict != nil {
		missing = hearing * w.interval()
	}
	w.over.Reset(min(missing+w.a.Config.Ladder.ProbeTimeout.D(), longest))
}

// last asks once more at the end of the watch.
func (w *watcher) last(ctx context.Context) {
	w.done()
	if w.verdict != nil {
		w.down()
		return
	}
	if !w.pattern.answers() {
		if w.sight.Blind = w.look.decide(ctx); w.sight.Blind {
			w.sight.Evidence = w.look.text()
		}
		return
	}
	if w.base.known() {
		w.boot = boot{}
		w.identified(w.a.boot(ctx, w.m, w.base))
	} else if w.held.alive() {
		w.held.ask()
		w.awaitReset(ctx)
	}
	_, known, evidence := w.base.compare(w.boot)
	switch {
	case w.sight.Rebooted:
	case known:
		w.sight.Evidence = w.pattern.evidence() + ", " + evidence
	case w.wasReset:
		w.rebooted(evidenceReset + " (its identity could not be read)")
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
