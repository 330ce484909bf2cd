package activities

import (
	"context"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// inTurn asks a machine's device something, in its turn. What could not be asked
// is tried again for retry, waits for turns apart.
func (a *Activities) inTurn(ctx context.Context, retry config.Duration, m config.Machine, protocol string, ask func(context.Context) error) error {
	var progress Progress
	if !resumed(ctx, &progress) {
		progress.FirstTry = time.Now()
	}
	p := a.newPlace(ctx, m, protocol, "", &progress)
	pulse, stop := a.startPulse(ctx, progress, p.ask.Rank)
	defer stop()
	p.tell = func() { _ = pulse.set(ctx, progress) }
	defer p.release()
	err := p.take(ctx)
	if err == nil {
		err = endedOr(ctx, ask(withPlace(ctx, p)))
	}
	if err != nil {
		err = progress.inTime(err, retry.D(), a.Config.Ladder.TurnLimit.D())
		_ = pulse.set(ctx, progress) // at worst the time for retries begins anew
	}
	return err
}
