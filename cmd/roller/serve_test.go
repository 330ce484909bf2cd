package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
)

// Promise 11: a worker outlasts a Temporal that goes away between its answer and
// the worker's start, as it does one that goes away before or after.
func TestWorkerStartsAgain(t *testing.T) {
	t.Parallel()
	away := fmt.Errorf("start the worker of task queue roller: failed reaching server: %w", serviceerror.NewUnavailable("connection refused"))
	broken := errors.New("failed to get executable checksum")
	for name, c := range map[string]struct {
		serves []error
		want   error
	}{
		"told to stop":                     {serves: []error{nil}},
		"away twice, then told to stop":    {serves: []error{away, away, nil}},
		"away, then what no restart mends": {serves: []error{away, broken}, want: broken},
		"what no restart mends":            {serves: []error{broken}, want: broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			awaited, served := 0, 0
			err := untilStarted(t.Context(), slog.New(slog.DiscardHandler),
				func(context.Context) error { awaited++; return nil },
				func(context.Context) error { served++; return c.serves[served-1] })
			require.ErrorIs(t, err, c.want)
			require.Equal(t, len(c.serves), served)
			require.Equal(t, served, awaited, "each start waits for Temporal")
		})
	}
	require.NoError(t, untilStarted(t.Context(), slog.New(slog.DiscardHandler),
		func(context.Context) error { return context.Canceled },
		func(context.Context) error { return errors.New("served without Temporal") }))
}
