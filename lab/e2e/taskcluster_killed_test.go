package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// A killed process picks up where it was, without a second job; claims and
// credentials are renewed; a cancelled task cancels its own job and no other's; a
// task is reported before its deadline.
func TestTaskclusterProcessKilled(t *testing.T) {
	t.Parallel()
	s, p := newTaskclusterSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "UP_TIMEOUT": "5m"},
		func(tc *lab.Taskcluster) { tc.ClaimLife, tc.ClaimPoll = time.Minute, 20*time.Second },
		lab.Spec{WorkerID: "killed", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: 75 * time.Second}},
		lab.Spec{WorkerID: "lost", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "cancelled", WorkerGroup: "mdc1", Faults: lab.Faults{NeverReturns: true}},
		lab.Spec{WorkerID: "late", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: 75 * time.Second}})
	killed, cancelled := s.task(rebootOf("killed")), s.task(rebootOf("cancelled"))
	late := s.task(rebootOf("late"), map[string]any{"deadline": time.Now().Add(50 * time.Second).UTC().Format(time.RFC3339)})
	s.saw(t, "all three are told to reboot", func() bool {
		return s.lab.Count("", func(e lab.Entry) bool { return e.Command == "reboot" }) == 3
	})
	s.sees(t, "claims are renewed", func() bool { return s.tc.Calls("queue.reclaimTask") >= 6 && s.tc.Waiting() == 1 })
	p.Kill()
	s.sees(t, "the killed process's own question is over", func() bool { return s.tc.Waiting() == 0 })
	lost, over := s.task(rebootOf("lost"), map[string]any{"retries": 1}), s.task(rebootOf("lost"))
	for range 2 { // as the process that died between the answer to its claim and Temporal
		s.tc.ClaimAs(taskQueue, "roller", "dead")
	}
	for _, id := range []string{lost, over} {
		require.Equal(t, "running", s.tc.Runs(id)[0].State)
		s.tc.ExpireClaim(id)
	}
	again, err := s.RunTaskcluster("taskcluster2")
	require.NoError(t, err)
	t.Cleanup(func() {
		again.Stop()
		if t.Failed() {
			t.Logf("%s: %s", again.Name, again.Tail())
		}
	})
	joins := s.task(rebootOf("cancelled"))
	s.sees(t, "another task joins", func() bool {
		log, _ := s.tc.Artifact(joins, 0, "public/logs/live.log")
		return strings.Contains(log, "running already")
	})
	s.tc.Cancel(joins)
	state, reason, log := s.resolved(t, late)
	require.Equal(t, "failed", state, "%s %s", reason, log)
	require.Contains(t, log, "the job goes on")
	v, err := s.door.Show(t.Context(), "machine/mdc1/cancelled", "")
	require.NoError(t, err)
	require.False(t, v.Cancelling, "a task that joined a job does not cancel it")

	s.sees(t, "the next run of a task whose claim was lost is carried out", func() bool {
		runs := s.tc.Runs(lost)
		return len(runs) == 2 && runs[1].State == "completed"
	})
	require.Equal(t, []lab.TaskRun{{State: "exception", Reason: "claim-expired", Artifacts: nil}}, s.tc.Runs(over), "it has no retries")

	s.tc.Cancel(cancelled)
	require.Eventually(t, func() bool {
		v, err := s.door.Show(t.Context(), "machine/mdc1/cancelled", "")
		return err == nil && v.Outcome == string(workflows.Cancelled)
	}, enough, 100*time.Millisecond, "cancelling the task cancels the job")

	state, _, log = s.resolved(t, killed)
	require.Equal(t, "completed", state, "%s", log)
	v, err = s.door.Show(t.Context(), "machine/mdc1/late", "")
	require.NoError(t, err)
	require.NotEqual(t, string(workflows.Cancelled), v.Outcome)
	require.Equal(t, 4, s.lab.Count("", func(e lab.Entry) bool { return e.Command == "reboot" }), "no job began twice")
	views, err := s.door.List(t.Context(), "", 100)
	require.NoError(t, err)
	require.Len(t, views, 4)
	s.noSecrets(t, "killed")
}
