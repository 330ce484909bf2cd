package activities

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"go.temporal.io/api/serviceerror"
)

// fresh is how old a baseline may be when the command goes out: a wait that was
// longer is followed by another look.
const fresh = 2 * time.Second

// served ends the wait for a turn, and takes it out of the time for retries.
func (p *Progress) served() {
	if !p.Asked.IsZero() && !p.FirstTry.IsZero() {
		p.FirstTry = p.FirstTry.Add(max(time.Since(p.Asked), 0))
	}
	p.Asked = time.Time{}
}

// inTime forbids another attempt where the time for retries is over, or the time
// for a turn.
func (p *Progress) inTime(err error, retry, turns time.Duration) error {
	if isNoTurn(err) {
		if time.Since(p.Asked) >= turns {
			return final(err)
		}
		return err
	}
	p.served()
	if MeaningOf(err) == NotSent && time.Since(p.FirstTry) >= retry {
		return final(err)
	}
	return err
}

// surveyAgain makes sure, after a wait for the turn, that the baseline still
// holds: a machine that came back meanwhile must not be hit, and one that went
// down meanwhile did not go down after the command. It is the one look at a
// machine that a device is held for. One that stayed dark for all that its vigil saw
// needs none, and where that saw nothing of late it is one probe.
func (t *try) surveyAgain(ctx context.Context, waited time.Duration, v *vigil) (bool, error) {
	if waited < fresh {
		return false, nil
	}
	if !t.res.Baseline.Up && !v.answered {
		l := t.a.Config.Ladder
		if time.Since(v.silent) < l.ProbeTimeout.D()+2*l.ProbeInterval.D() {
			t.res.Baseline.At = v.silent
			return false, nil
		}
		asked := time.Now()
		answered, err := t.a.Prober.Probe(ctx, t.m)
		if err == nil && !answered {
			t.res.Baseline.At = asked
			return false, nil
		}
	}
	t.held.close()
	t.held, t.res.Baseline = nil, Baseline{}
	return t.survey(ctx)
}

// vigil is what was seen of a dark machine while its command waited for the turn.
// After a power cut most are, and a device that is held for the time-out of a probe
// would take twice as long for all of them.
type vigil struct {
	answered bool
	silent   time.Time // when the newest probe was sent of those that nothing answered in time
}

// keepVigil probes a dark machine each interval until it is called off, which returns
// what was seen. One that is up is not looked at.
func (t *try) keepVigil(ctx context.Context) (callOff func() *vigil) {
	if t.res.Baseline.Up {
		return func() *vigil { return &vigil{} }
	}
	var mu sync.Mutex
	var v vigil
	var probes sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	probe := func() {
		sent := time.Now()
		answered, err := t.a.Prober.Probe(ctx, t.m)
		if err != nil || ctx.Err() != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		v.answered = v.answered || answered
		if !answered && sent.After(v.silent) {
			v.silent = sent
		}
	}
	probes.Go(func() {
		for pause(ctx, t.a.Config.Ladder.ProbeInterval.D()); ctx.Err() == nil; pause(ctx, t.a.Config.Ladder.ProbeInterval.D()) {
			probes.Go(probe)
		}
	})
	return func() *vigil { cancel(); probes.Wait(); return &v }
}

// ready is asked at the last moment before a command goes out: this attempt is
// still the server's, and the device this attempt's. The first command waits until
// the server knows that it is about to be sent, and how the machine was before.
func (t *try) ready(ctx context.Context) error {
	if err := t.mine(ctx); err != nil || t.progress.Phase != Preparing {
		return err
	}
	if err := t.unchanged(); err != nil {
		return err
	}
	t.progress.Phase, t.progress.Baseline = Sending, t.res.Baseline
	if err := t.pulse.set(ctx, t.progress); err != nil {
		return endedOr(ctx, notSent("tell Temporal that the command is about to be sent: %w", err))
	}
	return t.mine(ctx) // the answer took its time
}

// unchanged makes sure that the inventory still names the device that the command
// is on its way to: it may have waited for its turn. What roller powered off is
// powered on where it was, whatever the inventory says.
func (t *try) unchanged() error {
	if t.in.Action == On {
		return nil
	}
	m, err := t.a.find(t.in, false)
	if err == nil && !reflect.DeepEqual(m, t.m) {
		err = notSent("the inventory's entry of %s has changed before the command could be sent", m.FQDN)
	}
	return err
}

func (t *try) mine(ctx context.Context) error {
	if err := t.pulse.ready(ctx); err != nil {
		return err
	}
	return t.place.ready()
}

const (
	withdrawEvery = time.Second
	withdrawFor   = 10 * time.Second // a server's restart
)

// withdraw says, of an attempt that has sent nothing, that it has not: the next one
// must not take it for lost. A server that is being restarted gets time to hear it,
// also where the attempt's own time is over.
func (t *try) withdraw(ctx context.Context) {
	said := t.progress.Phase != Preparing
	t.progress.Phase = Preparing
	ctx = context.WithoutCancel(ctx)
	began := time.Now()
	err := t.pulse.set(ctx, t.progress)
	for said && transient(err) && time.Since(began) < withdrawFor {
		pause(ctx, withdrawEvery)
		err = t.pulse.set(ctx, t.progress)
	}
}

// transient reports whether the server may take the same heartbeat a little later:
// it takes none of an attempt that is over.
func transient(err error) bool {
	_, over := errors.AsType[*serviceerror.NotFound](err)
	return err != nil && !over
}
