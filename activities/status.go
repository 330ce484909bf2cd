package activities

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/mozilla-platform-ops/roller/config"
)

// MachineStatus is how a machine is, as far as its devices, the network and
// Temporal tell. Whoever cannot tell says why, and the others still count.
type MachineStatus struct {
	Power []PowerReading `json:"power,omitempty"`
	Ping  PingReading    `json:"ping"`
	SSH   *SSHReading    `json:"ssh,omitempty"` // nil: no ssh entry
	Job   JobReading     `json:"job"`
	Loan  *LoanReading   `json:"loan,omitempty"` // nil: it is not on loan, or LoanProblem says why that is not known

	LoanProblem string `json:"loan_problem,omitempty"`
}

// PowerReading is the power state by one device.
type PowerReading struct {
	Device  string  `json:"device"`            // ipmi, ilo, moonshot, pdu or xen
	Name    string  `json:"name,omitempty"`    // which one: an outlet, a node; "" where the machine has one of the kind
	State   string  `json:"state,omitempty"`   // "on", "off", or the device's own word
	Meaning Meaning `json:"meaning,omitempty"` // why there is no state: NotSent, Refused, no_rung
	Problem string  `json:"problem,omitempty"` // the same in words
}

// PingReading is whether the machine answers a probe.
type PingReading struct {
	Answers bool            `json:"answers"`
	Probe   string          `json:"probe"` // "icmp" or "tcp:22"
	RTT     config.Duration `json:"rtt,omitzero"`
	Problem string          `json:"problem,omitempty"` // why no probe could be made
}

// SSHReading is what the machine's SSH port says.
type SSHReading struct {
	Banner  string `json:"banner,omitempty"`
	Problem string `json:"problem,omitempty"` // why there is none
}

// JobReading is the machine's open job, by Temporal's visibility.
type JobReading struct {
	Task       string    `json:"task,omitempty"` // "" is none
	TaskID     string    `json:"task_id,omitempty"`
	WorkflowID string    `json:"workflow_id,omitempty"`
	Rung       string    `json:"rung,omitempty"`
	ClientID   string    `json:"client_id,omitempty"`
	Off        string    `json:"off,omitempty"` // the rung that powered the machine off, while it is not known to be on again
	StartedAt  time.Time `json:"started_at,omitzero"`
	Problem    string    `json:"problem,omitempty"` // why it is not known
}

// Status asks all that can tell something about a machine, side by side and for
// STATUS_TIMEOUT. Only an unknown machine and a cancel are errors.
func (a *Activities) Status(ctx context.Context, in Read) (ReadResult, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return ReadResult{}, fail(err)
	}
	s := a.status(ctx, m, in.JobID)
	if ctx.Err() != nil {
		return ReadResult{}, fail(ended(ctx))
	}
	return ReadResult{Text: s.text(m.FQDN, time.Now()), Status: &s}, nil
}

func (a *Activities) status(ctx context.Context, m config.Machine, job string) MachineStatus {
	ctx, cancel := context.WithTimeout(ctx, a.Config.Devices.StatusTimeout.D())
	defer cancel()
	powers := a.powers(m)
	s := MachineStatus{Power: make([]PowerReading, len(powers))}
	var asking sync.WaitGroup
	for i, p := range powers {
		asking.Go(func() { s.Power[i] = p.ask(ctx) })
	}
	asking.Go(func() { s.Ping = a.pingReading(ctx, m) })
	if m.SSH != nil {
		s.SSH = &SSHReading{}
		asking.Go(func() { *s.SSH = a.sshReading(ctx, m) })
	}
	asking.Go(func() { s.Job = a.jobReading(ctx, job) })
	if a.Runs != nil {
		asking.Go(func() { s.Loan, s.LoanProblem = a.loanReading(ctx, m.Name) })
	}
	asking.Wait()
	return s
}

// powerSource is one device that can tell the power state.
type powerSource struct {
	device, name string
	missing      string // what it lacks to be asked
	read         func(ctx context.Context) (string, error)
}

func (p powerSource) ask(ctx context.Context) PowerReading {
	r := PowerReading{Device: p.device, Name: p.name}
	if p.missing != "" {
		r.Meaning, r.Problem = NoRung, p.missing
		return r
	}
	state, err := p.read(ctx)
	if err != nil {
		r.Meaning, r.Problem = MeaningOf(err), plainLine(err.Error())
		return r
	}
	r.State = state
	return r
}

