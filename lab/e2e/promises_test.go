package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// byHand starts a workflow as tctl does: type, task queue, the two names, and
// an ID nobody chose.
func (s *site) byHand(t *testing.T, task, id, group string) starter.Job {
	t.Helper()
	run, err := s.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "roller"}, task,
		map[string]string{"worker_id": id, "worker_group": group})
	require.NoError(t, err)
	return starter.Job{Task: task, TaskID: run.GetRunID(), WorkflowID: run.GetID()}
}

// Promise 1: one power-changing job per machine, whatever the spelling, the API's
// process and the door.
func TestOneJobPerMachine(t *testing.T) {
	t.Parallel()
	g := &gate{}
	s := newGatedSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "SSH_TIMEOUT": "4m", "COMMAND_TIMEOUT": "5m"}, g,
		lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, lab.Spec{WorkerID: "ms1-11", WorkerGroup: "mdc1"})
	m := s.lab.Machine("ms1-10")
	held := g.stop(lab.Arrived, setOf("ms1-10"))
	first := s.job(t, "reboot", m)
	held.await(t, m)

	for _, spelling := range [][2]string{{"MS1-10", "mdc1"}, {"ms1-10", "MDC1"}, {"ms1-10", "none"}} {
		a := s.post(t, "reboot", spelling[0], spelling[1])
		require.Equal(t, http.StatusCreated, a.Status, "%s", a.Raw)
		require.Equal(t, first.TaskID, a.Body["task_id"], "%v joins the running job", spelling)
	}
	a := s.post(t, "ipmi_reset", "ms1-10", "mdc1")
	require.Equal(t, http.StatusConflict, a.Status, "%s", a.Raw)
	require.Contains(t, a.Body["message"], first.TaskID)

	// Another API's process knows as much.
	port, err := stack.Port(0)
	require.NoError(t, err)
	second, err := s.RunAPI(t.Context(), "api2", port)
	require.NoError(t, err)
	t.Cleanup(second.Stop)
	there := func(task string) answer {
		me := tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}
		return s.askAt(t, fmt.Sprintf("http://127.0.0.1:%d", port), me, http.MethodPost, "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name="+task)
	}
	a = there("reboot")
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Raw)
	require.Equal(t, first.TaskID, a.Body["task_id"])
	a = there("ipmi_reset")
	require.Equal(t, http.StatusConflict, a.Status, "%s", a.Raw)
	require.Contains(t, a.Body["message"], first.TaskID)

	// A start by hand, under a random ID, conflicts and says with what.
	r, _ := s.end(t, s.byHand(t, "reboot", "MS1-10", "none"))
	require.Equal(t, workflows.Failed, r.Outcome)
	require.Contains(t, r.Why, workflows.MachineID(name(m)))

	// A read waits for nobody.
	a = s.post(t, "ping", "ms1-10", "mdc1")
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Raw)
	require.NotEqual(t, first.TaskID, a.Body["task_id"])

	g.open()
	r, _ = s.end(t, first)
	require.Equal(t, workflows.Back, r.Outcome)
	require.Equal(t, []string{"ssh reboot"}, s.executed(m))

	// A start by hand on a free machine runs as a child under the machine's ID.
	other := s.lab.Machine("ms1-11")
	hand := s.byHand(t, "reboot", "MS1-11", "none")
	r, _ = s.end(t, hand)
	require.Equal(t, workflows.Back, r.Outcome)
	v, err := s.door.Show(t.Context(), workflows.MachineID(name(other)), "")
	require.NoError(t, err)
	require.Equal(t, "Completed", v.Status)
	require.NotEqual(t, hand.TaskID, v.TaskID)
	require.Equal(t, []string{"ssh reboot"}, s.executed(other))

	t.Run("bad input", func(t *testing.T) { s.badInput(t) })
}

