package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// a names activities in ExecuteActivity calls; it is never called.
var a *activities.Activities

// kind is how a task, or a rung of the ladder, is carried out.
type kind int

const (
	command kind = iota // one command, then down and up
	offOn               // off, a durable wait, on, then up
	power               // the power state only; the machine is not watched
	install             // one command, then down and a long wait for a machine that is being installed
	read                // changes nothing
	bug                 // Bugzilla
	loan                // the machine is lent to somebody
	unloan              // and taken back
	ladder              // all rungs of REBOOT_METHODS
)

// step says which activity carries out a task or a rung, and how.
type step struct {
	kind     kind
	activity any
	action   activities.Action
}

// steps is every task by its name. A name that stands here can be a rung,
// except for reads, an installation, loans and the ladder itself.
var steps = map[string]step{
	"reboot":            {kind: ladder},
	"ssh_reboot":        {command, a.SSHReboot, activities.Reboot},
	"reimage":           {install, a.Reimage, activities.Netboot},
	"ipmi_reset":        {command, a.IPMIPower, activities.Reset},
	"ipmi_cycle":        {command, a.IPMIPower, activities.Cycle},
	"ipmi_on":           {power, a.IPMIPower, activities.On},
	"ipmi_off":          {power, a.IPMIPower, activities.Off},
	"ipmi_reboot":       {offOn, a.IPMIReboot, activities.Off},
	"snmp_reboot":       {command, a.SNMPOutlet, activities.Reboot},
	"snmp_rebootdelay":  {offOn, a.SNMPOutlet, activities.Off},
	"ilo_reboot":        {command, a.RedfishReset, activities.Reset},
	"moonshot_reset":    {command, a.MoonshotReset, activities.Reset},
	"xenapi_reboot":     {offOn, a.XenPower, activities.Off},
	"file_bugzilla_bug": {kind: bug},
	config.Loan:         {kind: loan},
	config.ReturnLoan:   {kind: unloan},
	"ping":              {kind: read, activity: a.Ping},
	"status":            {kind: read, activity: a.Status},
	"ipmi_status":       {kind: read, activity: a.IPMIStatus},
	"ipmi_list":         {kind: read, activity: a.IPMIList},
}

// asRung is how a task's step is carried out inside a ladder: power-off as a
// rung is off, wait, on (a ladder never leaves a machine off), and power-on is
// a command that a dark machine answers by coming up.
func asRung(name string) step {
	s := steps[name]
	if s.action == activities.Off {
		s.kind = offOn
	} else if s.kind == power {
		s.kind = command
	}
	return s
}

// takesPower reports whether a rung can be one that powers a machine off until
// roller powers it on, or an installation, whose power-cycle may leave it off.
// Whether snmp_reboot is, is said by the plan.
func takesPower(rung string) bool {
	kind := asRung(rung).kind
	return kind == offOn || kind == install || rung == "snmp_reboot"
}

// settles reports whether a rung's off may act long after it was sent, because
// it asks the operating system first.
func settles(rung string) bool { return rung == "ipmi_reboot" }

// exclusive reports whether a task needs the machine to itself.
func exclusive(task string) bool { return !config.IsRead(task) }

// Register registers every workflow: two functions behind the table of tasks,
// by every spelling, and what stands beside it.
func Register(r worker.WorkflowRegistry) {
	register := func(name, task string) {
		f := Step
		if steps[task].kind == ladder {
			f = Reboot
		}
		r.RegisterWorkflowWithOptions(f, workflow.RegisterOptions{Name: name})
	}
	for task := range steps {
		register(task, task)
	}
	for spelled, task := range config.Spellings() {
		register(spelled, task)
	}
	r.RegisterWorkflowWithOptions(Turn, workflow.RegisterOptions{Name: TurnType})
	r.RegisterWorkflowWithOptions(HoldQuarantine, workflow.RegisterOptions{Name: QuarantineType})
	r.RegisterWorkflowWithOptions(OnLoan, workflow.RegisterOptions{Name: LoanType})
	r.RegisterWorkflowWithOptions(LoanQuarantine, workflow.RegisterOptions{Name: LoanQuarantineType})
	r.RegisterWorkflowWithOptions(Tell, workflow.RegisterOptions{Name: NoticeType})
	r.RegisterWorkflowWithOptions(FileBug, workflow.RegisterOptions{Name: BugType})
	r.RegisterWorkflowWithOptions(Sweep, workflow.RegisterOptions{Name: SweepType})
	r.RegisterWorkflowWithOptions(Restore, workflow.RegisterOptions{Name: RestoreType})
	r.RegisterWorkflowWithOptions(PowerOn, workflow.RegisterOptions{Name: PowerOnType})
}
