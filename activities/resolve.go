package activities

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mozilla-platform-ops/roller/config"
)

// ResolveInput names a task and a machine as a person spelled it.
type ResolveInput struct {
	Task        string `json:"task"`
	WorkerID    string `json:"worker_id"`
	WorkerGroup string `json:"worker_group"`
}

// Plan is what a worker's inventory and environment make of a job: the
// machine's one name, the rungs in order and the times that hold for this run.
type Plan struct {
	Machine config.Name `json:"machine"`
	FQDN    string      `json:"fqdn"`
	Rungs   []Rung      `json:"rungs,omitempty"`
	Timing  Timing      `json:"timing"`
	Site    string      `json:"site"`             // the network it stands in; its worker group, if SITES has none
	NoBug   string      `json:"no_bug,omitempty"` // why no bug can be filed

	// OwnWorkers says that only the site's own workers reach the machine.
	OwnWorkers bool    `json:"own_workers,omitempty"`
	Notices    Notices `json:"notices,omitzero"`
	Drain      Drain   `json:"drain,omitzero"`
	// Loan is the machine's loan while somebody has it, but for the tasks that are
	// about it.
	Loan *LoanReading `json:"loan,omitempty"`
}

// Drain is how a worker is drained: config.Drain, how long its quarantine lasts at
// most, and which task queue's worker the machine is by the inventory.
type Drain struct {
	Settle config.Duration `json:"settle,omitzero"`
	Limit  config.Duration `json:"limit,omitzero"`
	For    config.Duration `json:"for,omitzero"`
	Loan   config.Duration `json:"loan,omitzero"` // of a loan's quarantine

	ProvisionerID string `json:"provisioner_id,omitempty"`
	WorkerType    string `json:"worker_type,omitempty"`
	// Always says that the inventory wants this task to drain the worker, unless
	// the request says otherwise.
	Always bool `json:"always,omitempty"`
}

// Notices is how people are told of a job, and for how long each way is tried.
type Notices struct {
	Kinds []NoticeKind    `json:"kinds,omitempty"`
	Limit config.Duration `json:"limit,omitzero"`
}

// Rung is one entry of the ladder.
type Rung struct {
	Name string `json:"name"`
	Skip string `json:"skip,omitempty"` // why it cannot be tried on this machine
	// OffOn says that the rung's one command cannot do it on this machine: it is
	// powered off and on by two, with a durable wait of Timing.OffDelay between.
	OffOn bool `json:"off_on,omitempty"`
	// Target is the device that the rung switches off or on; zero for a rung
	// that does neither.
	Target Target `json:"target,omitzero"`
}

// switches are the rungs, beside those with OffOn, that switch power off or on.
var switches = []string{"ipmi_on", "ipmi_off", "ipmi_reboot", "snmp_rebootdelay", "xenapi_reboot"}

// Timing is the part of config.Ladder that workflow code waits by. It crosses
// the wire so that a run goes on by the times it began with.
type Timing struct {
	Down      config.Duration `json:"down"`
	Up        config.Duration `json:"up"`
	RungRetry config.Duration `json:"rung_retry"`
	OffDelay  config.Duration `json:"off_delay"`
	PDUDelay  config.Duration `json:"pdu_delay"`
	OnAlarm   config.Duration `json:"on_alarm"`
	OnLimit   config.Duration `json:"on_limit"`
	BugWait   config.Duration `json:"bug_wait"`
	BugLimit  config.Duration `json:"bug_limit"`
	OnRetry   config.Duration `json:"on_retry"`
	BugRetry  config.Duration `json:"bug_retry"`
	Command   config.Duration `json:"command"`
	Retry     config.Duration `json:"retry"`
	LastLook  config.Duration `json:"last_look"`
	Heartbeat config.Duration `json:"heartbeat"`
	Blind     config.Duration `json:"blind"`
	SoftOff   config.Duration `json:"soft_off,omitzero"`

	Reimage       config.Duration `json:"reimage,omitzero"`
	ReimageSettle config.Duration `json:"reimage_settle,omitzero"`
	Turn          config.Duration `json:"turn,omitzero"`
	TurnLimit     config.Duration `json:"turn_limit,omitzero"`
}

// ResolveJob finds the machine and says which rungs can be tried on it, and whether
// somebody has it on loan. It touches nothing. Errors: BadInput, UnknownMachine, NoRung; none is worth a
// second try.
func (a *Activities) ResolveJob(ctx context.Context, in ResolveInput) (Plan, error) {
	if problems := config.ValidateName(in.WorkerID, in.WorkerGroup); len(problems) > 0 {
		return Plan{}, fail(meaning(BadInput, "input: %s", flatten(problems)))
	}
	m, err := a.Inventory().Resolve(in.WorkerID, in.WorkerGroup)
	if err != nil {
		return Plan{}, fail(meaning(UnknownMachine, "%w", err))
	}
	if in.Task != "ping" && !a.Config.API.ManagedHost(m.WorkerID) {
		return Plan{}, fail(meaning(UnknownMachine, "%s is not a managed host (VALID_WORKER_ID_REGEX)", m.WorkerID))
	}
	plan, err := PlanFor(a.Config, m, in.Task)
	if err != nil {
		return plan, fail(err)
	}
	plan.Loan = a.loanBeside(ctx, m, in.Task)
	return plan, nil
}

const bugRung = "file_bugzilla_bug"

