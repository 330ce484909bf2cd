package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"
)

// ending is a worker of the SDK's that ends by itself, or serves until it is told to stop.
type ending struct {
	worker.Worker
	err     error
	stopped bool
}

func (e *ending) Run(stop <-chan any) error {
	if e.err == nil {
		<-stop
	}
	return e.err
}

func (e *ending) Stop() { e.stopped = true }

// A worker that could not begin, or that gave Temporal up, is followed by another
// one, and no worker by one that was told to stop.
func TestAnotherWorkerFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("failed reaching server")
		built := []*ending{{err: lost}, {err: lost}, {}}
		next := 0
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			serve(ctx, slog.New(slog.DiscardHandler), func() worker.Worker { next++; return built[next-1] })
		}()
		time.AfterFunc(time.Minute, cancel)
		<-ended
		require.Equal(t, len(built), next)
		require.Equal(t, time.Minute, time.Since(began))
		require.True(t, built[0].stopped && built[1].stopped, "what they held is given back")
	})
}
