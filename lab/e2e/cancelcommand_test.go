package e2e

import (
	"fmt"
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
	for point, at := range map[string]lab.Moment{"before it is sent": "", "before it is carried out": lab.Arrived, "before its reply": lab.Acted} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			cancelAt(t, at)
		})
	}
}

func cancelAt(t *testing.T, at lab.Moment) {
	commands := powerCommands()
	// The two VMs have one pool, at which the second waits for its turn while the
	// first is held.
	delete(commands, map[lab.Moment]string{lab.Arrived: "xen-clean", lab.Acted: "xen-hard"}[at])
	var specs []lab.Spec
	for i, name := range slices.Sorted(maps.Keys(commands)) {
		spec := commands[name].spec
		spec.WorkerID, spec.WorkerGroup, spec.SSHBootID = name, fmt.Sprintf("g%d", i), true
		spec.Faults.SlowBoot = 10 * time.Minute // no job is at its end before its cancel
		specs = append(specs, spec)
	}
	g := &gate{}
	env := maps.Clone(once)
	env["RUNG_RETRY"], env["DOWN_TIMEOUT"], env["UP_TIMEOUT"] = "10m", "2m", "10m"
	s := newSiteOn(t, stack.Options{UI: true, Env: env}, g, specs...)
	machines := s.lab.Machines()
	reached, release := s.holdAll(t, g, at)
	jobs := map[*lab.Machine]starter.Job{}
	for _, m := range machines {
		jobs[m] = s.job(t, commands[m.Spec().WorkerID].task, m)
	}
	reached()
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
