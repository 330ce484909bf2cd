package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// settleSight is how long sight must last before it counts, once it has come back
// and was gone again for the next thing that needed it.
const settleSight = config.Duration(time.Minute)

// seeing does what needs sight of the site. Where that says why it is blind, the
// job pauses until it can see, and does it again; it ends after BLIND_LIMIT.
func (r *run) seeing(ctx workflow.Context, do func() (blind string, err error)) error {
	var since time.Time
	for settle := config.Duration(0); ; settle = settleSight {
		why, err := do()
		if why == "" || err != nil {
			return err
		}
		if since.IsZero() {
			since = workflow.Now(ctx)
		}
		if err := r.awaitSight(ctx, why, since, settle); err != nil {
			return err
		}
	}
}

// unsighted takes "blind" out of an activity's error: nothing was sent.
func unsighted(err error) (blind string, rest error) {
	if e, ok := said(err); ok && e.Type() == string(activities.Blind) {
		return e.Message(), nil
	}
	return "", err
}

// awaitSight is the pause.
func (r *run) awaitSight(ctx workflow.Context, why string, since time.Time, settle config.Duration) error {
	t := r.plan.Timing
	end := since.Add(t.Blind.D())
	r.show(ctx, fmt.Sprintf("blind: %s; paused since %s, goes on when they do, gives up at %s",
		why, since.UTC().Format(clock), end.UTC().Format(clock)))
	left := end.Sub(workflow.Now(ctx))
	if left <= 0 {
		return r.endBlind(ctx, why, since)
	}
	var sight activities.Sight
	err := workflow.ExecuteActivity(forWatch(ctx, r.plan, left, r.attempt().Rung+": await sight of "+r.plan.Site), a.AwaitSight,
		activities.Pause{Machine: r.plan.Machine, Timeout: config.Duration(left), Settle: settle}).Get(ctx, &sight)
	switch {
	case cancelled(ctx, err):
		return err
	case err == nil && sight.Blind:
		return r.endBlind(ctx, why, since)
	}
	// An error (the inventory changed) is met again, and told, by what follows.
	return nil
}

// endBlind ends the job: what it would take to know more cannot be had.
func (r *run) endBlind(ctx workflow.Context, why string, since time.Time) error {
	why += " since " + since.UTC().Format(time.DateTime) + " UTC"
	r.conclude(ctx, Blind, join(r.attempt().Why, why))
	if r.plan.NoBug == "" {
		r.show(ctx, "filing the site's bug")
		r.fileSiteBug(ctx, since)
	} else {
		why = join(why, "no bug: "+r.plan.NoBug)
	}
	r.result.Outcome, r.result.Why = Blind, why
	return temporal.NewNonRetryableApplicationError(why, BlindError, nil)
}

// endedBlind reports whether an error is endBlind's.
func endedBlind(err error) bool {
	e, ok := said(err)
	return ok && e.Type() == BlindError
}
