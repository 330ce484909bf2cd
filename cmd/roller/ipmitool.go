package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

const ipmitoolLong = `The binary must be installed here. A machine behind a chassis is reached through it.

The options describe a BMC that is in no inventory; of a machine that is in it, -L and --timeout may be given. The password goes to ipmitool by its environment.

Commands that only read (power status, chassis status, mc info, sel list, sdr, sensor, fru, lan print, ...) run as they are. Every other one counts as changing power, goes out once, and needs --direct: it is past Temporal and the lock on the machine. ipmi_on, ipmi_off, ipmi_reset, ipmi_cycle and ipmi_reboot do such things as jobs.`

// ipmitoolCommand is the old service's `ipmitool -H HOST -I lanplus -L OPERATOR
// -p 623 -U USER -P PASSWORD --timeout 15 COMMAND...`. It is no task: the route
// over HTTP carries no arguments.
func ipmitoolCommand(environ []string) *cobra.Command {
	o := &options{environ: environ}
	cmd := &cobra.Command{
		Use:   "ipmitool {WORKER_ID GROUP | FQDN | -H HOST -U USER} COMMAND...",
		Short: "Run any command of ipmitool on a machine's BMC",
		Long:  "Run any command of ipmitool on a machine's BMC.\n\n" + wrap(ipmitoolLong),
		Example: `  roller ipmitool ms1-10 mdc1 chassis power status
  roller ipmitool -H bmc.example.com -U roller -P - sel list last 15 <password-file
  IPMI_PASSWORD=... roller ipmitool --direct -H bmc.example.com -U roller mc reset cold`,
		GroupID: "actions",
		Args:    cobra.ArbitraryArgs,
		RunE:    func(cmd *cobra.Command, args []string) error { return runIPMITool(cmd, o, args) },
	}
	overIPMI.flags(cmd.Flags(), o)
	cmd.Flags().VisitAll(func(f *pflag.Flag) { o.explicit = append(o.explicit, f.Name) })
	directFlag(cmd, o)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	return cmd
}

func runIPMITool(cmd *cobra.Command, o *options, args []string) error {
	cfg, err := config.Load(o.environ)
	if err != nil {
		return err
	}
	o.in, o.errOut = cmd.InOrStdin(), cmd.ErrOrStderr()
	name, words, err := toolWords(cmd, o, args)
	if err != nil {
		return err
	}
	m, err := toolMachine(o, name, cfg)
	if err != nil {
		return err
	}
	if !activities.IPMIToolReads(words) {
		fmt.Fprintln(o.errOut, pastTemporal)
	}
	inventory := config.NewInventory(m)
	a := activities.New(cfg, func() *config.Inventory { return inventory })
	in := activities.IPMIToolInput{Machine: m.Name, Timeout: config.Duration(o.timeout), Command: words}
	if cmd.Flags().Changed("privilege") || o.host != "" {
		in.Privilege = o.privilege
	}
	res, err := a.IPMITool(cmd.Context(), in)
	if res.Text != "" {
		fmt.Fprintln(cmd.OutOrStdout(), res.Text)
	}
	return plain(err)
}

// toolWords takes the machine's name off the arguments, where no -H describes
// one; what remains is the command. It may be one that changes power only with
// --direct.
func toolWords(cmd *cobra.Command, o *options, args []string) (name, words []string, err error) {
	describes := func(flag string) bool { return flag != "privilege" && flag != "timeout" && cmd.Flags().Changed(flag) }
	i := slices.IndexFunc(o.explicit, describes)
	of := min(2, len(args))
	switch {
	case o.host != "":
		of = 0
	case i >= 0:
		return nil, nil, usage("--%s describes a BMC that is in no inventory: say -H, too", o.explicit[i])
	case len(args) == 0:
		return nil, nil, checkName(args)
	case strings.Contains(args[0], "."): // a full host name says its group
		of = 1
	}
	words = args[of:]
	switch {
	case len(words) == 0:
		return nil, nil, usage("ipmitool: which command? Like: chassis power status")
	case !o.direct && !activities.IPMIToolReads(words):
		return nil, nil, usage("ipmitool %s may change power, and would act past Temporal and the lock on the machine: say --direct if that is meant, or take one of ipmi_on, ipmi_off, ipmi_reset, ipmi_cycle, ipmi_reboot", words[0])
	}
	return args[:of], words, checkPrivilege(o)
}

func toolMachine(o *options, name []string, cfg *config.Config) (config.Machine, error) {
	if o.host != "" {
		return overIPMI.machine(o, nil, cfg)
	}
	inventory, err := config.LoadInventory(cfg.Files)
	if err != nil {
		return config.Machine{}, err
	}
	m, err := find(inventory, name)
	if err == nil && m.IPMI == nil {
		err = errors.New(m.FQDN + ": no ipmi entry in the inventory")
	}
	return m, err
}
