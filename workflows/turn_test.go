package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// Promise 7: a device rests for its interval after a turn, whether its holder
// gave it back (which is a cancel) or its lease has ended.
func TestTurnRests(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		released bool
		interval time.Duration
	}{
		"released":            {true, 5 * time.Second},
		"lease over":          {false, 5 * time.Second},
		"without an interval": {true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, TurnType)
			begun := w.env.Now()
			if test.released {
				w.env.RegisterDelayedCallback(w.env.CancelWorkflow, 0)
			}
			w.env.ExecuteWorkflow(TurnType, TurnInput{Interval: config.Duration(test.interval)})
			require.NoError(t, w.env.GetWorkflowError(), "a turn that was given back is no failure")
			require.Equal(t, test.interval, w.env.Now().Sub(begun))
		})
	}
}

func TestDeviceID(t *testing.T) {
	t.Parallel()
	require.Equal(t, "device/pdu/pdu1.example", DeviceID(config.Device{Kind: config.PDU, Name: "pdu1.example"}))
}
