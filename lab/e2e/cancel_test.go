package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// step is where a job is when it is cancelled.
type step struct {
	task   string
	spec   lab.Spec
	at     place
	then   func(ons *stop) // after the cancel, for a job that has yet to power on
	sent   []string        // what the machine's devices carried out, in all
	within string          // its worker group, where it is not one of its own
	bulk   bool
}

// retrying tells by a try that has failed, and another that is due.
func retrying(s *site, t *testing.T, _ *lab.Machine, job starter.Job) bool {
	t.Helper()
	d, err := s.client.DescribeWorkflowExecution(t.Context(), job.WorkflowID, job.TaskID)
	return err == nil && len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetLastFailure() != nil
}

// longSteps are those at which a job can be for long.
func longSteps(bird *canary) map[string]step {
	waiting := map[string]bool{} // for up, and not blind yet
	waitsUp := now("waiting for the machine to come back")
	return map[string]step{
		"turn":        {task: "snmp_reboot", within: "busy", at: now("waiting for its turn")},
		"bulk-turn":   {task: "snmp_reboot", bulk: true, within: "busy", at: now("waiting for its turn")},
		"try":         {task: "ipmi_reset", spec: lab.Spec{Faults: lab.Faults{DeadBMC: true}}, at: retrying},
		"off-try":     {task: "ipmi_reboot", spec: lab.Spec{Faults: lab.Faults{DeadBMC: true}}, at: retrying},
		"read-try":    {task: "ipmi_status", spec: lab.Spec{Faults: lab.Faults{DeadBMC: true}}, at: retrying},
		"watch-down":  {task: "ssh_reboot", spec: lab.Spec{Faults: lab.Faults{IgnoreSSH: true}}, at: phaseIs("watching")},
		"await-up":    {task: "ssh_reboot", spec: lab.Spec{Faults: lab.Faults{NeverReturns: true}}, at: waitsUp, sent: []string{"ssh reboot"}},
		"dwell":       {task: "snmp_rebootdelay", at: now("off; power comes on at"), sent: []string{"pdu set AA off", "pdu set AA on"}},
		"await-on":    {task: "ipmi_reboot", at: now("powering on"), then: (*stop).open, sent: []string{"bmc chassis power soft", "bmc chassis power on"}},
		"blind-first": {task: "ipmi_reset", within: "dark", spec: lab.Spec{Faults: lab.Faults{Hung: true}}, at: now("blind: ")},
		"blind-off":   {task: "ipmi_reboot", within: "dark", spec: lab.Spec{Faults: lab.Faults{Hung: true}}, at: now("blind: ")},
		"blind-up": {
			task: "ssh_reboot", within: "darkens", spec: lab.Spec{Faults: lab.Faults{NeverReturns: true}}, sent: []string{"ssh reboot"},
			at: func(s *site, t *testing.T, m *lab.Machine, job starter.Job) bool {
				t.Helper()
				if waitsUp(s, t, m, job) {
					waiting[m.FQDN()] = true
				}
				if len(waiting) == len(doors) {
					bird.close()
				}
				return now("blind: ")(s, t, m, job)
			},
		},
		"bug":     {task: "file_bugzilla_bug", at: now("filing the bug")},
		"give-up": {task: "reboot", spec: lab.Spec{Faults: lab.Faults{RefuseControl: true}}, at: now("filing the bug")},
		"install": {
			task: "reimage", spec: lab.Spec{Faults: lab.Faults{NeverReturns: true}}, at: now("being installed"),
			sent: []string{"bmc chassis power cycle"},
		},
	}
}

// Promise 10: cancelled at any step through any door, a job ends soon, and leaves
// no machine off.
func TestCancelAtEveryStep(t *testing.T) {
	t.Parallel()
	gates, bird := &gate{}, newCanary(t)
	bird.open()
	all := longSteps(bird)
	specs := []lab.Spec{{WorkerID: "holder", WorkerGroup: "busy"}}
	for _, where := range slices.Sorted(maps.Keys(all)) {
		for _, through := range slices.Sorted(maps.Keys(doors)) {
			spec := all[where].spec
			spec.WorkerID, spec.WorkerGroup = where+"-"+through, all[where].within
			if spec.WorkerGroup == "" {
				spec.WorkerGroup = fmt.Sprintf("g%d", len(specs))
			}
			specs = append(specs, spec)
		}
	}
	env := maps.Clone(patient)
	env["CANARIES"] = "dark=127.0.0.1:1;darkens=" + bird.addr
	s := newSiteOn(t, stack.Options{UI: true, Env: env}, gates, specs...)
	s.bugs.SetFaults(lab.BugzillaFaults{Down: true})
	holder := s.lab.Machine("holder")
	busy := gates.stop(lab.Arrived, setOf("holder"))
	ons := gates.stop(lab.Arrived, func(e lab.Entry) bool {
		return strings.HasPrefix(e.Machine, "await-on-") && e.Command == "chassis power on"
	})
	held := s.job(t, "snmp_reboot", holder)
	busy.await(t, holder)

	jobs := map[*lab.Machine]starter.Job{}
	each := func(do func(step, *lab.Machine, door)) {
		for where, step := range all {
			for through, ask := range doors {
				do(step, s.lab.Machine(where+"-"+through), ask)
			}
		}
	}
	each(func(step step, m *lab.Machine, _ door) {
		var err error // not by the API, which does not say by which ID a read runs
		jobs[m], err = s.door.Start(t.Context(), starter.Request{Task: step.task, WorkerID: m.Spec().WorkerID, WorkerGroup: m.Spec().WorkerGroup, Bulk: step.bulk})
		require.NoError(t, err)
	})
	at := map[*lab.Machine]place{}
	each(func(step step, m *lab.Machine, _ door) { at[m] = step.at })
	s.there(t, jobs, func(m *lab.Machine) place { return at[m] })
	each(func(step step, m *lab.Machine, ask door) {
		ask(t, s, m, jobs[m])
		if step.then != nil {
			a := s.post(t, step.task, m.Spec().WorkerID, m.Spec().WorkerGroup)
			require.Equal(t, http.StatusConflict, a.Status, a.Raw)
			require.Contains(t, a.Body["message"], "being cancelled")
		}
	})
	each(func(step step, _ *lab.Machine, _ door) {
		if step.then != nil {
			step.then(ons)
		}
	})
	each(func(step step, m *lab.Machine, _ door) {
		s.endedCancelled(t, m, jobs[m])
		require.Equal(t, step.sent, s.told(m), m.FQDN())
	})
	busy.open()
	r, _ := s.end(t, held)
	require.Equal(t, workflows.Back, r.Outcome, pretty(r))
	each(func(step step, m *lab.Machine, _ door) { // nor anything later
		require.Equal(t, step.sent, s.told(m), m.FQDN())
		require.True(t, m.State().Power, m.FQDN())
		require.False(t, m.State().Netboot, m.FQDN())
	})
}

// told is what a machine's devices carried out. A power on may be tried again.
func (s *site) told(m *lab.Machine) []string { return slices.Compact(outlets(s.executed(m))) }
