package main

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// settleLimit bounds the wait for all jobs to end, after the last fault. The
// longest ladder of this timing takes two minutes, on a machine that is far slower more.
const settleLimit = 8 * time.Minute

// settle waits until every run has ended; what has not by then is found by the
// checkers.
func (s *site) settle(ctx context.Context, say func(string, ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	query := fmt.Sprintf("ExecutionStatus = 'Running' AND WorkflowType NOT IN ('%s')", workflows.RestoreType)
	said := time.Time{}
	for quiet := 0; ; {
		open, err := s.client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		switch {
		case err == nil && open.GetCount() > 0:
			quiet = 0
			if time.Since(said) > 15*time.Second {
				said = time.Now()
				say("%d runs are open", open.GetCount())
			}
		case err == nil:
			if quiet++; quiet > 2 { // a run that begins another has ended before that is listed
				return nil
			}
		case time.Since(said) > 15*time.Second:
			said = time.Now()
			say("the server does not count: %v", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
