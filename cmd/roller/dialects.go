package main

import (
	"context"
	"strings"

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
	flags:   func(f *pflag.FlagSet, o *options) { ipmiFlags(f, o, "OPERATOR") },
	machine: ipmiMachine,
}

// softOverIPMI is the old service's ipmi_reboot: `-H HOST -I lanplus -L
// ADMINISTRATOR -p 623 -U USER -P PASSWORD --power-status-wait 120
// --power-status-wait-interval 15 --delay 5`.
var softOverIPMI = dialect{
	args: "-H HOST -U USER", least: 0, most: 0,
	flags: func(f *pflag.FlagSet, o *options) {
		ipmiFlags(f, o, "ADMINISTRATOR")
		o.statusWait, o.statusEvery, o.delay = seconds(120e9), seconds(15e9), seconds(5e9)
		f.Var(&o.statusWait, "power-status-wait", "for the soft power off, before the hard one")
		f.Var(&o.statusEvery, "power-status-wait-interval", "between two readings of the power state meanwhile")
		f.Var(&o.delay, "delay", "between off and on")
	},
	machine: func(o *options, args []string, cfg *config.Config) (config.Machine, error) {
		if o.statusEvery <= 0 {
			return config.Machine{}, usage("--power-status-wait-interval must be more than 0")
		}
		cfg.Devices.IPMIStatusWait, cfg.Devices.IPMIStatusPoll = config.Duration(o.statusWait), config.Duration(o.statusEvery)
		return ipmiMachine(o, args, cfg)
	},
}

func ipmiFlags(f *pflag.FlagSet, o *options, privilege string) {
	f.StringVarP(&o.host, "host", "H", "", "the BMC's name or address")
	f.StringVarP(&o.lan, "interface", "I", "lanplus", "lanplus (IPMI v2.0) is the only one")
	f.StringVarP(&o.privilege, "privilege", "L", privilege, "CALLBACK, USER, OPERATOR or ADMINISTRATOR")
	f.IntVarP(&o.port, "port", "p", 623, "UDP port") // IPMI v2.0, 13.1.2
	f.StringVarP(&o.user, "user", "U", "", "the BMC's user")
	f.StringVarP(&o.password, "password", "P", "", "- reads it from the standard input; without it IPMI_PASSWORD is taken")
	f.IntVarP(&o.suite, "cipher-suite", "C", 0, "17 or 3; 0 tries both in this order")
	o.timeout = seconds(15e9)
	f.Var(&o.timeout, "timeout", "for the command, which is sent once; for ipmitool's reads as a whole")
}

func ipmiMachine(o *options, _ []string, cfg *config.Config) (config.Machine, error) {
	m, err := given(o.host)
	if err != nil {
		return m, usage("-H: %w", err)
	}
	if err := checkPrivilege(o); err != nil {
		return m, err
	}
	suites := map[int][]int{0: nil, 3: {3}, 17: {17}}
	wanted, known := suites[o.suite]
	switch {
	case o.lan != "lanplus":
		return m, usage("-I %q: only lanplus is there", o.lan)
	case !known:
		return m, usage("-C %d: must be 17 or 3", o.suite)
	case o.port < 1 || o.port > maxPort:
		return m, usage("-p %d: is not a port: 1 to %d", o.port, maxPort)
	case o.user == "":
		return m, usage("-U: the BMC's user is missing")
	}
	password, err := o.secret("-P", "IPMI_PASSWORD")
	if err != nil {
		return m, err
	}
	m.IPMI = &config.IPMI{Host: m.FQDN, Port: o.port, User: o.user, Password: password, CipherSuites: wanted}
	cfg.Devices.IPMIPrivilege, cfg.Devices.IPMITimeout = o.privilege, config.Duration(o.timeout)
	return m, nil
}

func checkPrivilege(o *options) error {
	switch o.privilege = strings.ToUpper(o.privilege); o.privilege {
	case "CALLBACK", "USER", "OPERATOR", "ADMINISTRATOR":
		return nil
	}
	return usage("-L %q: must be one of CALLBACK, USER, OPERATOR, ADMINISTRATOR", o.privilege)
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
