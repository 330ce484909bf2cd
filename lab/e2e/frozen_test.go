package e2e

import (
	"bytes"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Promises 2 to 4 with a worker that is frozen (SIGSTOP) around every one of the
// commands, for longer than HEARTBEAT_TIMEOUT, and goes on while another worker is at
// the same jobs. Frozen before a command, it finds the other one's with the device,
// and sends nothing; frozen in it, what it has sent is not sent again.
func TestAtMostOnceWithTheWorkerFrozen(t *testing.T) {
	t.Parallel()
	for point, at := range moments {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			freezeAt(t, at)
		})
	}
}

func freezeAt(t *testing.T, at lab.Moment) {
	commands, g := powerCommands(), &gate{}
	env := maps.Clone(once)
	env["HEARTBEAT_TIMEOUT"] = soon
	env["RUNG_RETRY"] = "10m"
	s, jobs, release := commandsAt(t, g, at, stack.Options{Production: production, Env: env}, func(spec *lab.Spec) { spec.Timing.Boot = 3 * time.Second })
	under := maps.Clone(jobs)
	maps.DeleteFunc(under, func(m *lab.Machine, _ starter.Job) bool { // its connection has ended with the machine, and its activity
		return at == lab.Acted && commands[m.Spec().WorkerID].task == "ssh_reboot"
	})
	s.there(t, under, func(*lab.Machine) place {
		return func(s *site, t *testing.T, _ *lab.Machine, job starter.Job) bool {
			t.Helper()
			return s.underWay(t, job)
		}
	})
	frozen := s.Workers[0]
	frozen.Freeze()
	var next *stop
	if at == "" {
		next = g.stop(lab.Arrived, func(e lab.Entry) bool { return e.Control })
	}
	release() // what the devices answer waits for the frozen worker
	_, err := s.StartWorker()
	require.NoError(t, err)
	if at == "" {
		next.await(t, s.lab.Machines()...)
	} else {
		s.there(t, under, func(*lab.Machine) place { return givenUp })
	}
	frozen.Thaw()
	if at == "" {
		s.goesOn(t, frozen, under)
		next.open()
	}
	for m, job := range jobs {
		r, v := s.end(t, job)
		require.False(t, r.Off, "%s", pretty(r))
		require.Empty(t, v.Off)
		if commands[m.Spec().WorkerID].task == "ipmi_off" { // which looks at nothing after it
			continue
		}
		require.Equal(t, workflows.Back, r.Outcome, "%s: %s", m.FQDN(), pretty(r))
		if under[m].TaskID != "" {
			require.Equal(t, at != "", strings.Contains(r.Attempts[0].Why, "may have been sent"), "%s", pretty(r))
		}
	}
	terminate(t, frozen)
	ended(t, frozen) // it has nothing left to do
	for m := range jobs {
		got := s.received(m)
		for command, n := range got {
			require.Equal(t, 1, n, "%s: %s: %v", m.FQDN(), command, got)
		}
		require.Equal(t, 1, got[outlets([]string{commands[m.Spec().WorkerID].command})[0]], "%s: %v", m.FQDN(), got)
	}
}

// givenUp is where a job is whose worker was lost.
func givenUp(s *site, t *testing.T, _ *lab.Machine, job starter.Job) bool {
	t.Helper()
	for _, e := range s.history(t, job) {
		if e.GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT {
			return true
		}
	}
	return false
}

// goesOn waits until a worker that was frozen has given up its command of every job, or
// has sent it to a device that has the other worker's.
func (s *site) goesOn(t *testing.T, frozen *stack.Process, jobs map[*lab.Machine]starter.Job) {
	t.Helper()
	s.there(t, jobs, func(*lab.Machine) place {
		return func(s *site, t *testing.T, m *lab.Machine, job starter.Job) bool {
			t.Helper()
			if s.lab.Count(m.FQDN(), func(e lab.Entry) bool { return e.Control }) > 1 {
				return true
			}
			log, err := os.ReadFile(frozen.Log)
			require.NoError(t, err)
			for line := range bytes.Lines(log) {
				if bytes.Contains(line, []byte(`"Activity error."`)) && bytes.Contains(line, []byte(job.TaskID)) {
					return true
				}
			}
			return false
		}
	})
}

// Promise 2: the last moment that a worker can be frozen in and not send is that
// between its word that it is about to, which Temporal has, and the answer. Nobody but
// its own clocks can tell it then. Two workers in a row are frozen there, by IPMI and by
// SNMP; both go on while a third has the next rung's command with the device, and that
// is the only one that the machine receives.
func TestFrozenWhileItTellsTemporal(t *testing.T) {
	t.Parallel()
	rungs := []string{"ipmi_reset", "snmp_rebootdelay"}
	g, told, frozen := &gate{}, make(chan *stack.Process, len(rungs)), []*stack.Process{}
	var newest struct {
		sync.Mutex
		worker *stack.Process
	}
	front := &stack.Frontend{Answered: func(method string, question []byte) {
		newest.Lock()
		defer newest.Unlock()
		if newest.worker != nil && strings.HasSuffix(method, "/RecordActivityTaskHeartbeat") && bytes.Contains(question, []byte(`"phase":"sending"`)) {
			newest.worker.Freeze()
			told <- newest.worker
			newest.worker = nil
		}
	}}
	s := newSiteOn(t, stack.Options{Production: production, Frontend: front, Env: map[string]string{
		"REBOOT_METHODS": strings.Join(rungs, ",") + ",ipmi_cycle,file_bugzilla_bug", "HEARTBEAT_TIMEOUT": soon, "SNMP_REBOOT_DELAY": "1s",
		"IPMI_TIMEOUT": "4m", "COMMAND_TIMEOUT": "5m", "TURN_WAIT": "60s", "UP_TIMEOUT": "2m",
	}}, g, lab.Spec{WorkerID: "once", WorkerGroup: "mdc1", SSHBootID: true})
	m := s.lab.Machine("once")
	next := g.stop(lab.Arrived, func(e lab.Entry) bool { return e.Control })
	aim := func() {
		newest.Lock()
		defer newest.Unlock()
		newest.worker = s.Workers[len(s.Workers)-1]
	}
	aim()
	job := s.job(t, "reboot", m)
	for range rungs {
		select {
		case worker := <-told:
			frozen = append(frozen, worker)
		case <-time.After(enough):
			require.Fail(t, "no worker tells that it is about to send")
		}
		_, err := s.StartWorker()
		require.NoError(t, err)
		if len(frozen) < len(rungs) {
			aim()
		}
	}
	next.await(t, m)
	for _, worker := range frozen {
		worker.Thaw()
	}
	for _, worker := range frozen {
		s.goesOn(t, worker, map[*lab.Machine]starter.Job{m: job})
	}
	next.open()
	r, v := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
	require.Empty(t, v.Off)
	for i, rung := range rungs { // it may have been sent, for all that anybody else knows
		require.Equal(t, rung, r.Attempts[i].Rung)
		require.Contains(t, r.Attempts[i].Why, "may have been sent", "%s", pretty(r))
	}
	for _, worker := range frozen {
		terminate(t, worker)
		ended(t, worker)
	}
	require.Equal(t, map[string]int{"chassis power cycle": 1}, s.received(m), "%s", pretty(r))
	require.True(t, m.State().Power)
}
