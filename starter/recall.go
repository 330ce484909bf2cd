package starter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// recall reads a run's record out of its history, for when no worker answers: it
// replays what has happened with the workflow's own code, which touches nothing,
// and asks that for the progress. It is as of the run's last workflow task. A
// history of other code than this process has cannot be replayed.
func (s *Starter) recall(ctx context.Context, v View) (*workflows.Result, error) {
	history := &historypb.History{}
	events := s.client.GetWorkflowHistory(ctx, v.WorkflowID, v.TaskID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, fmt.Errorf("read the history of %s: %w", v.TaskID, unavailable(err))
		}
		history.Events = append(history.Events, event)
	}
	seen := &witness{}
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
		Interceptors:             []interceptor.WorkerInterceptor{seen},
		DisableDeadlockDetection: true, // of a second, by the wall clock: on a busy machine nothing would be recalled
	})
	if err != nil {
		return nil, err
	}
	workflows.Register(replayer)
	err = replayer.ReplayWorkflowHistoryWithOptions(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), history, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: v.WorkflowID, RunID: v.TaskID},
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("replay %s: %w", v.TaskID, err)
	case seen.progress == nil:
		return nil, errors.New("the run has not begun")
	}
	r, err := seen.progress()
	return &r, err
}

// cutOff is the record of a run that was closed by a way that runs no code.
func cutOff(r *workflows.Result, status string) *workflows.Result {
	if r == nil || r.Outcome != workflows.Running {
		return r
	}
	r.Outcome, r.Why = workflows.Failed, "it was "+strings.ToLower(status)
	if r.Now != "" {
		r.Why += " while it was: " + r.Now
	}
	r.Now = ""
	return r
}

// witness keeps the handler of the progress query that a replayed run sets.
type witness struct {
	interceptor.WorkerInterceptorBase
	progress func() (workflows.Result, error)
}

// InterceptWorkflow implements interceptor.WorkerInterceptor.
func (w *witness) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &witnessIn{witness: w}
	in.Next = next
	return in
}

type witnessIn struct {
	interceptor.WorkflowInboundInterceptorBase
	witness *witness
}

// Init implements interceptor.WorkflowInboundInterceptor.
func (in *witnessIn) Init(next interceptor.WorkflowOutboundInterceptor) error {
	out := &witnessOut{witness: in.witness}
	out.Next = next
	return in.Next.Init(out)
}

type witnessOut struct {
	interceptor.WorkflowOutboundInterceptorBase
	witness *witness
}

// SetQueryHandler implements interceptor.WorkflowOutboundInterceptor.
func (out *witnessOut) SetQueryHandler(ctx workflow.Context, query string, handler any) error {
	if progress, ok := handler.(func() (workflows.Result, error)); ok && query == workflows.ProgressQuery {
		out.witness.progress = progress
	}
	return out.Next.SetQueryHandler(ctx, query, handler)
}
