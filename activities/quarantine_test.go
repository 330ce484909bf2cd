package activities

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

const gecko = "releng-hardware/gecko-t"

var aWorker = TaskWorker{ProvisionerID: "releng-hardware", WorkerType: "gecko-t", WorkerGroup: "mdc1", WorkerID: "ms1-10"}

// newFleetQueue is a deployment whose queue has the machine as a worker, and a worker
// of roller that may look at it and quarantine it.
func newFleetQueue(t *testing.T, until time.Time, scopes ...string) (*lab.Taskcluster, *Activities) {
	t.Helper()
	if scopes == nil {
		scopes = []string{"queue:get-worker:releng-hardware/*", "queue:quarantine-worker:releng-hardware/*", "queue:status:*"}
	}
	tc, err := lab.NewTaskcluster(lab.Client{ID: "roller", AccessToken: "s3cret-roller", Scopes: scopes})
	require.NoError(t, err)
	root, err := tc.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, tc.Close())
		require.Empty(t, tc.Mistakes())
	})
	tc.AddWorker(gecko, "mdc1", "ms1-10", until)
	return tc, withConfig(t, "TASKCLUSTER_ROOT_URL="+root, "TASKCLUSTER_CLIENT_ID=roller", "TASKCLUSTER_ACCESS_TOKEN=s3cret-roller", "DRAIN_POLL=0.1s")
}

// answering is a prober that knows who answers.
type answering func(config.Machine) bool

func (f answering) Probe(_ context.Context, m config.Machine) (bool, error) { return f(m), nil }

func changing[I any](f func(context.Context, I) error) func(context.Context, I) (struct{}, error) {
	return func(ctx context.Context, in I) (struct{}, error) { return struct{}{}, f(ctx, in) }
}

// Exactly what was there is put back, and what somebody has set meanwhile stays.
func TestQuarantineIsPutBack(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Millisecond)
	ours := now.Add(time.Hour)
	for name, test := range map[string]struct {
		before  time.Time
		between time.Time // set by somebody while roller has the machine
		want    time.Time // zero: any time that is over
	}{
		"there was none":            {},
		"one that was over":         {before: now.Add(-time.Hour), want: now.Add(-time.Hour)},
		"a person's":                {before: now.Add(10 * time.Minute), want: now.Add(10 * time.Minute)},
		"a person's, set meanwhile": {between: now.AddDate(1000, 0, 0), want: now.AddDate(1000, 0, 0)},
		"lifted meanwhile":          {before: now.Add(10 * time.Minute), between: now.Add(-time.Minute), want: now.Add(-time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc, a := newFleetQueue(t, test.before)
			q, err := execute(t, a.QuarantineRead, aWorker, call{})
			require.NoError(t, err)
			require.True(t, q.Known)
			require.Equal(t, test.before.UnixMilli(), q.Until.UnixMilli())
			for range 2 { // an answer may be lost
				_, err = execute(t, changing(a.QuarantineSet), QuarantineChange{Worker: aWorker, Until: ours}, call{})
				require.NoError(t, err)
			}
			until, _ := tc.Quarantine(gecko, "mdc1", "ms1-10")
			require.Equal(t, ours, until)
			if !test.between.IsZero() {
				_, err = execute(t, changing(a.QuarantineSet), QuarantineChange{Worker: aWorker, Until: test.between}, call{})
				require.NoError(t, err)
			}
			for range 2 {
				_, err = execute(t, changing(a.QuarantineLift), QuarantineChange{Worker: aWorker, Until: q.Until, Ours: ours}, call{})
				require.NoError(t, err)
			}
			until, _ = tc.Quarantine(gecko, "mdc1", "ms1-10")
			if test.want.IsZero() {
				require.True(t, until.Before(time.Now()), "%s", until)
			} else {
				require.Equal(t, test.want, until)
			}
		})
	}
}

func TestQuarantineErrors(t *testing.T) {
	t.Parallel()
	tc, a := newFleetQueue(t, time.Time{}, "queue:get-worker:*")
	q, err := execute(t, a.QuarantineRead, TaskWorker{"releng-hardware", "gecko-t", "mdc1", "nobody"}, call{})
	require.NoError(t, err)
	require.False(t, q.Known)
	_, err = execute(t, changing(a.QuarantineSet), QuarantineChange{Worker: aWorker, Until: time.Now()}, call{})
	require.Contains(t, requireMeaning(t, err, Refused, false), "queue:quarantine-worker:releng-hardware/gecko-t/mdc1/ms1-10")
	tc.SetDown(true)
	_, err = execute(t, a.QuarantineRead, aWorker, call{})
	require.Contains(t, requireMeaning(t, err, NotSent, true), "503")
	_, err = execute(t, changing(a.QuarantineLift), QuarantineChange{Worker: aWorker}, call{})
	requireMeaning(t, err, NotSent, true)
}

