package activities

import (
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// Action is what a device is told to do with a machine's power.
type Action string

// The actions. Which of them a protocol knows is said by its activity.
const (
	Reboot Action = "reboot" // the operating system's own restart (ssh), or a PDU's off-and-on
	Reset  Action = "reset"  // a hard reset, power stays on
	Cycle  Action = "cycle"  // off and on by the device itself
	Off    Action = "off"
	On     Action = "on"

	Netboot   Action = "netboot"    // boot from the network, for once
	ClearBoot Action = "clear_boot" // the next boot is from the disk again
)

// Command is the input of every activity that changes a machine's power:
// SSHReboot, IPMIPower, IPMIReboot and SNMPOutlet.
type Command struct {
	Machine config.Name `json:"machine"`
	Action  Action      `json:"action"`
	// Target is the device that Off, On, Netboot and ClearBoot act on: they need
	// one. All other actions are for the device that the inventory names.
	Target Target `json:"target,omitzero"`
	// DownTimeout is how long to watch, after the command, for the machine to
	// go down. Zero: do not probe the machine at all; with Off and On the
	// device's own power state is read back until it says so instead.
	DownTimeout config.Duration `json:"down_timeout,omitzero"`
	// RungRetry is how long, from the first attempt, an attempt that is known
	// not to have sent anything is followed by another one.
	RungRetry config.Duration `json:"rung_retry,omitzero"`
	// Since is the baseline of the first command of this job that may have been
	// carried out. With it, a machine that is found up and was down (or has
	// another boot ID) since then is already back, and nothing is sent.
	Since *Baseline `json:"since,omitempty"`
	// Pending says, with On, that an Off of this rung may still be under way (a
	// soft one, whose worker was lost): a state of on counts only once it has
	// lasted for as long as that Off may take.
	Pending bool `json:"pending,omitempty"`
}

// Undo is the On that gives back what this Off took, on the same device. It is
// tried for retry; pending says that the Off may still be under way.
func (c Command) Undo(pending bool, retry config.Duration) Command {
	return Command{Machine: c.Machine, Action: On, Target: c.Target, Pending: pending, RungRetry: retry}
}

// Baseline is how a machine was seen just before a command.
type Baseline struct {
	At     time.Time `json:"at"`
	Up     bool      `json:"up"`                // it answered probes
	Lost   int       `json:"lost,omitempty"`    // probes that went unanswered before the one that was
	BootID string    `json:"boot_id,omitempty"` // from the machine's own ForceCommand, if it has one
	Down   bool      `json:"down,omitempty"`    // it has been seen down since
	ByTCP  int       `json:"by_tcp,omitempty"`  // its SSH port, by which it is seen: it answered no ping while that was open

	// DeafCanaries says that the site's canaries did not answer although the
	// machine did: their silence says nothing.
	DeafCanaries bool      `json:"deaf_canaries,omitempty"`
	BootedAt     time.Time `json:"booted_at,omitzero"` // by its SNMP agent and this worker's clock, if it has one that tells
}

// CommandResult is what a command did, as far as could be seen. An activity
// that returns it has sent the command, or found nothing to send.
type CommandResult struct {
	Sent    string    `json:"sent,omitempty"` // in the protocol's words: "chassis power reset"; empty if nothing was sent
	SentAt  time.Time `json:"sent_at,omitzero"`
	Unknown string    `json:"unknown,omitempty"` // why it is not known whether the device took it; empty if it said so
	Skipped string    `json:"skipped,omitempty"` // why nothing was sent, where that is no error
	Back    string    `json:"back,omitempty"`    // why nothing was sent: the evidence that the machine is back already

	Baseline Baseline `json:"baseline,omitzero"`
	Watch    Sight    `json:"watch,omitzero"`
	Power    string   `json:"power,omitempty"` // "on" or "off" as read back from the device, where it was read
	// NetbootLeft says, of a netboot, that network boot was set, no power-cycle
	// followed and clearing it failed.
	NetbootLeft bool `json:"netboot_left,omitempty"`
}

// Sight is what watching a machine saw.
type Sight struct {
	Done     bool      `json:"done"`                // watched to the end; false when the worker had to stop, and another must go on
	Down     bool      `json:"down,omitempty"`      // seen down
	DownAt   time.Time `json:"down_at,omitzero"`    // the first unanswered probe of those that decided
	Rebooted bool      `json:"rebooted,omitempty"`  // proven to have restarted, seen down or not
	SameBoot bool      `json:"same_boot,omitempty"` // proven not to have restarted since the baseline, seen silent or not
	Up       bool      `json:"up,omitempty"`        // answers now, as its inventory entry asks
	UpAt     time.Time `json:"up_at,omitzero"`
	Blind    bool      `json:"blind,omitempty"`    // none of the site's canaries answers: nothing is known of a machine that does not
	Evidence string    `json:"evidence,omitempty"` // "6 of 6 probes unanswered", "boot id changed", "held connection was reset"
}

// Watch is the input of AwaitDown, AwaitUp and AwaitInstalled.
type Watch struct {
	Machine  config.Name     `json:"machine"`
	Baseline Baseline        `json:"baseline,omitzero"`
	Timeout  config.Duration `json:"timeout"`
	// Settle is how long a machine that is up must stay so, for AwaitInstalled.
	Settle config.Duration `json:"settle,omitzero"`
}

// Pause is the input of AwaitSight.
type Pause struct {
	Machine config.Name     `json:"machine"`
	Timeout config.Duration `json:"timeout"`
	Settle  config.Duration `json:"settle,omitzero"` // how long sight must last before it counts
}

// Progress is the heartbeat details of every command: after a heartbeat
// timeout it is what the workflow still knows about the lost attempt.
type Progress struct {
	Phase    Phase     `json:"phase"`
	FirstTry time.Time `json:"first_try,omitzero"` // of this activity, over all its attempts, and later by all waits for its turn
	Asked    time.Time `json:"asked,omitzero"`     // when it began to wait for a turn that it has not had yet, over all its attempts
	Waiting  string    `json:"waiting,omitempty"`  // the device at which it waits for its turn now
	Baseline Baseline  `json:"baseline,omitzero"`
}

// Phase is how far a command has come.
type Phase string

// The phases, in order. From Sending on the command may have been carried out.
const (
	Preparing Phase = "preparing" // taking the baseline; nothing has been sent
	Sending   Phase = "sending"   // the command is about to go out, or has gone
	Watching  Phase = "watching"  // sent; watching for down or reading the power state back
)
