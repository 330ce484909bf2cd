package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Promises 4 and 10, around the command, for each protocol: before it a job ends
// without sending any; in the middle of it a job knows what it has sent, and
// powers on what that powered off.
func TestCancelAroundTheCommand(t *testing.T) {
	t.Parallel()
	for point, at := range moments {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			cancelAt(t, at)
		})
	}
}

func cancelAt(t *testing.T, at lab.Moment) {
	env := maps.Clone(once)
	env["RUNG_RETRY"], env["DOWN_TIMEOUT"], env["UP_TIMEOUT"] = "20m", "3m", "20m"
	env["IPMI_TIMEOUT"] = "150s" // of a reply that the busy network loses, too: less than longest
	s, jobs, release := commandsAt(t, &gate{}, at, stack.Options{UI: true, Env: env}, func(spec *lab.Spec) {
		spec.Faults.SlowBoot = 20 * time.Minute // no job is at its end before its cancel
	})
	machines := s.lab.Machines()
	through := slices.Sorted(maps.Keys(doors))
	for i, m := range machines {
		doors[through[i%len(through)]](t, s, m, jobs[m])
	}
	if at != "" { // its reply says what was sent: it is waited for
		release()
	}
	for m, job := range jobs {
		s.endedCancelled(t, m, job)
		s.sentOnce(t, m, job, at != "")
	}
	release()
	for m, job := range jobs { // nor anything later
		s.sentOnce(t, m, job, at != "")
	}
}

// sentOnce asserts what the machine of a cancelled job has received.
func (s *site) sentOnce(t *testing.T, m *lab.Machine, job starter.Job, sent bool) {
	t.Helper()
	c := powerCommands()[m.Spec().WorkerID]
	v, err := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
	require.NoError(t, err)
	got := s.received(m)
	for command, n := range got {
		require.Equal(t, 1, n, "%s: %s: %v, %s", m.FQDN(), command, got, pretty(v.Result))
	}
	last := v.Result.Attempts[len(v.Result.Attempts)-1]
	require.Equal(t, workflows.Cancelled, last.Outcome, "%s: %s", m.FQDN(), pretty(v.Result))
	if !sent {
		require.Empty(t, got, "%s: %s", m.FQDN(), pretty(v.Result))
		require.Empty(t, last.Sent, "%s: %s", m.FQDN(), pretty(v.Result))
		return
	}
	require.Equal(t, 1, got[outlets([]string{c.command})[0]], "%s: %v, %s", m.FQDN(), got, pretty(v.Result))
	require.NotEmpty(t, last.Sent, "%s: %s", m.FQDN(), pretty(v.Result))
	if c.task != "ipmi_off" { // which is asked to leave it off
		s.saw(t, m.FQDN()+" has power, by the job or by its PDU's own reboot", func() bool { return m.State().Power })
	}
}
