package starter_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

func ids(views []starter.View) []string {
	var out []string
	for _, v := range views {
		out = append(out, v.TaskID)
	}
	return out
}

// settle waits until visibility knows of n jobs of a machine.
func (d *doors) settle(t *testing.T, f starter.Filter, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		views, _, err := d.one.Page(t.Context(), f, 100, nil)
		require.NoError(t, err)
		return len(views) == n
	}, time.Minute, 50*time.Millisecond)
}

func TestPages(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	var want []string // the newest first
	for range 3 {
		job := d.start(t, request("reboot", "paged"))
		d.end(t, job)
		want = append([]string{job.TaskID}, want...)
	}
	open := d.start(t, request("ipmi_reset", "paged"))
	want = append([]string{open.TaskID}, want...)
	d.start(t, request("reboot", "another"))
	f := starter.Filter{Machine: config.Name{WorkerID: "paged", WorkerGroup: "mdc1"}}
	d.settle(t, f, 4)

	var got []string
	var token []byte
	for {
		views, next, err := d.two.Page(t.Context(), f, 3, token)
		require.NoError(t, err)
		require.LessOrEqual(t, len(views), 3)
		got = append(got, ids(views)...)
		if token = next; len(token) == 0 {
			break
		}
	}
	require.Equal(t, want, got)

	for what, test := range map[string]struct {
		filter starter.Filter
		want   int
	}{
		"any group":          {starter.Filter{Machine: config.Name{WorkerID: "paged"}}, 4},
		"another group":      {starter.Filter{Machine: config.Name{WorkerID: "paged", WorkerGroup: "mdc2"}}, 0},
		"a task":             {starter.Filter{Machine: f.Machine, Task: "reboot"}, 3},
		"what runs":          {starter.Filter{Machine: f.Machine, Outcome: workflows.Running}, 1},
		"an outcome":         {starter.Filter{Machine: f.Machine, Outcome: workflows.Back}, 0},
		"of every machine":   {starter.Filter{}, 5},
		"what runs anywhere": {starter.Filter{Outcome: workflows.Running}, 2},
	} {
		views, _, err := d.one.Page(t.Context(), test.filter, 100, nil)
		require.NoError(t, err)
		require.Len(t, views, test.want, what)
	}
	_, _, err := d.one.Page(t.Context(), f, 3, []byte("no token"))
	require.ErrorIs(t, err, starter.ErrToken)
}

// hasty is a door that does not wait long for the worker that is not there.
func (d *doors) hasty() *starter.Starter {
	return starter.New(d.client, d.namespace, nil, 2*time.Second)
}

func TestFind(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	d.one = d.hasty()
	exclusive, read := d.start(t, request("reboot", "found")), d.start(t, request("ping", "found"))
	n := config.Name{WorkerID: "found", WorkerGroup: "mdc1"}
	for _, job := range []starter.Job{exclusive, read} {
		for _, machine := range []config.Name{n, {WorkerID: "found", WorkerGroup: config.AnyGroup}} {
			v, err := d.one.Find(t.Context(), machine, job.TaskID)
			require.NoError(t, err)
			require.Equal(t, job.WorkflowID, v.WorkflowID)
			require.Equal(t, "mdc1/found", v.Machine)
		}
		for _, machine := range []config.Name{{WorkerID: "found", WorkerGroup: "mdc2"}, {WorkerID: "other", WorkerGroup: "mdc1"}} {
			_, err := d.one.Find(t.Context(), machine, job.TaskID)
			require.ErrorIs(t, err, starter.ErrNoJob, "of another machine")
		}
	}
	// Runs that are no machine's job are not found as one.
	run, err := d.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "bug/mdc1/found", TaskQueue: workflows.TaskQueue}, workflows.BugType)
	require.NoError(t, err)
	_, err = d.one.Find(t.Context(), n, run.GetRunID())
	require.ErrorIs(t, err, starter.ErrNoJob)
}

func TestAwaitChange(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	d.one = d.hasty()
	job := d.start(t, request("reboot", "watched"))
	// Without a worker the record itself cannot be had; the list entry can.
	n := config.Name{WorkerID: "watched", WorkerGroup: "mdc1"}
	v, err := d.one.Find(t.Context(), n, job.TaskID)
	require.NoError(t, err)
	require.Positive(t, v.Events)

	changed := make(chan error, 1)
	go func() { changed <- d.one.AwaitChange(t.Context(), v) }()
	select {
	case err := <-changed:
		require.FailNow(t, "nothing has changed", "%v", err)
	case <-time.After(1500 * time.Millisecond): // it has looked more than once
	}
	require.NoError(t, d.client.SignalWorkflow(t.Context(), job.WorkflowID, job.TaskID, "anything", nil))
	require.NoError(t, <-changed)

	d.end(t, job)
	require.NoError(t, d.one.AwaitChange(t.Context(), starter.View{Job: job, Events: v.Events + 2}), "it has ended")
	other := d.start(t, request("reboot", "watched"))
	v, err = d.one.Find(t.Context(), n, other.TaskID)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.one.AwaitChange(ctx, v), context.Canceled)

	// A wait that is over is no failure of Temporal's, though its end comes while it is asked.
	var waits sync.WaitGroup
	ends := make([]error, 40)
	for i := range ends {
		waits.Go(func() {
			wait, over := context.WithTimeout(t.Context(), time.Second+time.Duration(i-20)*time.Millisecond/10)
			defer over()
			ends[i] = d.one.AwaitChange(wait, v)
		})
	}
	waits.Wait()
	for _, err := range ends {
		require.Equal(t, context.DeadlineExceeded, err)
	}
}
