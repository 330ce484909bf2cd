package activities

import (
	"context"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// baseline says how the machine is before the command. One answer of a few
// probes is enough for "up", and so is its SSH port. It is down only if it stays
// silent while the site can be seen.
func (t *try) baseline(ctx context.Context) error {
	b := &t.res.Baseline
	b.At = time.Now()
	if err := t.probe(ctx); err != nil {
		return err
	}
	select {
	case <-stopping(ctx):
		return meaning(Handover, "this worker stops before it has sent anything to %s", t.m.FQDN)
	default:
	}
	t.held = t.a.witness.hold(ctx, t.m)
	// Some network drops pings and lets SSH through: they say nothing then.
	if t.held != nil && !b.Up {
		b.Up, b.Lost, b.ByTCP = true, 0, t.m.SSH.Port
	}
	if b.Up {
		b.BootID, b.BootedAt = t.a.witness.bootID(ctx, t.m, t.d.keep), t.a.witness.bootedAt(ctx, t.m)
	}
	return nil
}

// seen is the machine as it can be seen, by the baseline.
func (b Baseline) seen(m config.Machine) config.Machine {
	if b.ByTCP > 0 {
		m.Probe = config.Probe{Network: "tcp", Port: b.ByTCP}
	}
	return m
}

// probe takes the baseline's probes: until one is answered, or enough are not.
func (t *try) probe(ctx context.Context) error {
	l, b := t.a.Config.Ladder, &t.res.Baseline
	need := max(l.DownProbes, 1)
	for void := 0; b.Lost < need; {
		at := time.Now()
		answered, err := t.a.Prober.Probe(ctx, t.m)
		switch {
		case err != nil && t.look.decide(ctx):
			return t.blind()
		case err != nil:
			return notSent("baseline: %w", err)
		case answered:
			b.Up = true
			return t.trustCanaries(ctx)
		case t.look.saw(ctx, at):
			b.Lost++
		default:
			void++
		}
		// Sight that comes and goes is none either.
		if t.look.blind() || void >= mostNeed*need {
			return t.blind()
		}
		if b.Lost < need && !t.idle(ctx, l.ProbeInterval.D()) {
			break
		}
	}
	return nil
}

// trustCanaries looks whether the canaries answer while the machine does. If they
// do not, and it still does, it is they that are down: this attempt does without.
func (t *try) trustCanaries(ctx context.Context) error {
	if !t.look.decide(ctx) {
		return nil
	}
	answered, err := t.a.Prober.Probe(ctx, t.m)
	if err != nil || !answered {
		return t.blind()
	}
	t.a.leave(t.look)
	t.look, t.res.Baseline.DeafCanaries = nil, true
	return nil
}

// blind is the error of an attempt that sent nothing because nothing can be seen.
func (t *try) blind() error { return meaning(Blind, "%s", t.look.text()) }
