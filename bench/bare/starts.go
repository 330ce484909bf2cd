package bare

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"
)

// taskQueue has no worker where only starts are measured.
const taskQueue = "bare"

// job is as large as the least input of a job of roller's.
type job struct {
	WorkerID    string `json:"worker_id"`
	WorkerGroup string `json:"worker_group"`
}

// Starts starts n workflows, so many at once, and waits for none.
func Starts(ctx context.Context, c client.Client, n, atOnce int) (Load, error) {
	run := uuid.NewString()
	return Run(ctx, n, atOnce, func(ctx context.Context, i int) error {
		options := client.StartWorkflowOptions{ID: fmt.Sprintf("bare/%s/%d", run, i), TaskQueue: taskQueue}
		_, err := c.ExecuteWorkflow(ctx, options, "bare", job{fmt.Sprintf("machine-%d", i), "mdc1"})
		return err
	})
}
