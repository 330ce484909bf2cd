package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// offOnRungs are the rungs that power a machine off and on, as tasks: ipmi_off is
// one only inside a ladder.
var offOnRungs = map[string]struct {
	task string
	spec lab.Spec
}{
	"snmp-delay":  {"snmp_rebootdelay", lab.Spec{}},
	"snmp-reboot": {"snmp_reboot", lab.Spec{PDUModel: "apc_rpdu"}}, // a family that is not known to reboot by itself
	"ipmi-reboot": {"ipmi_reboot", lab.Spec{}},
	"xen":         {"xenapi_reboot", lab.Spec{VM: true, NoBMC: true, NoOutlet: true}},
	"ipmi-off":    {"reboot", lab.Spec{}},
}

// steps are the points of off, wait and on at which a job is struck.
const (
	offArrived = "off-arrived" // with the device, not carried out
	offActed   = "off-acted"   // carried out, not answered
	waiting    = "waiting"     // off, and the timer runs
	onArrived  = "on-arrived"
	onActed    = "on-acted"
)

const (
	// struckDelay is the wait between off and on: longer than it takes to bring the
	// last jobs, those that wait, to their points.
	struckDelay = 25 * time.Second
	// struckCommand is how long a command may be held: until all jobs are at their
	// points.
	struckCommand = 4 * time.Minute
	// struckEnd is that and what follows it.
	struckEnd = 8 * time.Minute
)

func takesPower(e lab.Entry) bool {
	return e.Control && (strings.HasSuffix(e.Command, " off") || strings.HasSuffix(e.Command, " soft") || e.Command == "VM.clean_shutdown")
}

func givesPower(e lab.Entry) bool {
	return e.Control && (strings.HasSuffix(e.Command, " on") || e.Command == "VM.start")
}

// jobAt is a job that is at one of the steps.
type jobAt struct {
	starter.Job
	m *lab.Machine
}

var steps = []string{offArrived, offActed, waiting, onArrived, onActed}

// everyStep is a site with a job at every step of every off-on rung. A Xen pool is
// one device, which a command that is held holds for all its VMs: there is one VM,
// at a step of its own.
func everyStep(t *testing.T, vmStep string) (*site, *gate, []jobAt) {
	t.Helper()
	rungsAt := map[string][]string{}
	var specs []lab.Spec
	for rung, r := range offOnRungs {
		for _, step := range steps {
			if r.spec.VM && step != vmStep {
				continue
			}
			rungsAt[step] = append(rungsAt[step], rung)
			spec := r.spec
			spec.WorkerID, spec.WorkerGroup = rung+"-"+step, fmt.Sprintf("g%d", len(specs))
			specs = append(specs, spec)
		}
	}
	env := maps.Clone(once)
	maps.Copy(env, map[string]string{
		"REBOOT_METHODS": "ipmi_off,file_bugzilla_bug", "TASK_NAMES": "reboot,snmp_rebootdelay,snmp_reboot,ipmi_reboot,xenapi_reboot",
		"HEARTBEAT_TIMEOUT": soon, "OFF_DELAY": struckDelay.String(), "SNMP_REBOOT_DELAY": struckDelay.String(),
		"SNMP_TIMEOUT": struckCommand.String(), "IPMI_TIMEOUT": struckCommand.String(), "ILO_TIMEOUT": struckCommand.String(), "XEN_TIMEOUT": struckCommand.String(), "XEN_SHUTDOWN_TIMEOUT": struckCommand.String(),
	})
	g := &gate{}
	s := newGatedSite(t, env, g, specs...)
	at := func(step string) func(lab.Entry) bool {
		return func(e lab.Entry) bool { return strings.Contains(e.Machine, "-"+step+".") }
	}
	both := func(a, b func(lab.Entry) bool) func(lab.Entry) bool {
		return func(e lab.Entry) bool { return a(e) && b(e) }
	}
	stops := map[string]*stop{
		offArrived: g.stop(lab.Arrived, both(at(offArrived), takesPower)), offActed: g.stop(lab.Acted, both(at(offActed), takesPower)),
		onArrived: g.stop(lab.Arrived, both(at(onArrived), givesPower)), onActed: g.stop(lab.Acted, both(at(onActed), givesPower)),
	}
	var jobs []jobAt
	start := func(steps ...string) {
		for _, step := range steps {
			for _, rung := range rungsAt[step] {
				m := s.lab.Machine(rung + "-" + step)
				jobs = append(jobs, jobAt{s.job(t, offOnRungs[rung].task, m), m})
			}
		}
	}
	reached := func(steps ...string) {
		for _, step := range steps {
			var machines []*lab.Machine
			for _, rung := range rungsAt[step] {
				machines = append(machines, s.lab.Machine(rung+"-"+step))
			}
			stops[step].await(t, machines...)
		}
	}
	start(onArrived, onActed)
	reached(onArrived, onActed)
	start(offArrived, offActed)
	reached(offArrived, offActed)
	start(waiting)
	for _, j := range jobs {
		if strings.HasSuffix(j.m.Spec().WorkerID, waiting) {
			s.until(t, j.Job, "it waits", func(r workflows.Result) bool { return strings.HasPrefix(r.Now, "off; power comes on") })
		}
	}
	return s, g, jobs
}

