package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// pinged is the old service's `ping HOST -c 4 -w 5`.
var pinged = dialect{
	args: "HOST", least: 1, most: 1,
	flags: func(f *pflag.FlagSet, o *options) {
		f.IntVarP(&o.count, "count", "c", 4, "stop after so many requests; all must be answered")
		o.deadline = seconds(5e9)
		f.VarP(&o.deadline, "deadline", "w", "for all of them together")
	},
	machine: func(_ *options, args []string, _ *config.Config) (config.Machine, error) { return given(args[0]) },
}

// overSSH is the old service's `ssh_reboot HOST -l USER -i KEY -p 22 --timeout 5`.
var overSSH = dialect{
	args: "HOST", least: 1, most: 1,
	flags: func(f *pflag.FlagSet, o *options) {
		f.StringVarP(&o.user, "login", "l", "roller", "the account")
		f.StringVarP(&o.key, "identity", "i", "ssh.key", "the file of its private key")
		f.IntVarP(&o.port, "port", "p", 22, "TCP port") // RFC 4253, 4.1
		o.timeout = seconds(5e9)
		f.Var(&o.timeout, "timeout", "for dial and handshake")
	},
	machine: func(o *options, args []string, cfg *config.Config) (config.Machine, error) {
		m, err := given(args[0])
		m.SSH = &config.SSH{User: o.user, KeyFile: o.key, Port: o.port}
		cfg.Devices.SSHTimeout = config.Duration(o.timeout)
		return m, err
	},
}

// overIPMI is the old service's `-H HOST -I lanplus -L OPERATOR -p 623 -U USER
// -P PASSWORD --timeout 15`.
var overIPMI = dialect{
	args: "-H HOST -U USER", least: 0, most: 0,
	flags: func(f *pflag.FlagSet, o *options) {
		f.StringVarP(&o.host, "host", "H", "", "the BMC's name or address")
		f.StringVarP(&o.lan, "interface", "I", "lanplus", "lanplus (IPMI v2.0) is the only one")
		f.StringVarP(&o.privilege, "privilege", "L", "OPERATOR", "CALLBACK, USER, OPERATOR or ADMINISTRATOR")
		f.IntVarP(&o.port, "port", "p", 623, "UDP port") // IPMI v2.0, 13.1.2
		f.StringVarP(&o.user, "user", "U", "", "the BMC's user")
		f.StringVarP(&o.password, "password", "P", "", "- reads it from the standard input; without it IPMI_PASSWORD is taken")
		o.timeout = seconds(15e9)
		f.Var(&o.timeout, "timeout", "for the command, which is sent once")
	},
	machine: ipmiMachine,
}

func ipmiMachine(o *options, _ []string, cfg *config.Config) (config.Machine, error) {
	m, err := given(o.host)
	if err != nil {
		return m, usage("-H: %w", err)
	}
	switch o.privilege {
	case "CALLBACK", "USER", "OPERATOR", "ADMINISTRATOR":
	default:
		return m, usage("-L %q: must be one of CALLBACK, USER, OPERATOR, ADMINISTRATOR", o.privilege)
	}
	if o.lan != "lanplus" {
		return m, usage("-I %q: only lanplus is there", o.lan)
	}
	if o.user == "" {
		return m, usage("-U: the BMC's user is missing")
	}
	password, err := o.secret("-P", "IPMI_PASSWORD")
	if err != nil {
		return m, err
	}
	m.IPMI = &config.IPMI{Host: m.FQDN, Port: o.port, User: o.user, Password: password}
	cfg.Devices.IPMIPrivilege, cfg.Devices.IPMITimeout = o.privilege, config.Duration(o.timeout)
	return m, nil
}

func ipmiPower(name string, do activities.Action, short string) action {
	return action{
		name: name, short: short, by: &overIPMI,
		long:    "Send one IPMI chassis command (ipmitool's \"chassis power " + string(do) + "\") to the machine's BMC.",
		example: "roller " + name + " ms1-10 mdc1\nroller " + name + " --direct -H bmc.example.com -U roller -P - <password-file",
		act:     send((*activities.Activities).IPMIPower, do),
	}
}

type ipmiReading = func(*activities.Activities, context.Context, activities.Read) (activities.ReadResult, error)

func ipmiRead(name string, read ipmiReading, short string) action {
	return action{
		name: name, short: short, by: &overIPMI,
		long:    "Ask the machine's BMC, over IPMI.",
		example: "roller " + name + " ms1-10 mdc1\nroller " + name + " -H bmc.example.com -U roller -P - <password-file",
		act: func(ctx context.Context, d *direct) (string, error) {
			res, err := read(d.Activities, ctx, activities.Read{Machine: d.machine.Name})
			return res.Text, err
		},
	}
}

// outlet is the old service's `snmp_reboot FQDN PDU PORT --delay 0 --timeout 60`.
func outlet(delay int) *dialect {
	return &dialect{
		args: "FQDN PDU PORT", least: 3, most: 3,
		flags: func(f *pflag.FlagSet, o *options) {
			o.delay, o.timeout = seconds(delay)*1e9, seconds(60e9)
			f.Var(&o.delay, "delay", "between off and on; 0 leaves it to the PDU")
			f.Var(&o.timeout, "timeout", "for the command, which is sent once")
		},
		machine: outletMachine,
	}
}

func outletMachine(o *options, args []string, cfg *config.Config) (config.Machine, error) {
	m, err := given(args[0])
	if err != nil {
		return m, err
	}
	host, port, err := hostPort(args[1], 0)
	if err != nil {
		return m, err
	}
	out, err := config.ParseOutlet(host + ":" + args[2])
	if err != nil {
		return m, usage("%w", err)
	}
	if port != 0 {
		out.Port = port
	}
	if cfg.Devices.SNMPCommunity.IsZero() {
		return m, usage("SNMP_COMMUNITY is not set: it is what the PDU takes commands by")
	}
	m.Outlets = []config.Outlet{out}
	cfg.Devices.SNMPTimeout = config.Duration(o.timeout)
	return m, nil
}

// byName needs nothing but the machine's name.
var byName = dialect{
	args: "FQDN", least: 1, most: 1,
	flags: func(*pflag.FlagSet, *options) {},
	machine: func(_ *options, args []string, cfg *config.Config) (config.Machine, error) {
		m, err := given(args[0])
		if n, ok := config.SplitFQDN(cfg.Files.FQDNTemplates, m.FQDN); ok {
			m.Name = n
		}
		return m, err
	},
}
