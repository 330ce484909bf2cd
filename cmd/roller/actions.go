package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// action is one action by its old name. A new one is an entry of actions; where
// its protocol is a new one, too, that needs a dialect.
type action struct {
	name    string
	short   string // also what Taskcluster's dashboard shows as its description
	long    string
	example string
	// by is how the action is told of a machine that is in no inventory; nil
	// where it can only be a job, or a read of a machine of the inventory.
	by *dialect
	// act carries the action out on the one machine of an inventory, in this
	// terminal, and returns what there is to say.
	act func(ctx context.Context, d *direct) (string, error)
	// asks gives the action the options that its job has; nil where it has none.
	asks func(cmd *cobra.Command, how *following)
}

// dialect is how the old service's command line named a kind of device.
type dialect struct {
	args  string // placeholders of its arguments
	least int    // how many of them there must be
	most  int
	flags func(f *pflag.FlagSet, o *options)
	// machine reads the arguments and options into an inventory's entry and the
	// settings that hold for it.
	machine func(o *options, args []string, cfg *config.Config) (config.Machine, error)
}

// direct is one action carried out in this terminal.
type direct struct {
	*activities.Activities
	*options
	machine config.Machine
	rung    string    // the action's name
	out     io.Writer // results
	errOut  io.Writer // what goes on: see warn
	saying  sync.Mutex
}

