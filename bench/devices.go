package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/bench/bare"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
)

// deed is one dialogue with a device: by a binary, and by roller's own code.
type deed struct {
	is     string
	binary bare.Tool
	native func(context.Context, *activities.Activities, config.Machine) error
	cpu    *Limit // of roller's CPU to the binary's
}

// A fifth of the CPU is five times the operations per CPU second.
var fifth = atMost(0.2)

// The lab's PDUs are of Server Technology's Sentry3 family, and the machine is at the
// first outlet of the first.
const (
	sentryStatus  = ".1.3.6.1.4.1.1718.3.2.3.1.5.1.1.1"
	sentryControl = ".1.3.6.1.4.1.1718.3.2.3.1.11.1.1.1"
	sentryReboot  = 3
)

// devices carries out the dialogues by the binaries and by roller's activities. The
// lab runs in a process of its own, so that its CPU counts for neither.
func devices(ctx context.Context, b *bench) (row Row, err error) {
	n, atOnce := pick(b, 8, 150), 4
	row.Setup = fmt.Sprintf("%d of each a round, %d at once, to one device; CPU is user and system, of the binaries as waited for, of roller as this process's own", n, atOnce)
	p, err := b.peers(ctx)
	if err != nil {
		return row, err
	}
	defer p.lab.Stop()
	for _, d := range p.deeds() {
		if _, err := exec.LookPath(d.binary.Name); err != nil {
			row.Missing = append(row.Missing, fmt.Sprintf("%s: the binary %s is not installed", d.is, d.binary.Name))
			continue
		}
		b.say("  %s", d.is)
		rounds, err := b.alternate(ctx, b.rounds,
			func(ctx context.Context) (Sample, error) {
				return costing(syscall.RUSAGE_CHILDREN, func() (bare.Load, error) { return bare.Run(ctx, n, atOnce, d.binary.Call) })
			},
			func(ctx context.Context) (Sample, error) {
				return costing(syscall.RUSAGE_SELF, func() (bare.Load, error) {
					return bare.Run(ctx, n, atOnce, func(ctx context.Context, _ int) error { return d.native(ctx, p.activities, p.machine) })
				})
			})
		if err != nil {
			return row, fmt.Errorf("%s: %w", d.is, err)
		}
		rate, cpu := compare(rounds, "rate", "1/s", nil), compare(rounds, "CPU", "ms", d.cpu)
		rate.Name, cpu.Name = d.is, d.is+", CPU of one"
		row.Measures = append(row.Measures, rate, cpu)
	}
	return row, nil
}

// costing measures how many calls end in a second, and what CPU one takes.
func costing(who int, load func() (bare.Load, error)) (Sample, error) {
	before, err := cpu(who)
	if err != nil {
		return nil, err
	}
	l, err := load()
	if err != nil {
		return nil, err
	}
	after, err := cpu(who)
	return Sample{"rate": l.PerSecond(), "CPU": milliseconds(after-before) / float64(len(l.Each))}, err
}

// cpu is the user and system time that this process, or its children that it has
// waited for, have taken.
func cpu(who int) (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// peers is one machine with its devices, in a process of their own, and roller's
// activities that know it.
type peers struct {
	lab        *stack.Process
	dir        string // of the lab's files
	activities *activities.Activities
	machine    config.Machine
}

func (b *bench) peers(ctx context.Context) (p *peers, err error) {
	dir, err := filepath.Abs(filepath.Join(b.dir, "devices"))
	if err != nil {
		return nil, err
	}
	p = &peers{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// It takes "reboot" and does nothing, so that it may be told often.
	machine := lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}}
	text, err := json.Marshal([]lab.Spec{machine})
	if err != nil {
		return nil, err
	}
	list := filepath.Join(dir, "machines.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return nil, err
	}
	p.lab, err = stack.Run("lab", dir, os.Environ(), filepath.Join(b.bin, "lab"), "serve", "--dir", dir, "--machines", list)
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, machine.FQDN()); err != nil {
		p.lab.Stop()
		return nil, err
	}
	return p, nil
}

// ready waits for the lab and reads what it wrote for roller.
func (p *peers) ready(ctx context.Context, fqdn string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := p.lab.Ready(ctx, func(context.Context) error {
		_, err := os.Stat(filepath.Join(p.dir, "env"))
		return err
	})
	if err != nil {
		return err
	}
	env, err := os.ReadFile(filepath.Join(p.dir, "env"))
	if err != nil {
		return err
	}
	cfg, err := config.Load(append(strings.Split(strings.TrimSpace(string(env)), "\n"), "ROLLER_CONFIGURATION=Test"))
	if err != nil {
		return err
	}
	inventory, err := config.LoadInventory(cfg.Files)
	if err != nil {
		return err
	}
	name, ok := config.SplitFQDN(cfg.Files.FQDNTemplates, fqdn)
	if !ok {
		return fmt.Errorf("%s has none of the forms of FQDN_TEMPLATES", fqdn)
	}
	if p.machine, err = inventory.Lookup(name); err != nil {
		return err
	}
	p.activities = activities.New(cfg, func() *config.Inventory { return inventory })
	return bare.SNMPConfig(p.dir, lab.CommunityWrite)
}

// deeds are the four dialogues, as roller's jobs have them: its Set is preceded by a
// Get that shows that the PDU knows the outlet, which no binary does.
func (p *peers) deeds() []deed {
	m := p.machine
	pdu := fmt.Sprintf("%s:%d", m.Outlets[0].Host, m.Outlets[0].Port)
	return []deed{
		{
			"IPMI power status", bare.IPMIStatus(m.IPMI.Host, m.IPMI.Port, lab.BMCUser, lab.BMCPassword),
			func(ctx context.Context, a *activities.Activities, m config.Machine) error {
				_, err := a.IPMIStatus(ctx, activities.Read{Machine: m.Name})
				return err
			}, fifth,
		},
		{
			"SNMP get", bare.SNMPGet(p.dir, pdu, sentryStatus),
			func(ctx context.Context, a *activities.Activities, m config.Machine) error {
				// A machine that is on is read, and sent nothing.
				res, err := a.SNMPOutlet(ctx, outlet(m, activities.On))
				if err == nil && res.Sent != "" {
					err = fmt.Errorf("%q was sent to a machine that is on", res.Sent)
				}
				return err
			}, fifth,
		},
		{
			"SSH command", bare.SSH(m.Addr, m.SSH.Port, m.SSH.User, m.SSH.KeyFile, filepath.Join(p.dir, "known_hosts"), "reboot"),
			func(ctx context.Context, a *activities.Activities, m config.Machine) error {
				return taken(a.SSHReboot(ctx, activities.Command{Machine: m.Name, Action: activities.Reboot}))
			}, nil,
		},
		{
			// The last one: the machine is off for a moment after each.
			"SNMP set", bare.SNMPSet(p.dir, pdu, sentryControl, sentryReboot),
			func(ctx context.Context, a *activities.Activities, m config.Machine) error {
				return taken(a.SNMPOutlet(ctx, outlet(m, activities.Reboot)))
			}, fifth,
		},
	}
}

func outlet(m config.Machine, action activities.Action) activities.Command {
	return activities.Command{Machine: m.Name, Action: action, Target: activities.TargetOf(m, "snmp_reboot")}
}

// taken fails where the device did not say that it took the command.
func taken(res activities.CommandResult, err error) error {
	if err == nil && (res.Sent == "" || res.Unknown != "") {
		err = fmt.Errorf("not known to be taken: %+v", res)
	}
	return err
}
