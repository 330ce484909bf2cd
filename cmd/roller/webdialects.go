package main

import (
	"cmp"
	"context"

	"github.com/spf13/pflag"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// overRedfish is the old service's `ilo_reboot HOST --login LOGIN --password
// PASSWORD --timeout 60 --delay 5`.
var overRedfish = dialect{
	args: "HOST", least: 1, most: 1,
	flags: func(f *pflag.FlagSet, o *options) {
		webFlags(f, o)
		o.delay = seconds(5e9)
		f.Var(&o.delay, "delay", "between off and on, where the iLO offers no reset")
	},
	machine: func(o *options, args []string, cfg *config.Config) (config.Machine, error) {
		m, b, err := webMachine(o, args[0], cfg)
		m.ILO = &config.ILO{Host: b.Host, Port: b.Port, User: b.User, Password: b.Password, Fingerprint: b.Fingerprint}
		return m, err
	},
}

// overMoonshot names a node of an HP Moonshot chassis.
var overMoonshot = dialect{
	args: "CHASSIS NODE", least: 2, most: 2,
	flags: webFlags,
	machine: func(o *options, args []string, cfg *config.Config) (config.Machine, error) {
		node, err := config.ParseCartridge(args[1])
		if err != nil {
			return config.Machine{}, usage("%w", err)
		}
		m, b, err := webMachine(o, args[0], cfg)
		b.Node = node.String()
		m.Moonshot = &b
		return m, err
	},
}

func webFlags(f *pflag.FlagSet, o *options) {
	f.StringVar(&o.user, "login", "", "the account; without it ILO_USERNAME is taken")
	f.StringVar(&o.password, "password", "", "- reads it from the standard input; without it ILO_PASSWORD is taken")
	f.StringVar(&o.fingerprint, "fingerprint", "", "SHA-256 of the only certificate that is trusted")
	f.StringVar(&o.caFile, "ca-file", "", "PEM file of who may have signed the certificate; without it ILO_CA_FILE, or the system's")
	o.timeout = seconds(60e9)
	f.Var(&o.timeout, "timeout", "for one request; the command is sent once")
}

// webMachine reads the device and its account, as a chassis's: an iLO's has the
// same parts.
func webMachine(o *options, text string, cfg *config.Config) (config.Machine, config.Moonshot, error) {
	const https = 443
	var b config.Moonshot
	host, port, err := hostPort(text, https)
	if err != nil {
		return config.Machine{}, b, err
	}
	m, err := given(host)
	if err != nil {
		return m, b, err
	}
	b = config.Moonshot{Host: m.FQDN, Port: port, User: cmp.Or(o.user, cfg.Devices.ILOUsername)}
	if b.User == "" {
		return m, b, usage("there is no account: say --login, or set ILO_USERNAME")
	}
	if o.fingerprint != "" {
		if b.Fingerprint, err = config.ParseFingerprint(o.fingerprint); err != nil {
			return m, b, usage("--fingerprint: %w", err)
		}
	}
	cfg.Devices.ILOCAFile = cmp.Or(o.caFile, cfg.Devices.ILOCAFile)
	if _, err := cfg.Devices.ILORoots(); err != nil {
		return m, b, usage("%w", err)
	}
	cfg.Devices.ILOTimeout = config.Duration(o.timeout)
	b.Password, err = o.secret("--password", "ILO_PASSWORD")
	return m, b, err
}

// overXenAPI is the old service's `xenapi_reboot UUID --delay 5`.
var overXenAPI = dialect{
	args: "UUID", least: 1, most: 1,
	flags: func(f *pflag.FlagSet, o *options) {
		o.delay = seconds(5e9)
		f.Var(&o.delay, "delay", "between off and on")
	},
	machine: func(_ *options, args []string, cfg *config.Config) (config.Machine, error) {
		vm, err := config.ParseXen(args[0])
		if err != nil {
			return config.Machine{}, usage("%w", err)
		}
		if cfg.Devices.XenURL == "" || cfg.Devices.XenUsername == "" || cfg.Devices.XenPassword.IsZero() {
			return config.Machine{}, usage("XEN_URL, XEN_USERNAME and XEN_PASSWORD must be set: they say where the VM is, and as whom")
		}
		if err := cfg.Devices.ValidateXen(); err != nil {
			return config.Machine{}, usage("%w", err)
		}
		m, err := given(vm.UUID)
		m.Xen = &vm
		return m, err
	},
}

// resetByILO resets the machine, or powers it off and on where its iLO offers no
// reset. What it offers is asked first, so that a password that is refused is
// tried once: some lock the account after a few.
func resetByILO(ctx context.Context, d *direct) (string, error) {
	d.Prober = unseen{} // HOST is the iLO's address, which says nothing of the machine
	resets, err := d.RedfishResets(ctx, d.machine)
	if err != nil {
		return "", err
	}
	if resets {
		return send((*activities.Activities).RedfishReset, activities.Reset)(ctx, d)
	}
	d.warn("the iLO offers no reset: off and on instead")
	return d.offOn(ctx, (*activities.Activities).RedfishReset)
}

// unseen is a prober that sees no machine.
type unseen struct{}

// Probe implements activities.Prober.
func (unseen) Probe(context.Context, config.Machine) (bool, error) { return false, nil }