// actions is every action that acts on a machine.
var actions = []action{
	{
		name:    "reboot",
		short:   "Reboot a machine by every way that is configured, and file a bug if none helps",
		long:    `Climb the ladder of REBOOT_METHODS on a machine of the inventory: try each rung, look whether the machine went down and came back, and go on to the next if it did not.`,
		example: "roller reboot ms1-10 mdc1",
	},
	{
		name:  "ping",
		short: "See whether a machine answers",
		long: `Send echo requests (or open TCP connections, where the machine's inventory entry says so) and print each reply.
The exit status is ping's: 0 if all were answered, 1 if not, 2 on any other error.`,
		example: "roller ping -c 4 -w 5 localhost",
		by:      &pinged,
		act:     ping,
	},
	{
		name:  "status",
		short: "See how a machine is: power by every device that can tell, ping, ssh banner, current job",
		long: `Ask all of the machine's devices for its power state (IPMI, Redfish, the Moonshot chassis manager, each PDU outlet, XenAPI), ping it, read its SSH banner and look in Temporal for its open job: side by side, for STATUS_TIMEOUT. Whoever cannot tell says why.
It waits for no job. Where Temporal cannot be reached, it says so, and all else stands.`,
		example: "roller status ms1-10 mdc1\nroller start status ms1-10 mdc1 --follow",
		act:     machineStatus,
	},
	{
		name:  "reimage",
		short: "ERASE a machine: boot it from the network once, and wait until it is installed and up",
		long: `Set network boot for the next boot only (by Redfish where the machine has an iLO, else by IPMI), read that back, power-cycle the machine, and wait up to REIMAGE_TIMEOUT until it answers ping and SSH and has stayed up for REIMAGE_SETTLE: a job on a machine of the inventory.
What the network installs is the network's business. A network boot that was not used is cleared at the end, whatever that is. The new system's SSH host key is most often another one, and must be put into SSH_KNOWN_HOSTS_FILE.`,
		example: "roller reimage ms1-10 mdc1",
	},
	{
		name:  config.Loan,
		short: "Lend a machine to somebody: quarantine its worker, and file the loan's bug",
		long: `Quarantine the machine's worker in Taskcluster's queue, with a note, wait for the task that it runs (DRAIN_LIMIT), and file a bug for the loan, which blocks the machine's tracker bug. It stays so until return_loan: a job that drains the worker meanwhile puts the loan's quarantine back.
A machine that is on loan already stays so, and its bug says who asked, too.`,
		example: "roller loan ms1-10 mdc1 --why \"bug 123456\"",
		asks:    func(cmd *cobra.Command, how *following) { queueFlag(cmd, how); loanFlag(cmd, how) },
	},
	{
		name:  config.ReturnLoan,
		short: "ERASE a machine that is on loan, give its worker work again, and close the loan's bug",
		long: `Reimage the machine as the action reimage does, and when it is back, put its worker's quarantine back to what it was before the loan and close the loan's bug. A machine whose reimage failed stays quarantined and on loan, and the bug says so: whoever had it could do what they liked to it. --no-reimage lifts the quarantine of a machine as it is.
A machine that is not on loan is refused.`,
		example: "roller return_loan ms1-10 mdc1\nroller return_loan ms1-10 mdc1 --no-reimage --why \"reimaged by hand\"",
		asks:    func(cmd *cobra.Command, how *following) { loanFlag(cmd, how); noReimageFlag(cmd, how) },
	},
	{
		name:    "ssh_reboot",
		short:   "Reboot through the machine's own operating system, over SSH",
		long:    `Run "reboot", or where that is refused "shutdown -f -t 3 -r", through an account that may do nothing else. The host key must be in SSH_KNOWN_HOSTS_FILE.`,
		example: "roller ssh_reboot ms1-10 mdc1\nroller ssh_reboot --direct -l roller -i ssh.key -p 22 --timeout 5 ms1-10.example.com",
		by:      &overSSH,
		act:     send((*activities.Activities).SSHReboot, activities.Reboot),
	},
	{
		name:    "ipmi_reboot",
		short:   "Shut a machine down by its BMC, softly, hard where it must be, and power it on",
		long:    `Look whether the BMC answers (mc info), ask the operating system to shut down (power soft), take the power away where it stays on, wait for OFF_DELAY (with --direct: --delay seconds), power on.`,
		example: "roller ipmi_reboot ms1-10 mdc1\nroller ipmi_reboot --direct -H bmc.example.com -U roller -P - <password-file",
		by:      &softOverIPMI,
		act:     offOn((*activities.Activities).IPMIReboot),
	},
	{
		name:    "ilo_reboot",
		short:   "Reset a machine by its iLO, over Redfish",
		long:    `One Redfish reset: a forced restart, a power-cycle if only that is offered, on if the machine is off. With --direct, an iLO that offers none of them is told off, and after --delay seconds on. The certificate must be the one of --fingerprint, or signed by a CA of --ca-file or the system's.`,
		example: "roller ilo_reboot ms1-10 mdc1\nILO_PASSWORD=... roller ilo_reboot --direct --login roller --fingerprint sha256:... ilo.example.com",
		by:      &overRedfish,
		act:     resetByILO,
	},
	{
		name:    "moonshot_reset",
		short:   "Cold-reset a cartridge by the manager of its Moonshot chassis",
		long:    `One cold reset by the chassis manager's own REST interface. NODE is the cartridge and its node: c10n1.`,
		example: "roller moonshot_reset ms1-10 mdc1\nILO_PASSWORD=... roller moonshot_reset --direct --login roller --fingerprint sha256:... chassis.example.com c10n1",
		by:      &overMoonshot,
		act:     send((*activities.Activities).MoonshotReset, activities.Reset),
	},
	{
		name:    "xenapi_reboot",
		short:   "Shut a Xen VM down, hard if it must be, and start it",
		long:    `Clean shutdown of the VM by XenAPI, hard where the guest does not heed it, a wait for OFF_DELAY (with --direct: --delay seconds), start. XEN_URL, XEN_USERNAME, XEN_PASSWORD and XEN_CA_FILE say where and as whom.`,
		example: "roller xenapi_reboot vm-10 mdc1\nroller xenapi_reboot --direct 2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10",
		by:      &overXenAPI,
		act:     offOn((*activities.Activities).XenPower),
	},
	ipmiPower("ipmi_reset", activities.Reset, "Reset a machine by its BMC; power stays on"),
	ipmiPower("ipmi_cycle", activities.Cycle, "Power-cycle a machine by its BMC"),
	ipmiPower("ipmi_on", activities.On, "Power a machine on by its BMC"),
	ipmiPower("ipmi_off", activities.Off, "Power a machine off by its BMC, at once and without its operating system"),
	ipmiRead("ipmi_status", (*activities.Activities).IPMIStatus, "Read a machine's power state from its BMC"),
	ipmiRead("ipmi_list", (*activities.Activities).IPMIList, "Read the last 15 entries of the BMC's event log"),
	{
		name:    "snmp_reboot",
		short:   "Switch the PDU outlet that feeds a machine off and on",
		long:    `Tell the PDU to reboot the outlet: with --delay, off, so many seconds, on. PORT is the tower's letter, the infeed's letter and the outlet's number: AB12. SNMP_COMMUNITY is the community.`,
		example: "roller snmp_reboot ms1-10 mdc1\nroller snmp_reboot --direct ms1-10.example.com pdu1.example.com AB12",
		by:      outlet(0),
		act:     rebootOutlet,
	},
	{
		name:    "snmp_rebootdelay",
		short:   "Switch the PDU outlet that feeds a machine off, wait, and switch it on",
		long:    `Switch the outlets that feed the machine off, wait for SNMP_REBOOT_DELAY (with --direct: --delay seconds), and switch them on. PORT is the tower's letter, the infeed's letter and the outlet's number: AB12. SNMP_COMMUNITY is the community.`,
		example: "roller snmp_rebootdelay ms1-10 mdc1\nroller snmp_rebootdelay --direct --delay 60 ms1-10.example.com pdu1.example.com AB12",
		by:      outlet(60),
		act:     rebootOutlet,
	},
	{
		name:    "file_bugzilla_bug",
		short:   "Report a machine that cannot be reached",
		long:    `File a bug that the machine is unreachable, or comment on the open one, and link it to the machine's tracker bug. BUGZILLA_URL and BUGZILLA_API_KEY say where and as whom.`,
		example: "roller file_bugzilla_bug ms1-10 mdc1\nroller file_bugzilla_bug --direct ms1-10.test.releng.mdc1.mozilla.com",
		by:      &byName,
		act:     fileBug,
	},
}

