package starter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// waitsID is the request ID by which a turn knows that a rank waits for its end.
const waitsID = "waits/%d/"

// announce leaves with the run that has a device who waits for it here, so that all
// others, in whatever worker, let him go first. It is a start that starts nothing: see
// attaching. Where it fails, the next look at the run tries again.
func (t *Turns) announce(ctx context.Context, l *line) {
	ask, run, tell := l.toAnnounce()
	if !tell {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), turnCall)
	defer cancel()
	start, err := t.request(ask, fmt.Sprintf(waitsID, ask.Rank)+uuid.NewString())
	if err == nil {
		start = attaching(start, start.GetRequestId())
		// Where the server has forgotten all turns at the device, it is one: nobody's.
		start.WorkflowStartDelay, start.Memo = durationpb.New(time.Second), nil
		_, err = t.client.WorkflowService().StartWorkflowExecution(ctx, start)
	}
	if _, over := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); err != nil && !over {
		l.notAnnounced(run)
	}
}

// yield lets a better rank than who is first here go before him, if one has waited in
// another worker for the end of the turn.
func (t *Turns) yield(ctx context.Context, l *line, ask workflows.TurnAsk, run string) {
	if l.rank() == workflows.DarkRank {
		return
	}
	best := t.announced(ctx, ask, run)
	pause(ctx, time.Duration(max(l.rank()-best, 0))*headStart)
}

// announced is the best rank that waited in any worker for the end of a turn. Where
// that cannot be found out, it may be the first one.
func (t *Turns) announced(ctx context.Context, ask workflows.TurnAsk, run string) workflows.Rank {
	ctx, cancel := context.WithTimeout(ctx, turnCall)
	defer cancel()
	turn, err := t.client.DescribeWorkflowExecution(ctx, workflows.DeviceID(ask.Device), run)
	if err != nil {
		return workflows.DarkRank
	}
	best := workflows.BulkRank
	for id := range turn.GetWorkflowExtendedInfo().GetRequestIdInfos() {
		var rank workflows.Rank
		if n, err := fmt.Sscanf(id, waitsID, &rank); err == nil && n == 1 {
			best = min(best, rank)
		}
	}
	return best
}
