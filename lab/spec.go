package lab

import (
	"fmt"
	"strings"
	"time"
)

// Spec describes one machine. The zero value of everything but the names is a
// healthy machine with SSH, a BMC and a PDU outlet.
type Spec struct {
	WorkerID    string `json:"worker_id"`
	WorkerGroup string `json:"worker_group"`
	Faults      Faults `json:"faults,omitzero"`
	Timing      Timing `json:"timing,omitzero"`
	NoSSH       bool   `json:"no_ssh,omitempty"`      // no account: every login is refused; the port is served, for probes
	NoBMC       bool   `json:"no_bmc,omitempty"`      // there is no BMC
	BMCKey      bool   `json:"bmc_key,omitempty"`     // the BMC has a key-generating key: roller speaks to it by the ipmitool binary
	NoOutlet    bool   `json:"no_outlet,omitempty"`   // no PDU feeds it
	PDUModel    string `json:"pdu_model,omitempty"`   // the family of the PDU that feeds it, by roller's name of its profile; sentry3
	SecondPDU   string `json:"second_pdu,omitempty"`  // the family of one more PDU: the machine is off only when both outlets are
	VM          bool   `json:"vm,omitempty"`          // a virtual machine of the lab's Xen pool
	SSHBootID   bool   `json:"ssh_boot_id,omitempty"` // the ForceCommand is roller's own, which prints boot IDs
	ILO         bool   `json:"ilo,omitempty"`         // an iLO speaks Redfish
	Moonshot    bool   `json:"moonshot,omitempty"`    // a chassis manager speaks HP's REST
	Queue       string `json:"queue,omitempty"`       // the task queue of its worker, as the inventory names it
	Drain       bool   `json:"drain,omitempty"`       // with Queue: the inventory wants the worker drained
	Chassis     string `json:"chassis,omitempty"`     // of Moonshot: machines of one name share a manager; "" is one of its own
}

// FQDN returns the machine's name as the inventory files spell it.
func (s Spec) FQDN() string {
	return strings.ToLower(fmt.Sprintf("%s.test.releng.%s.mozilla.com", s.WorkerID, s.WorkerGroup))
}

// Faults is what is wrong with a machine or with the devices that power it.
// It is plain data, so that it can be set while the machine runs.
type Faults struct {
	IgnoreSSH        bool          `json:"ignore_ssh,omitempty"`         // reboot commands exit 0 and do nothing
	Hung             bool          `json:"hung,omitempty"`               // powered, but neither probe nor SSH is answered; cured by a reset, a cycle or lost power
	DeadBMC          bool          `json:"dead_bmc,omitempty"`           // the BMC is silent
	RefuseControl    bool          `json:"refuse_control,omitempty"`     // the BMC answers control commands with "insufficient privilege"
	LoseReplies      float64       `json:"lose_replies,omitempty"`       // probability that a reply of the BMC or PDU is dropped, after acting
	LoseCommandReply bool          `json:"lose_command_reply,omitempty"` // replies to control commands are lost: the machine acts, all else works
	LoseCommand      bool          `json:"lose_command,omitempty"`       // control commands are lost on their way: the machine does not act, all else works
	NeverReturns     bool          `json:"never_returns,omitempty"`      // goes down on any action and stays down
	SlowBoot         time.Duration `json:"slow_boot,omitempty"`          // added to Timing.Boot
	TooFast          bool          `json:"too_fast,omitempty"`           // restarts within milliseconds: no probe sees it; held connections are reset
	OutletStuck      bool          `json:"outlet_stuck,omitempty"`       // the PDU acknowledges a Set but the outlet does not change
	PDUDead          bool          `json:"pdu_dead,omitempty"`           // the PDU is silent about this machine's outlet
	SecondPDUDead    bool          `json:"second_pdu_dead,omitempty"`    // the second PDU is
	RefuseShutdown   bool          `json:"refuse_shutdown,omitempty"`    // Xen refuses a clean shutdown: the guest has no drivers for it
	WrongHostKey     bool          `json:"wrong_host_key,omitempty"`     // sshd shows a key that is not in known_hosts

	RefuseNetboot bool `json:"refuse_netboot,omitempty"` // the BMC and the iLO refuse to set network boot
	DropNetboot   bool `json:"drop_netboot,omitempty"`   // they acknowledge it and do not keep it
	IgnoreNetboot bool `json:"ignore_netboot,omitempty"` // the firmware boots from its disk and leaves it set
	CycleSticks   bool `json:"cycle_sticks,omitempty"`   // a power-cycle leaves the machine off

	Web WebFaults `json:"web,omitzero"` // of the iLO and the chassis manager; to them DeadBMC and LoseCommandReply mean the same as to the BMC
}

// Timing is how long a machine takes. Zero fields have defaults.
type Timing struct {
	Shutdown time.Duration `json:"shutdown,omitempty"`  // from an accepted OS reboot or soft off until the machine is down, 300ms
	Boot     time.Duration `json:"boot,omitempty"`      // from power until probes are answered, 1s
	SSHDelay time.Duration `json:"ssh_delay,omitempty"` // from then until sshd shows its banner, 200ms
	PDUDelay time.Duration `json:"pdu_delay,omitempty"` // a PDU's reboot: the time without power, 1s
	PDULag   time.Duration `json:"pdu_lag,omitempty"`   // from an acknowledged Set until the outlet acts, 20ms
	Cycle    time.Duration `json:"cycle,omitempty"`     // a BMC's power cycle: the time without power, 200ms
	Install  time.Duration `json:"install,omitempty"`   // how long an installer answers probes before it restarts, 1s
}

// Defaults of Timing, fast enough for tests and slow enough to be seen.
const (
	defaultShutdown = 300 * time.Millisecond
	defaultBoot     = time.Second
	defaultSSHDelay = 200 * time.Millisecond
	defaultPDUDelay = time.Second
	defaultPDULag   = 20 * time.Millisecond
	defaultCycle    = 200 * time.Millisecond
	defaultInstall  = time.Second
)

func (t Timing) withDefaults() Timing {
	for field, value := range map[*time.Duration]time.Duration{
		&t.Shutdown: defaultShutdown, &t.Boot: defaultBoot, &t.SSHDelay: defaultSSHDelay,
		&t.PDUDelay: defaultPDUDelay, &t.PDULag: defaultPDULag, &t.Cycle: defaultCycle, &t.Install: defaultInstall,
	} {
		if *field == 0 {
			*field = value
		}
	}
	return t
}
