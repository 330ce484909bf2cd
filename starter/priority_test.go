package starter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// A person's job has its first activity before any bulk job that waits for its own, in
// whatever order Temporal was told of them.
func TestAClickGoesBeforeWaitingBulk(t *testing.T) {
	t.Parallel()
	const bulk = 30
	d := newDoors(t)
	var jobs []starter.Job
	for i := range bulk {
		r := request("reboot", fmt.Sprintf("bulk-%d", i))
		r.Bulk = true
		jobs = append(jobs, d.start(t, r))
	}
	click := d.start(t, request("reboot", "click"))

	runs := worker.New(d.client, workflows.TaskQueue, worker.Options{LocalActivityWorkerOnly: true})
	workflows.Register(runs)
	require.NoError(t, runs.Start())
	t.Cleanup(runs.Stop)
	for _, job := range append(jobs, click) {
		require.Eventually(t, func() bool {
			run, err := d.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
			return err == nil && len(run.GetPendingActivities()) == 1
		}, time.Minute, 10*time.Millisecond, "%s waits for its first activity", job.WorkflowID)
	}

	began := make(chan string, bulk+1)
	lookups := worker.New(d.client, workflows.TaskQueue, worker.Options{DisableWorkflowWorker: true, MaxConcurrentActivityExecutionSize: 1})
	lookups.RegisterActivityWithOptions(func(ctx context.Context, _ any) error {
		began <- activity.GetInfo(ctx).WorkflowExecution.ID
		return temporal.NewNonRetryableApplicationError("no such machine", "unknown_machine", nil)
	}, activity.RegisterOptions{Name: "ResolveJob"})
	require.NoError(t, lookups.Start())
	t.Cleanup(lookups.Stop)
	require.Equal(t, click.WorkflowID, <-began)
}
