package activities

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// openRuns is a Temporal that has these open runs.
type openRuns struct {
	Runs
	list func(ctx context.Context, query string) ([]*workflowpb.WorkflowExecutionInfo, error)
	loan func(ctx context.Context, id string) (*workflowpb.WorkflowExecutionInfo, error) // nil: there is none
}

func (r openRuns) DescribeWorkflowExecution(ctx context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	if r.loan == nil {
		return nil, serviceerror.NewNotFound("workflow not found")
	}
	info, err := r.loan(ctx, id)
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: info}, err
}

func (r openRuns) ListWorkflow(ctx context.Context, q *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	found, err := r.list(ctx, q.GetQuery())
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: found}, err
}

func noRuns(context.Context, string) ([]*workflowpb.WorkflowExecutionInfo, error) { return nil, nil }

const jobID = "machine/mdc1/ms1-10"

// statusRig is a machine with one device of each kind.
func statusRig(t *testing.T, faults lab.Faults) (*rig, *config.Machine) {
	t.Helper()
	r := newRig(t, lab.Spec{ILO: true, Moonshot: true, VM: true, Faults: faults})
	r.Runs = openRuns{list: noRuns}
	m := r.entry(t)
	ipmi, ilo, node := *m.IPMI, *m.ILO, *m.Moonshot
	m.IPMI, m.ILO, m.Moonshot = &ipmi, &ilo, &node
	m.Outlets = append([]config.Outlet{}, m.Outlets...)
	r.Inventory = func() *config.Inventory { return config.NewInventory(m) }
	return r, &m
}

func (r *rig) ask(t *testing.T) (*MachineStatus, string) {
	t.Helper()
	res, err := execute(t, r.Status, Read{Machine: r.name, JobID: jobID}, call{})
	require.NoError(t, err)
	require.NotContains(t, res.Text, "s3cret")
	return res.Status, res.Text
}

// states is what each device said: a state, or the meaning of its error.
func states(s *MachineStatus) map[string]string {
	out := map[string]string{}
	for _, p := range s.Power {
		out[p.Device] = p.State + string(p.Meaning)
	}
	return out
}

func TestStatus(t *testing.T) {
	t.Parallel()
	r, m := statusRig(t, lab.Faults{})
	s, text := r.ask(t)
	require.Equal(t, map[string]string{"ipmi": "on", "ilo": "on", "moonshot": "on", "pdu": "on", "xen": "on"}, states(s))
	require.Equal(t, PingReading{Answers: true, Probe: "tcp:2022", RTT: s.Ping.RTT}, s.Ping)
	require.Positive(t, s.Ping.RTT)
	require.Equal(t, &SSHReading{Banner: "SSH-2.0-lab"}, s.SSH)
	require.Equal(t, JobReading{}, s.Job)
	lines := strings.Split(text, "\n")
	require.Equal(t, m.FQDN, lines[0])
	require.Equal(t, []string{
		"power  ipmi                       on",
		"       ilo                        on",
		"       moonshot c1n1              on",
		"       pdu pdu1.mdc1.example:AA1  on",
		"       xen                        on",
		"ping   tcp:2022                   answers, " + s.Ping.RTT.String(),
		"ssh                               SSH-2.0-lab",
		"job                               none",
	}, lines[1:])

	r.machine.Kill()
	s, _ = r.ask(t)
	require.Equal(t, map[string]string{"ipmi": "off", "ilo": "off", "moonshot": "off", "pdu": "on", "xen": "off"}, states(s))
	require.False(t, s.Ping.Answers)
	require.Empty(t, s.Ping.Problem)
	require.Contains(t, s.SSH.Problem, "refused")
	require.Empty(t, r.lab.Controls(""), "a read changes nothing")
}

