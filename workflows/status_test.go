package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// The answer is the record's, as text and as data, and the activity is told which
// workflow the machine's job is.
func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "status")
	found := &activities.MachineStatus{Power: []activities.PowerReading{{Device: "ipmi", State: "on"}}}
	var asked activities.Read
	w.env.OnActivity(a.Status, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.Read) (activities.ReadResult, error) {
		asked = in
		return activities.ReadResult{Text: "power  ipmi  on", Status: found}, nil
	})
	r, err := w.run(t, "status")
	require.NoError(t, err)
	require.Equal(t, Done, r.Outcome)
	require.Equal(t, "power  ipmi  on", r.Text)
	require.Equal(t, found, r.Status)
	require.Equal(t, activities.Read{Machine: ms1, RungRetry: config.Duration(time.Minute), JobID: "machine/mdc1/ms1-10"}, asked)
}