// powers is every device of the inventory that can tell the machine's power.
func (a *Activities) powers(m config.Machine) []powerSource {
	var all []powerSource
	add := func(device, protocol, name, missing string, m config.Machine, read func(ctx context.Context, m config.Machine) (string, error)) {
		all = append(all, powerSource{device, name, missing, func(ctx context.Context) (string, error) {
			return a.glance(ctx, m, protocol, read)
		}})
	}
	if m.IPMI != nil {
		add("ipmi", "ipmi", "", "", m, a.ipmiPower)
	}
	if m.ILO != nil {
		add("ilo", "ilo", "", noILO(a.Config.Devices, m), m, a.redfishPower)
	}
	if m.Moonshot != nil {
		add("moonshot", "moonshot", m.Moonshot.Node, "", m, a.moonshotPower)
	}
	for _, o := range m.Outlets {
		one := m
		one.Outlets = []config.Outlet{o} // its PDU's turn, and no other's
		add("pdu", "snmp", o.String(), "", one, a.snmpPower)
	}
	if m.Xen != nil {
		add("xen", "xenapi", "", noXen(a.Config, m), m, a.xenPower)
	}
	return all
}

// glance reads one device in its turn. A line that is too long for one look is
// left in time to say so.
func (a *Activities) glance(ctx context.Context, m config.Machine, protocol string, read func(ctx context.Context, m config.Machine) (string, error)) (string, error) {
	p := a.newPlace(ctx, m, protocol, "", &Progress{})
	p.wait = min(p.wait, a.Config.Devices.StatusTimeout.D()*3/4)
	defer p.release()
	if err := p.take(ctx); err != nil {
		return "", err
	}
	return read(ctx, m)
}

// pingReading probes until one probe is answered, as often as it takes to call a
// machine down.
func (a *Activities) pingReading(ctx context.Context, m config.Machine) PingReading {
	r := PingReading{Probe: m.Probe.String()}
	for i := range a.Config.Ladder.DownProbes {
		if i > 0 {
			pause(ctx, a.Config.Ladder.ProbeInterval.D())
		}
		e, err := a.echo(ctx, m)
		if err != nil {
			r.Problem = plainLine(err.Error())
			return r
		}
		if r.Answers = e.Answered; r.Answers {
			r.RTT = roundTrip(e.RTT)
			return r
		}
	}
	return r
}

func (a *Activities) sshReading(ctx context.Context, m config.Machine) SSHReading {
	banner, err := a.sshVersion(ctx, m)
	if err != nil {
		return SSHReading{Problem: plainLine(err.Error())}
	}
	return SSHReading{Banner: plainLine(banner)}
}

func (a *Activities) loanReading(ctx context.Context, n config.Name) (l *LoanReading, problem string) {
	l, err := a.loanOf(ctx, n)
	if err != nil {
		return nil, "Temporal cannot be asked: " + plainLine(err.Error())
	}
	return l, ""
}

// jobReading asks Temporal for the open run of the workflow that every exclusive
// job of the machine is.
func (a *Activities) jobReading(ctx context.Context, id string) JobReading {
	if a.Runs == nil || id == "" {
		return JobReading{Problem: "Temporal was not asked"}
	}
	ctx, cancel := context.WithTimeout(ctx, a.Config.API.StartTimeout.D())
	defer cancel()
	answer, err := a.Runs.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf(`WorkflowId = %q AND ExecutionStatus = "Running"`, id), PageSize: 1,
	})
	if err != nil {
		return JobReading{Problem: "Temporal cannot be asked: " + plainLine(err.Error())}
	}
	if len(answer.GetExecutions()) == 0 {
		return JobReading{}
	}
	e := answer.GetExecutions()[0]
	fields := e.GetSearchAttributes().GetIndexedFields()
	return JobReading{
		Task: e.GetType().GetName(), TaskID: e.GetExecution().GetRunId(),
		WorkflowID: e.GetExecution().GetWorkflowId(), StartedAt: e.GetStartTime().AsTime(),
		Rung: keyword(fields["RollerRung"]), ClientID: keyword(fields["RollerClientId"]), Off: keyword(fields[OffAttribute]),
	}
}