// PlanFor says what a task would do on a machine, without a word to any device.
// It fails with NoRung where no rung of the task can be tried.
func PlanFor(cfg *config.Config, m config.Machine, task string) (Plan, error) {
	plan := Plan{Machine: m.Name, FQDN: m.FQDN, Timing: timing(cfg), NoBug: missing(cfg, m, bugRung)}
	plan.Site, plan.OwnWorkers = siteOf(cfg, m.Name)
	if plan.NoBug == "" && !config.IsLoan(task) && !slices.Contains(cfg.Ladder.Methods, bugRung) {
		plan.NoBug = bugRung + " is not in REBOOT_METHODS"
	}
	if kinds := noticeKinds(cfg.Notices); len(kinds) > 0 {
		plan.Notices = Notices{kinds, cfg.Notices.Limit}
	}
	plan.Drain = drainOf(cfg.Drain, m.Queue, task)
	names := []string{task}
	switch task {
	case "reboot":
		names = cfg.Ladder.Methods
	case config.ReturnLoan:
		names = []string{"reimage"}
	}
	usable := 0
	var why []string
	for _, name := range names {
		rung := Rung{Name: name, Skip: missing(cfg, m, name)}
		rung.OffOn = rung.Skip == "" && name == "snmp_reboot" && !m.RebootsItself()
		if rung.Skip == "" && (rung.OffOn || slices.Contains(switches, name)) {
			rung.Target = TargetOf(m, name)
		}
		if rung.Skip == "" && name == "reimage" {
			rung.Target = netbootTarget(cfg.Devices, m)
		}
		plan.Rungs = append(plan.Rungs, rung)
		if rung.Skip != "" {
			why = append(why, name+": "+rung.Skip)
		} else if name != bugRung || task == name {
			usable++
		}
	}
	if usable == 0 && task != config.ReturnLoan { // what cannot be reimaged may still be returned
		return Plan{}, meaning(NoRung, "%s on %s: nothing to try (%s)", task, m.FQDN, strings.Join(why, "; "))
	}
	return plan, nil
}

// keepsRunning are the exclusive tasks that take down no machine which runs: for them
// nobody's worker is drained without being asked.
var keepsRunning = []string{"ipmi_on", bugRung}

func drainOf(d config.Drain, q *config.Queue, task string) Drain {
	out := Drain{Settle: d.Settle, Limit: d.Limit, For: d.Settle + d.Limit + config.DrainQuarantine, Loan: d.Loan}
	if q != nil {
		out.ProvisionerID, out.WorkerType = q.ProvisionerID, q.WorkerType
		out.Always = q.Drain && config.MayDrain(task) && !slices.Contains(keepsRunning, task)
	}
	return out
}

// siteOf returns the network that a machine stands in, and whether it has workers
// of its own.
func siteOf(cfg *config.Config, m config.Name) (site string, own bool) {
	if site := cfg.Sites.Of(m.WorkerGroup); site != "" {
		return site, true
	}
	return m.WorkerGroup, false
}

// missing says what the inventory or the environment lacks for a rung; "" if nothing.
func missing(cfg *config.Config, m config.Machine, rung string) string {
	switch protocol, _, _ := strings.Cut(rung, "_"); protocol {
	case "ping", "status":
		return ""
	case "ssh":
		if m.SSH == nil {
			return "no ssh entry"
		}
	case "ipmi":
		if m.IPMI == nil {
			return "no ipmi entry"
		}
	case "snmp":
		if len(m.Outlets) == 0 {
			return "no pdu entry"
		}
	case "ilo":
		return noILO(cfg.Devices, m)
	case "moonshot":
		return noMoonshot(m)
	case "reimage":
		return noNetboot(cfg.Devices, m)
	case "loan":
		if t := cfg.Taskcluster; t.RootURL == "" || t.ClientID == "" || t.AccessToken.IsZero() {
			return "TASKCLUSTER_ROOT_URL, TASKCLUSTER_CLIENT_ID or TASKCLUSTER_ACCESS_TOKEN is not set"
		}
	case "xenapi":
		return noXen(cfg, m)
	case "file":
		if cfg.Bugzilla.URL == "" || cfg.Bugzilla.APIKey.IsZero() {
			return "BUGZILLA_URL or BUGZILLA_API_KEY is not set"
		}
	default:
		return fmt.Sprintf("%s is not an action of this worker", rung)
	}
	return ""
}

func timing(cfg *config.Config) Timing {
	l := cfg.Ladder
	return Timing{
		Down: l.DownTimeout, Up: l.UpTimeout, RungRetry: l.RungRetry,
		OffDelay: l.OffDelay, PDUDelay: l.PDUDelay, OnAlarm: l.OnAlarm, OnLimit: l.OnLimit,
		OnRetry: l.OnRetry, BugWait: l.BugWait, BugLimit: l.BugLimit, BugRetry: l.BugRetry,
		Command: l.CommandTime, Retry: l.RetryInterval, LastLook: l.LastLook, Heartbeat: l.Heartbeat,
		SoftOff: cfg.Devices.IPMIStatusWait, Reimage: l.Reimage, ReimageSettle: l.ReimageSettle,
		Turn: l.TurnWait, TurnLimit: l.TurnLimit,
		Blind: cfg.Sight.BlindLimit,
	}
}

// flatten turns the API's field messages into one line, in a stable order.
func flatten(problems map[string][]string) string {
	var lines []string
	for field, messages := range problems {
		lines = append(lines, field+": "+strings.Join(messages, ", "))
	}
	slices.SortFunc(lines, cmp.Compare)
	return strings.Join(lines, "; ")
}