// badInput: what only the inventory knows ends a job at once, nothing touched;
// what the API can see it answers itself.
func (s *site) badInput(t *testing.T) {
	before := len(s.lab.Log())
	for what, test := range map[string]struct{ task, id, group, code string }{
		"unknown machine":   {"reboot", "ms9-99", "mdc1", "unknown_machine"},
		"unknown group":     {"reboot", "ms1-10", "mdc9", "unknown_machine"},
		"no rung":           {"xenapi_reboot", "ms1-10", "mdc1", ""},
		"empty worker_id":   {"reboot", "", "mdc1", "bad_input"},
		"leading dash":      {"reboot", "-oProxyCommand", "mdc1", "bad_input"},
		"129 characters":    {"reboot", fmt.Sprintf("%0129d", 1), "mdc1", "bad_input"},
		"a name with a dot": {"ping", "a.b", "mdc1", "bad_input"},
	} {
		if test.code == "" {
			continue
		}
		job := s.byHand(t, test.task, test.id, test.group)
		err := s.client.GetWorkflow(t.Context(), job.WorkflowID, job.TaskID).Get(t.Context(), nil)
		require.ErrorContains(t, err, "type: "+test.code, what)
	}
	pinger := tcclient.Credentials{ClientID: "pinger", AccessToken: accessToken}
	require.Equal(t, http.StatusForbidden, s.signed(t, pinger, "reboot", "ms1-10", "mdc1").Status, "the scope of ping opens nothing else")
	wrong := tcclient.Credentials{ClientID: sheriff, AccessToken: "wrong"}
	require.Equal(t, http.StatusUnauthorized, s.signed(t, wrong, "reboot", "ms1-10", "mdc1").Status)
	require.Equal(t, http.StatusBadRequest, s.post(t, "reimage", "ms1-10", "mdc1").Status)
	require.Equal(t, http.StatusNotFound, s.post(t, "reboot", "ms9-99", "mdc1").Status, "the API was given the inventory")
	require.Len(t, s.lab.Log(), before, "nothing was touched")

	s.auth.SetFault(lab.AuthUnavailable)
	a := s.post(t, "reboot", "ms1-10", "mdc1")
	require.Equal(t, http.StatusServiceUnavailable, a.Status, "%s", a.Raw)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	s.auth.SetFault(lab.AuthWorks)
	s.Server.Stop()
	a = s.post(t, "reboot", "ms1-10", "mdc1")
	require.Equal(t, http.StatusServiceUnavailable, a.Status, "%s", a.Raw)
	require.NotContains(t, a.Raw, "refused", "no text of what stands behind")
	require.NoError(t, s.StartServer(t.Context()))
}

// Promises 2 and 3: with 30 % of the replies of BMC and PDU lost, each rung's
// command is carried out at most once.
func TestLostRepliesSendNothingTwice(t *testing.T) {
	t.Parallel()
	var machines []lab.Spec
	for i := range 12 {
		machines = append(machines, lab.Spec{
			WorkerID: fmt.Sprintf("lossy-%d", i), WorkerGroup: "mdc1",
			Faults: lab.Faults{IgnoreSSH: true, LoseReplies: 0.3},
		})
	}
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ipmi_reset,ipmi_cycle,snmp_reboot,file_bugzilla_bug"}, machines...)
	jobs := map[string]starter.Job{}
	for _, m := range s.lab.Machines() {
		jobs[m.FQDN()] = s.job(t, "reboot", m)
	}
	sent := 0
	for fqdn, job := range jobs {
		r, _ := s.end(t, job)
		counts := map[string]int{}
		for _, c := range s.executed(s.lab.Machine(fqdn)) {
			counts[c]++
			sent++
		}
		for c, n := range counts {
			require.Equal(t, 1, n, "%s on %s: %s", c, fqdn, pretty(r))
		}
	}
	require.GreaterOrEqual(t, sent, len(jobs)/2, "commands were sent at all")
}