// actionCommands makes a command of each action.
func actionCommands(logger *slog.Logger, environ []string) []*cobra.Command {
	commands := []*cobra.Command{registerCommand(environ), ipmitoolCommand(environ)}
	for _, a := range actions {
		commands = append(commands, a.command(logger, environ))
	}
	return commands
}

func (a action) command(logger *slog.Logger, environ []string) *cobra.Command {
	o := &options{environ: environ}
	cmd := &cobra.Command{
		Use:               a.use(),
		Short:             a.short,
		Long:              a.short + ".\n\n" + wrap(a.long+"\n\n"+a.where()),
		Example:           "  " + strings.ReplaceAll(a.example, "\n", "\n  "),
		GroupID:           "actions",
		Args:              cobra.ArbitraryArgs, // run says what is wrong in the action's own words
		ValidArgsFunction: completeName(logger),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, logger, o, args)
		},
	}
	if a.by != nil {
		a.by.flags(cmd.Flags(), o)
		cmd.Flags().VisitAll(func(f *pflag.Flag) { o.explicit = append(o.explicit, f.Name) })
		if !config.IsRead(a.name) {
			directFlag(cmd, o)
		}
	}
	if a.asks != nil {
		a.asks(cmd, &o.how)
	}
	for spelled, name := range config.Spellings() {
		if name == a.name {
			cmd.Aliases = append(cmd.Aliases, spelled)
		}
	}
	slices.Sort(cmd.Aliases)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	return cmd
}

func directFlag(cmd *cobra.Command, o *options) {
	cmd.Flags().BoolVar(&o.direct, "direct", false, "act from this terminal, past Temporal: no lock, no look whether it helped, no next rung")
}

func (a action) use() string {
	forms := a.name + " {WORKER_ID GROUP | FQDN}"
	switch {
	case a.by == nil:
		return forms
	case config.IsRead(a.name):
		return strings.TrimSuffix(forms, "}") + " | " + a.by.args + "}"
	}
	return strings.TrimSuffix(forms, "}") + " | --direct " + a.by.args + "}"
}

// where says where the action runs.
func (a action) where() string {
	if config.IsRead(a.name) {
		return "It changes nothing, and runs in this terminal, without Temporal."
	}
	job := "Given a machine of the inventory it starts the job (or joins it), and follows it to its end."
	if a.by == nil {
		return job
	}
	return job + " The options name a machine that is in no inventory: they need --direct, which acts from this terminal."
}

// run finds out which machine is meant, and where the action has to run.
func (a action) run(cmd *cobra.Command, logger *slog.Logger, o *options, args []string) error {
	cfg, err := config.Load(o.environ)
	if err != nil {
		return err
	}
	o.in, o.errOut = cmd.InOrStdin(), cmd.ErrOrStderr()
	read := config.IsRead(a.name)
	named := o.named(cmd, args)
	switch {
	case read && named && a.by != nil, o.direct:
		return a.here(cmd, cfg, o, args)
	case read:
		return a.readHere(cmd, cfg, o, args)
	case named:
		return usage("%s with an address of its own acts from this terminal, past Temporal and the lock on the machine: say --direct if that is meant", a.name)
	}
	return a.job(cmd, cfg, logger, o, args)
}
