package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// TurnAsk asks for one turn at one device.
type TurnAsk = activities.TurnAsk

// Holder is who has a turn.
type Holder = activities.Holder

// HeldTurn is a device that is held.
type HeldTurn = activities.Turn

// Progress is what a command's heartbeats say.
type Progress = activities.Progress

// Rank says who goes before whom at a device.
type Rank = activities.Rank

// Priority keys of jobs, which their children and activities inherit. A job that
// was started by hand has Temporal's own, 3, and counts as a person's.
const (
	ClickPriority = 2
	BulkPriority  = activities.BulkPriority
)

// The ranks, the first goes first.
const (
	DarkRank  = activities.DarkRank
	ClickRank = activities.ClickRank
	BulkRank  = activities.BulkRank
)

// TurnInput is what a turn needs to know of its device.
type TurnInput struct {
	Interval config.Duration `json:"interval,omitzero"` // the rest after the holder's part; the next turn begins no earlier
}

// Turn is one turn at a device. It holds the device by being open. It is started
// with its lease as its start delay, and its holder releases it by a cancel: that
// brings its first task at once, and without one the end of the lease does. A turn
// is six events so, and an interval five more. (A signal would do as well by
// Temporal's documentation, but server 1.29.1 keeps it until the delay is over.)
func Turn(ctx workflow.Context, in TurnInput) error {
	if in.Interval <= 0 {
		return nil
	}
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	return workflow.NewTimerWithOptions(ctx, in.Interval.D(), workflow.TimerOptions{Summary: "between two turns"}).Get(ctx, nil)
}
