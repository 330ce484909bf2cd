package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Promise 2, without a kill: the device cannot be reached, the command is lost
// on its way, or it is carried out and its reply is lost.
func TestAtMostOnceWhateverIsLost(t *testing.T) {
	t.Parallel()
	faults := map[string]func(lab.Faults, powerCommand) lab.Faults{
		"unreachable": func(_ lab.Faults, c powerCommand) lab.Faults { return c.unreachable },
		"lost":        func(f lab.Faults, _ powerCommand) lab.Faults { f.LoseCommand = true; return f },
		"unanswered":  func(f lab.Faults, _ powerCommand) lab.Faults { f.LoseCommandReply = true; return f },
	}
	want := map[string]int{"unreachable": 0, "lost": 1, "unanswered": 1}
	var specs []lab.Spec
	for name, c := range powerCommands() {
		for fault, with := range faults {
			if fault == "unreachable" && c.unreachable == (lab.Faults{}) {
				continue
			}
			spec := c.spec
			spec.WorkerID, spec.WorkerGroup, spec.SSHBootID = name+"-"+fault, fmt.Sprintf("g%d", len(specs)), true
			spec.Faults = with(spec.Faults, c)
			specs = append(specs, spec)
		}
	}
	env := maps.Clone(once)
	maps.Copy(env, map[string]string{
		"SSH_TIMEOUT": "4s", "IPMI_TIMEOUT": "4s", "SNMP_TIMEOUT": "4s", "ILO_TIMEOUT": "4s", "XEN_TIMEOUT": "4s", "XEN_SHUTDOWN_TIMEOUT": "20s",
		"RUNG_RETRY": "10s",
	})
	s := newSite(t, env, specs...)
	jobs := map[*lab.Machine]starter.Job{}
	commands := powerCommands()
	of := func(m *lab.Machine) (powerCommand, string) {
		id := m.Spec().WorkerID
		i := strings.LastIndex(id, "-")
		return commands[id[:i]], id[i+1:]
	}
	for _, m := range s.lab.Machines() {
		c, _ := of(m)
		jobs[m] = s.job(t, c.task, m)
	}
	for m, job := range jobs {
		c, fault := of(m)
		r := s.endHeard(t, job, m, enough)
		got := s.received(m)
		if fault == "lost" {
			require.Empty(t, s.executed(m), "nothing was carried out")
		}
		require.Equal(t, want[fault], got[outlets([]string{c.command})[0]], "%s: %v, %s", m.FQDN(), got, pretty(r))
		for command, n := range got {
			require.Equal(t, 1, n, "%s: %s: %v, %s", m.FQDN(), command, got, pretty(r))
		}
		require.False(t, r.Off, "%s", pretty(r))
	}
}

// Promises 2 and 3: the worker is killed (SIGKILL) while every one of the
// commands is at the same point: about to be sent, with the device and not yet
// carried out, carried out and not yet answered. Another worker goes on.
func TestAtMostOnceWithTheWorkerKilled(t *testing.T) {
	t.Parallel()
	for point, at := range moments {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killAt(t, at)
		})
	}
}

func killAt(t *testing.T, at lab.Moment) {
	commands := powerCommands()
	env := maps.Clone(once)
	env["HEARTBEAT_TIMEOUT"] = soon
	env["RUNG_RETRY"] = "10m" // what has not been sent goes on not being sent
	s, jobs, release := commandsAt(t, &gate{}, at, stack.Options{Production: production, Env: env}, func(spec *lab.Spec) { spec.Timing.Boot = 3 * time.Second })
	for m, job := range jobs { // of an attempt of which nothing was heard nothing is known
		if at == lab.Acted && commands[m.Spec().WorkerID].task == "ssh_reboot" {
			continue // its connection has ended with the machine, and maybe its activity
		}
		require.Eventually(t, func() bool { return s.underWay(t, job) }, enough, 50*time.Millisecond, job.WorkflowID)
	}
	s.Workers[0].Kill()
	release()
	_, err := s.StartWorker()
	require.NoError(t, err)
	for m, job := range jobs {
		c := commands[m.Spec().WorkerID]
		r, v := s.end(t, job)
		got := s.received(m)
		for command, n := range got {
			require.Equal(t, 1, n, "%s: %s: %v, %s", m.FQDN(), command, got, pretty(r))
		}
		require.False(t, r.Off, "%s", pretty(r))
		require.Empty(t, v.Off)
		if at == "" && c.task == "moonshot_reset" { // its one request is all its dialogue
			continue
		}
		if at == "" && c.task != "ipmi_off" { // another worker has begun anew
			require.Equal(t, workflows.Back, r.Outcome, "%s: %s", m.FQDN(), pretty(r))
			require.NotContains(t, r.Attempts[0].Why, "may have been sent", "%s", pretty(r))
		}
		require.Equal(t, 1, got[outlets([]string{c.command})[0]], "%s: %v, %s", m.FQDN(), got, pretty(r))
		if at == "" {
			continue
		}
		if c.task != "ssh_reboot" { // whose connection ends with the machine, which is an answer too
			require.Contains(t, r.Attempts[0].Why, "may have been sent", "%s", pretty(r))
		}
		if c.task != "ipmi_off" { // which looks at nothing after it
			require.Equal(t, workflows.Back, r.Outcome, "%s: %s", m.FQDN(), pretty(r))
		}
	}
}
