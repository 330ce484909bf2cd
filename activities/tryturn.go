package activities

import (
	"context"
	"time"
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
// machine that a device is held for; one that was dark, and still does not answer
// one probe, costs no more than that.
func (t *try) surveyAgain(ctx context.Context, waited time.Duration) (bool, error) {
	if waited < fresh {
		return false, nil
	}
	if !t.res.Baseline.Up {
		answered, err := t.a.Prober.Probe(ctx, t.m)
		if err == nil && !answered {
			t.res.Baseline.At = time.Now()
			return false, nil
		}
	}
	t.held.close()
	t.held, t.res.Baseline = nil, Baseline{}
	return t.survey(ctx)
}

// ready is asked at the last moment before a command goes out: this attempt is
// still the server's, and the device this attempt's.
func (t *try) ready(ctx context.Context) error {
	if err := t.pulse.ready(ctx); err != nil {
		return err
	}
	return t.place.ready()
}