// Whoever cannot tell says what its error means, and spoils nobody else's answer.
func TestStatusWithoutSome(t *testing.T) {
	t.Parallel()
	all := map[string]string{"ipmi": "on", "ilo": "on", "moonshot": "on", "pdu": "on", "xen": "on"}
	for name, c := range map[string]struct {
		faults lab.Faults
		spoil  func(r *rig, m *config.Machine)
		want   map[string]string
		says   []string
	}{
		"wrong passwords": {
			spoil: func(r *rig, m *config.Machine) {
				wrong := config.NewSecret("s3cret-wrong")
				m.IPMI.Password, m.ILO.Password, m.Moonshot.Password, r.Config.Devices.XenPassword = wrong, wrong, wrong, wrong
			},
			want: map[string]string{"ipmi": "Refused", "ilo": "Refused", "moonshot": "Refused", "xen": "Refused"},
			says: []string{"refuses: ipmi", "the password is not accepted", "refuses: ilo", "refuses: moonshot", "refuses: xenapi"},
		},
		"nobody there": {
			spoil: func(r *rig, m *config.Machine) {
				m.IPMI.Port, m.ILO.Port, m.Moonshot.Port, m.Outlets[0].Port = 1, 1, 1, 1
				r.Config.Devices.XenURL = "https://127.0.0.1:1"
			},
			want: map[string]string{"ipmi": "NotSent", "ilo": "NotSent", "moonshot": "NotSent", "pdu": "NotSent", "xen": "NotSent"},
			says: []string{"cannot be asked: ipmi", "connection refused"},
		},
		"silent BMC and PDU": {
			faults: lab.Faults{DeadBMC: true, PDUDead: true},
			want:   map[string]string{"ipmi": "NotSent", "ilo": "NotSent", "moonshot": "NotSent", "pdu": "NotSent"},
		},
		"slow answers": {
			faults: lab.Faults{Web: lab.WebFaults{SlowReads: true}},
			want:   map[string]string{"ilo": "NotSent", "moonshot": "NotSent"},
		},
		"garbage": {
			faults: lab.Faults{Web: lab.WebFaults{GarbageReads: true}},
			want:   map[string]string{"ilo": "NotSent", "moonshot": "NotSent"},
			says:   []string{"cannot be read"},
		},
		"no accounts": {
			spoil: func(r *rig, m *config.Machine) { m.ILO.User, r.Config.Devices.XenURL = "", "" },
			want:  map[string]string{"ilo": "no_rung", "xen": "no_rung"},
			says:  []string{"not asked: no user in the ilo entry", "not asked: XEN_URL or XEN_PASSWORD is not set"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, m := statusRig(t, c.faults)
			r.Config.Devices.StatusTimeout = config.Duration(20 * time.Second)
			if c.spoil != nil {
				c.spoil(r, m)
			}
			s, text := r.ask(t)
			want := map[string]string{}
			for device, state := range all {
				want[device] = state
				if spoilt, ok := c.want[device]; ok {
					want[device] = spoilt
				}
			}
			require.Equal(t, want, states(s), text)
			require.True(t, s.Ping.Answers)
			require.Equal(t, "SSH-2.0-lab", s.SSH.Banner)
			for _, says := range c.says {
				require.Contains(t, text, says)
			}
			require.Len(t, strings.Split(text, "\n"), 9, "one line each: %s", text)
		})
	}
}

// met is two that wait for each other: asked one after the other, the first would
// have to give up.
type met struct{ mine, other chan struct{} }