// Promise 4: what roller powered off it powers on, whoever dies in between.
func TestNeverLeftOff(t *testing.T) {
	t.Parallel()
	hurt := map[string]func(t *testing.T, s *site, job starter.Job){
		"cancel": func(t *testing.T, s *site, job starter.Job) {
			require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
		},
		"terminate": func(t *testing.T, s *site, job starter.Job) {
			require.NoError(t, s.client.TerminateWorkflow(t.Context(), job.WorkflowID, job.TaskID, "by hand"))
			require.NoError(t, s.client.ScheduleClient().GetHandle(t.Context(), workflows.SweepID).
				Trigger(t.Context(), client.ScheduleTriggerOptions{Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL}))
		},
		"worker killed": func(t *testing.T, s *site, _ starter.Job) {
			s.Workers[0].Kill()
			_, err := s.StartWorker()
			require.NoError(t, err)
		},
		"temporal killed": func(t *testing.T, s *site, _ starter.Job) {
			s.Server.Kill()
			require.NoError(t, s.StartServer(t.Context()))
		},
		"api killed": func(_ *testing.T, s *site, _ starter.Job) { s.API.Kill() },
	}
	for what, strike := range hurt {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "8s", "HEARTBEAT_TIMEOUT": soon},
				lab.Spec{WorkerID: "dark", WorkerGroup: "mdc1"})
			m := s.lab.Machine("dark")
			job := s.job(t, "reboot", m)
			s.saw(t, "the outlet is off", func() bool { return !m.State().Power })
			strike(t, s, job)
			s.saw(t, "the outlet is on again", func() bool { return m.State().Power && m.State().Up })
			if what != "terminate" {
				r, v := s.end(t, job)
				require.False(t, r.Off)
				require.Empty(t, v.Off)
			}
			require.Equal(t, []string{"pdu set AA off", "pdu set AA on"}, outlets(s.executed(m)))
		})
	}
}

// Promise 4 for a VM: it comes back by its one rung, in either spelling, also
// when the worker is killed while the VM is off.
func TestXenVM(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "xen_reboot,file_bugzilla_bug", "TASK_NAMES": "reboot,xenapi_reboot", "OFF_DELAY": "20s", "HEARTBEAT_TIMEOUT": soon},
		lab.Spec{WorkerID: "vm-1", WorkerGroup: "mdc1", VM: true, NoBMC: true, NoOutlet: true, NoSSH: true},
		lab.Spec{WorkerID: "vm-2", WorkerGroup: "mdc1", VM: true, NoBMC: true, NoOutlet: true, NoSSH: true, Faults: lab.Faults{RefuseShutdown: true}})
	first, second := s.lab.Machine("vm-1"), s.lab.Machine("vm-2")
	job := s.job(t, "reboot", first)
	spelled := s.byHand(t, "xen_reboot", second.Spec().WorkerID, "mdc1")
	s.saw(t, "both are off", func() bool { return !first.State().Power && !second.State().Power })
	s.Workers[0].Kill()
	_, err := s.StartWorker()
	require.NoError(t, err)
	for m, j := range map[*lab.Machine]starter.Job{first: job, second: spelled} {
		r, v := s.end(t, j)
		require.Equal(t, workflows.Back, r.Outcome, "%s", pretty(r))
		require.Equal(t, "xenapi_reboot", r.Attempts[0].Rung)
		require.Empty(t, v.Off)
		require.True(t, m.State().Up)
	}
	require.Equal(t, []string{"xen VM.clean_shutdown", "xen VM.start"}, s.executed(first))
	require.Equal(t, []string{"xen VM.hard_shutdown", "xen VM.start"}, s.executed(second))
}

// Promises 2 and 3: a worker killed while its command is under way is unknown:
// roller looks, and sends nothing twice.
func TestWorkerKilledInMidCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ipmi_reset,file_bugzilla_bug", "IPMI_TIMEOUT": "60s", "HEARTBEAT_TIMEOUT": soon},
		lab.Spec{WorkerID: "mid", WorkerGroup: "mdc1", Faults: lab.Faults{LoseCommandReply: true, SlowBoot: time.Second}})
	m := s.lab.Machine("mid")
	job := s.job(t, "reboot", m)
	s.saw(t, "the reset was carried out, its reply lost", func() bool { return len(s.executed(m)) == 1 })
	s.Workers[0].Kill()
	_, err := s.StartWorker()
	require.NoError(t, err)
	r, _ := s.end(t, job)
	require.Equal(t, []string{"bmc chassis power reset"}, s.executed(m), "%s", pretty(r))
	require.Contains(t, r.Attempts[0].Why, "may have been sent", "%s", pretty(r))
}