// reset resets a run by hand to the workflow task that an event completed.
func (s *site) reset(t *testing.T, j starter.Job, last bool) {
	t.Helper()
	var to int64
	for _, event := range s.history(t, j) {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED && (to == 0 || last) {
			to = event.GetEventId()
		}
	}
	_, err := s.client.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: "default", WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: j.WorkflowID, RunId: j.TaskID},
		Reason: "by hand", WorkflowTaskFinishEventId: to, RequestId: uuid.NewString(),
	})
	require.NoError(t, err)
}

// strike is what befalls all jobs at once. It lets the devices go on by itself.
type strike struct {
	do func(t *testing.T, s *site, g *gate, jobs []jobAt)
	// offs is how often a device may be told to power off: a run that is reset
	// begins again.
	offs int
	// lost says that the jobs' own runs do not end by themselves as they should.
	lost bool
}

var strikes = map[string]strike{
	"cancelled": {offs: 1, do: func(t *testing.T, s *site, g *gate, jobs []jobAt) {
		for _, j := range jobs {
			require.NoError(t, s.door.Cancel(t.Context(), j.WorkflowID, j.TaskID))
		}
		g.open()
	}},
	"terminated": {offs: 1, lost: true, do: func(t *testing.T, s *site, g *gate, jobs []jobAt) {
		for _, j := range jobs {
			require.NoError(t, s.client.TerminateWorkflow(t.Context(), j.WorkflowID, j.TaskID, "by hand"))
		}
		g.open()
		s.sweep(t)
	}},
	"reset to the beginning": {offs: 2, lost: true, do: func(t *testing.T, s *site, g *gate, jobs []jobAt) {
		for _, j := range jobs {
			s.reset(t, j.Job, false)
		}
		g.open()
	}},
	"reset to its last step": {offs: 2, lost: true, do: func(t *testing.T, s *site, g *gate, jobs []jobAt) {
		for _, j := range jobs {
			s.reset(t, j.Job, true)
		}
		g.open()
	}},
	"worker and API killed": {offs: 1, do: func(t *testing.T, s *site, g *gate, _ []jobAt) {
		s.API.Kill()
		s.Workers[0].Kill()
		g.open()
		_, err := s.StartWorker()
		require.NoError(t, err)
	}},
	"temporal killed": {offs: 1, do: func(t *testing.T, s *site, g *gate, _ []jobAt) {
		s.Server.Kill()
		g.open()
		require.NoError(t, s.StartServer(t.Context()))
	}},
	"worker and temporal dead until the timers have expired": {offs: 1, do: func(t *testing.T, s *site, g *gate, _ []jobAt) {
		s.Workers[0].Kill()
		s.Server.Kill()
		g.open()
		<-time.NewTimer(struckDelay).C
		require.NoError(t, s.StartServer(t.Context()))
		_, err := s.StartWorker()
		require.NoError(t, err)
	}},
}

// everyStrike asks for all of the table, as make test-lab does. Without it there are
// those that need no lost worker to be given up: each other one takes minutes.
const everyStrike = "ROLLER_TEST_EVERY_STRIKE"

// quickStrikes are run by everybody.
var quickStrikes = []string{"cancelled", "terminated"}

// Promise 4, in full: for each rung that powers a machine off, struck at every
// step of off, wait and on, in every way, the machine gets its power back. (A VM is
// struck at one step in each way.)
func TestNeverLeftOffAtAnyStep(t *testing.T) {
	t.Parallel()
	for i, what := range slices.Sorted(maps.Keys(strikes)) {
		strike := strikes[what]
		if os.Getenv(everyStrike) == "" && !slices.Contains(quickStrikes, what) {
			continue
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s, g, jobs := everyStep(t, steps[i%len(steps)])
			strike.do(t, s, g, jobs)
			for _, j := range jobs {
				s.comesBack(t, j, strike)
			}
		})
	}
}

// comesBack waits for a struck job's machine, and for the job where it has an end
// of its own.
func (s *site) comesBack(t *testing.T, j jobAt, strike strike) {
	t.Helper()
	id := j.m.Spec().WorkerID
	if strike.lost {
		// The newest run of the machine's ID is the one that makes it good.
		s.ended(t, j)
	} else {
		r, v := s.endWithin(t, j.Job, struckEnd)
		require.False(t, r.Off, "%s: %s", id, pretty(r))
		require.Empty(t, v.Off, id)
	}
	s.saw(t, id+" has its power back", func() bool { return j.m.State().Power })
	offs := 0
	for _, n := range s.received(j.m) {
		offs = max(offs, n)
	}
	require.LessOrEqual(t, offs, strike.offs, "%s: %v", id, s.received(j.m))
}

// ended waits until a later run than the job's own under the machine's ID has
// ended, and has not left the machine off.
func (s *site) ended(t *testing.T, j jobAt) {
	t.Helper()
	require.Eventually(t, func() bool {
		v, err := s.door.Show(t.Context(), j.WorkflowID, "")
		return err == nil && v.TaskID != j.TaskID && v.Status != "Running" && v.Off == ""
	}, struckEnd, 200*time.Millisecond, "%s: no later run has ended with the machine on", j.m.FQDN())
}