func (m met) meet(ctx context.Context) error {
	close(m.mine)
	select {
	case <-m.other:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type meetingProber struct{ met }

func (p meetingProber) Probe(ctx context.Context, _ config.Machine) (bool, error) {
	return true, p.meet(ctx)
}

func TestStatusAsksSideBySide(t *testing.T) {
	t.Parallel()
	r, _ := statusRig(t, lab.Faults{})
	here, there := make(chan struct{}), make(chan struct{})
	r.Prober = meetingProber{met{here, there}}
	r.Runs = openRuns{list: func(ctx context.Context, _ string) ([]*workflowpb.WorkflowExecutionInfo, error) {
		return nil, met{there, here}.meet(ctx)
	}}
	s, text := r.ask(t)
	require.True(t, s.Ping.Answers, text)
	require.Empty(t, s.Job.Problem, text)
}

func TestStatusOfTheJob(t *testing.T) {
	t.Parallel()
	r := &Activities{Config: &config.Config{}}
	r.Config.API.StartTimeout = config.Duration(time.Minute)
	keyword := func(v string) *commonpb.Payload {
		p, err := converter.GetDefaultDataConverter().ToPayload(v)
		require.NoError(t, err)
		return p
	}
	began := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	var asked string
	r.Runs = openRuns{list: func(_ context.Context, query string) ([]*workflowpb.WorkflowExecutionInfo, error) {
		asked = query
		return []*workflowpb.WorkflowExecutionInfo{{
			Type:      &commonpb.WorkflowType{Name: "reboot"},
			Execution: &commonpb.WorkflowExecution{WorkflowId: jobID, RunId: "r1"},
			StartTime: timestamppb.New(began),
			SearchAttributes: &commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{
				"RollerRung": keyword("snmp_rebootdelay"), "RollerOff": keyword("snmp_rebootdelay"), "RollerClientId": keyword("sheriff"),
			}},
		}}, nil
	}}
	j := r.jobReading(t.Context(), jobID)
	require.Equal(t, `WorkflowId = "machine/mdc1/ms1-10" AND ExecutionStatus = "Running"`, asked)
	require.Equal(t, JobReading{
		Task: "reboot", TaskID: "r1", WorkflowID: jobID, Rung: "snmp_rebootdelay", Off: "snmp_rebootdelay", ClientID: "sheriff", StartedAt: began,
	}, j)
	require.Equal(t, "\treboot for 1m5s, at snmp_rebootdelay, OFF by snmp_rebootdelay, asked for by sheriff (task_id r1)", j.text(began.Add(65*time.Second)))

	r.Runs = openRuns{list: func(context.Context, string) ([]*workflowpb.WorkflowExecutionInfo, error) {
		return nil, errors.New("connection\nrefused")
	}}
	require.Equal(t, "\tnot known: Temporal cannot be asked: connection refused", r.jobReading(t.Context(), jobID).text(began))
	r.Runs = nil
	require.Equal(t, "\tnot known: Temporal was not asked", r.jobReading(t.Context(), jobID).text(began))
}

func TestStatusErrors(t *testing.T) {
	t.Parallel()
	r, _ := statusRig(t, lab.Faults{})
	_, err := execute(t, r.Status, Read{Machine: config.Name{WorkerID: "ms1-11", WorkerGroup: "mdc1"}}, call{})
	requireMeaning(t, err, UnknownMachine, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Status(ctx, Read{Machine: r.name})
	require.ErrorContains(t, err, "canceled")
}

// A machine with nothing but its name still answers probes.
func TestStatusOfABareMachine(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoSSH: true, NoBMC: true, NoOutlet: true})
	s, text := r.ask(t)
	require.Empty(t, s.Power)
	require.True(t, s.Ping.Answers)
	require.Contains(t, text, "power  no device in the inventory can tell")
	require.Contains(t, text, "no ssh entry")
}

// A machine that answers no ping and shows its banner is said to need another probe.
func TestStatusOfFilteredPings(t *testing.T) {
	t.Parallel()
	s := MachineStatus{Ping: PingReading{Probe: "icmp"}, SSH: &SSHReading{Banner: "SSH-2.0-x"}}
	require.Contains(t, s.text("ms1-10.example", time.Now()), `"probe" like "tcp:22"`)
	s.Ping.Answers = true
	require.NotContains(t, s.text("ms1-10.example", time.Now()), `"probe"`)
}