// Promise 9: Bugzilla down holds nobody; the bug is filed once, later.
func TestBugIsFiledOnceAfterBugzillaComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug", "BUG_WAIT": "1s"},
		lab.Spec{WorkerID: "gone", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}})
	m := s.lab.Machine("gone")
	s.bugs.SetFaults(lab.BugzillaFaults{Down: true})
	first, _ := s.end(t, s.job(t, "reboot", m))
	require.Equal(t, workflows.BugPending, first.Outcome)
	require.Equal(t, workflows.BugID(name(m)), first.Bug.WorkflowID)
	require.NotEmpty(t, first.Bug.RunID)
	second, _ := s.end(t, s.job(t, "reboot", m))
	require.Equal(t, workflows.BugPending, second.Outcome)
	s.bugs.SetFaults(lab.BugzillaFaults{})
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	require.NoError(t, s.client.GetWorkflow(ctx, first.Bug.WorkflowID, first.Bug.RunID).Get(ctx, nil))
	third, _ := s.end(t, s.job(t, "reboot", m))
	require.Equal(t, workflows.BugFiled, third.Outcome)
	reboots := 0
	for _, b := range s.bugs.Bugs() {
		if b.ID == third.Bug.ID {
			reboots++
			require.NotEmpty(t, b.Comments, "the second failure is a comment on the open bug")
		}
	}
	require.Equal(t, 1, reboots)
	require.Len(t, s.bugs.Bugs(), 2, "one tracker, one reboot bug")
}

// Promises 4, 8, 10: the PDU dies between off and on, and the job is cancelled.
// It goes on trying, says that the machine is off (the bug first of all), is not
// joined meanwhile, and ends when the machine is on.
func TestPDUDiesBetweenOffAndOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{
		"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "4s",
		"ON_ALARM": "3s", "ON_RETRY": "3s", "COMMAND_TIMEOUT": "15s",
	}, lab.Spec{WorkerID: "cut", WorkerGroup: "mdc1"})
	m := s.lab.Machine("cut")
	job := s.job(t, "reboot", m)
	s.saw(t, "the outlet is off", func() bool { return !m.State().Power })
	m.SetFaults(lab.Faults{PDUDead: true})
	require.NoError(t, s.door.Cancel(t.Context(), job.WorkflowID, job.TaskID))
	s.until(t, job, "the bug is filed, and the job says off", func(r workflows.Result) bool {
		return r.Off && r.Bug != nil && r.Bug.ID != 0
	})
	for _, b := range s.bugs.Bugs() {
		if b.Alias != "" { // the tracker
			continue
		}
		require.Regexp(t, "^[^\n]*OFF", b.Comments[0], "the first line")
	}
	a := s.post(t, "reboot", "cut", "mdc1")
	require.Equal(t, http.StatusConflict, a.Status, "%s", a.Raw)
	require.Contains(t, a.Body["message"], "being cancelled")
	v, err := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
	require.NoError(t, err)
	require.Equal(t, "snmp_rebootdelay", v.Off, "the search attribute by which the sweep finds it")
	require.True(t, v.Cancelling)

	m.SetFaults(lab.Faults{})
	r, v := s.end(t, job)
	require.True(t, m.State().Power)
	require.Equal(t, workflows.Cancelled, r.Outcome)
	require.False(t, r.Off)
	require.Empty(t, v.Off)
	require.Equal(t, "Canceled", v.Status)
}

// Promise 11: a worker that is asked to stop hands its wait to another one; no
// command is repeated.
func TestWorkerStopsGracefully(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,ipmi_reset,file_bugzilla_bug", "UP_TIMEOUT": "2m"},
		lab.Spec{WorkerID: "handed", WorkerGroup: "mdc1", Faults: lab.Faults{SlowBoot: 20 * time.Second}},
		lab.Spec{WorkerID: "watched", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}})
	slow, deaf := s.job(t, "reboot", s.lab.Machine("handed")), s.job(t, "reboot", s.lab.Machine("watched"))
	s.saw(t, "both were told to reboot", func() bool {
		return s.lab.Count("", func(e lab.Entry) bool { return e.Command == "reboot" }) == 2
	})
	s.saw(t, "one is down", func() bool { return !s.lab.Machine("handed").State().Up })
	first := s.Workers[0]
	_, err := s.StartWorker()
	require.NoError(t, err)
	first.Stop()
	r, _ := s.end(t, slow)
	require.Equal(t, workflows.Back, r.Outcome)
	require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.Back}, tried(r))
	r, _ = s.end(t, deaf)
	require.Equal(t, workflows.Back, r.Outcome)
	require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.NoEffect, "ipmi_reset": workflows.Back}, tried(r))
	require.Equal(t, 2, s.lab.Count("", func(e lab.Entry) bool { return e.Command == "reboot" }), "nothing was sent twice")
}
