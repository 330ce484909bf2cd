package activities

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/mozilla-platform-ops/roller/config"
)

// Turns gives devices out, each to one holder at a time, whatever worker asks.
type Turns interface {
	// Take returns when the device is the caller's, or with an error when ctx
	// has ended before that; then nothing is held.
	Take(ctx context.Context, ask TurnAsk) (Turn, error)
}

// TurnAsk asks for one turn at one device.
type TurnAsk struct {
	Device   config.Device
	Rank     Rank
	Since    time.Time     // within a rank the earlier goes first, by the clock of Temporal's server
	Lease    time.Duration // after its beginning the turn ends by itself, whatever became of its holder
	Interval time.Duration // from its end until the next turn at the device may begin
	Holder   Holder
}

// Holder is who has a turn: one attempt of one activity. Temporal knows whether
// that is over, also when the worker that made it is gone.
type Holder struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	ActivityID string `json:"activity_id"`
	Attempt    int32  `json:"attempt"`
}

func holderOf(info activity.Info) Holder {
	return Holder{
		WorkflowID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID,
		ActivityID: info.ActivityID, Attempt: info.Attempt,
	}
}

// Turn is a device that is held.
type Turn struct {
	Began   time.Time // not after the beginning of the lease
	Release func()    // ends the turn; it returns at once, and may be called again
}

// Rank says who goes before whom at a device.
type Rank int

// Ranks, the first goes first: a machine that roller left dark comes on before
// anything else is done, and a person who waits goes before a bulk job.
const (
	DarkRank Rank = iota
	ClickRank
	BulkRank
)

// BulkPriority is the priority key of a job that nobody waits for. Temporal's
// keys go from 1 to 5, lower ones first, and 3 is that of a job without one.
const BulkPriority = 4

// rankOf is the rank of what this activity does with a device.
func rankOf(ctx context.Context, action Action) Rank {
	switch {
	case action == On:
		return DarkRank
	case activity.IsActivity(ctx) && activity.GetInfo(ctx).Priority.PriorityKey >= BulkPriority:
		return BulkRank
	default:
		return ClickRank
	}
}

// noTurn is why an attempt had no turn in time. Nothing was sent, and the next
// attempt follows soon: its place in the line is kept by its Since.
type noTurn struct{ error }

// Unwrap returns the error itself.
func (n *noTurn) Unwrap() error { return n.error }

// turnAgain is the pause before an attempt that follows one which had no turn.
const turnAgain = time.Second

func isNoTurn(err error) bool {
	_, ok := errors.AsType[*noTurn](err)
	return ok
}
