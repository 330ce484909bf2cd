package main

import (
	"context"
	"log/slog"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// machineStatus asks by the activity's own code. Temporal is one of those that
// are asked: it may be down without a word lost of the others.
func machineStatus(ctx context.Context, d *direct) (string, error) {
	c, _, err := starter.Dial(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return "", err
	}
	defer c.Close()
	d.Runs = c
	res, err := d.Status(ctx, activities.Read{Machine: d.machine.Name, JobID: workflows.MachineID(d.machine.Name)})
	return res.Text, err
}