func TestAwaitDrained(t *testing.T) {
	t.Parallel()
	in := func(limit time.Duration) Draining {
		return Draining{Worker: aWorker, Settle: config.Duration(300 * time.Millisecond), Limit: config.Duration(limit)}
	}
	busy := func(t *testing.T, life time.Duration) (*lab.Taskcluster, *Activities, string) {
		t.Helper()
		tc, a := newFleetQueue(t, time.Time{})
		tc.ClaimLife = life
		id := tc.AddTask(map[string]any{"taskQueueId": gecko})
		require.True(t, tc.ClaimAs(gecko, "mdc1", "ms1-10"))
		return tc, a, id
	}
	t.Run("it runs nothing", func(t *testing.T) {
		t.Parallel()
		_, a := newFleetQueue(t, time.Time{})
		began := time.Now()
		out, err := execute(t, a.AwaitDrained, in(time.Minute), call{})
		require.NoError(t, err)
		require.Equal(t, "it has run no task", out.Why)
		require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond, "a claim that was under way may still bring a task")
	})
	t.Run("until its task is over", func(t *testing.T) {
		t.Parallel()
		tc, a, id := busy(t, time.Hour)
		waited := make(chan error, 1)
		go func() {
			waited <- tc.Wait(t.Context(), func() bool { return tc.Calls("queue.status") >= 5 })
			tc.Complete(id)
		}()
		out, err := execute(t, a.AwaitDrained, in(time.Hour), call{})
		require.NoError(t, err)
		require.NoError(t, <-waited)
		require.Equal(t, "its last task "+id+"/0 is over", out.Why)
		require.GreaterOrEqual(t, tc.Calls("queue.status"), 6, "it went on asking")
	})
	t.Run("no longer than it may", func(t *testing.T) {
		t.Parallel()
		_, a, id := busy(t, time.Hour)
		out, err := execute(t, a.AwaitDrained, in(100*time.Millisecond), call{})
		require.NoError(t, err)
		require.Equal(t, "not waited for any longer: task "+id+"/0 runs", out.Why)
	})
	t.Run("not for one that hangs", func(t *testing.T) {
		t.Parallel()
		_, a, id := busy(t, 30*time.Second)
		out, err := execute(t, a.AwaitDrained, in(time.Hour), call{})
		require.NoError(t, err)
		require.Equal(t, "it hangs: it has not renewed its claim of task "+id+"/0", out.Why)
	})
	// silent has a machine that shows no life, beside a canary that does or does not.
	silent := func(t *testing.T, canary bool) (*Activities, string) {
		t.Helper()
		tc, err := lab.NewTaskcluster(lab.Client{ID: "roller", AccessToken: "s3cret-roller", Scopes: []string{"queue:get-worker:*", "queue:status:*"}})
		require.NoError(t, err)
		root, err := tc.Start(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, tc.Close()) })
		a := withConfig(t, "TASKCLUSTER_ROOT_URL="+root, "TASKCLUSTER_CLIENT_ID=roller", "TASKCLUSTER_ACCESS_TOKEN=s3cret-roller",
			"DRAIN_POLL=0.1s", "DRAIN_SILENCE=1s", "PROBE_INTERVAL=0.1s", "CANARIES=mdc1=canary.example")
		a.Inventory = func() *config.Inventory { return config.NewInventory(machineOne) }
		a.Prober = answering(func(m config.Machine) bool { return canary && m.Addr == "canary.example" })
		tc.AddWorker(gecko, "mdc1", "ms1-10", time.Time{})
		id := tc.AddTask(map[string]any{"taskQueueId": gecko})
		require.True(t, tc.ClaimAs(gecko, "mdc1", "ms1-10"))
		return a, id
	}
	t.Run("not for a dead machine", func(t *testing.T) {
		t.Parallel()
		a, _ := silent(t, true)
		began := time.Now()
		out, err := execute(t, a.AwaitDrained, in(time.Hour), call{})
		require.NoError(t, err)
		require.Contains(t, out.Why, "its machine has shown no life for 1s")
		require.GreaterOrEqual(t, time.Since(began), time.Second)
	})
	t.Run("of a site that cannot be seen nothing is known", func(t *testing.T) {
		t.Parallel()
		a, id := silent(t, false)
		out, err := execute(t, a.AwaitDrained, in(3*time.Second), call{})
		require.NoError(t, err)
		require.Equal(t, "not waited for any longer: task "+id+"/0 runs", out.Why)
	})
	t.Run("a queue that says nothing", func(t *testing.T) {
		t.Parallel()
		tc, a, _ := busy(t, time.Hour)
		tc.SetDown(true)
		out, err := execute(t, a.AwaitDrained, in(100*time.Millisecond), call{})
		require.NoError(t, err)
		require.Contains(t, out.Why, "not waited for any longer: getWorker: taskcluster answered 503")
	})
	t.Run("its worker stops", func(t *testing.T) {
		t.Parallel()
		_, a, _ := busy(t, time.Hour)
		stop := make(chan struct{})
		close(stop)
		_, err := execute(t, a.AwaitDrained, in(time.Hour), call{stop: stop})
		requireMeaning(t, err, Handover, true)
	})
}
