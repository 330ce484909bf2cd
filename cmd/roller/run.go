package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

const pastTemporal = "warning: --direct acts from this terminal, past Temporal: another job may be acting on the same machine, and nobody looks whether it comes back"

// here carries the action out in this terminal, on a machine that the command
// line describes.
func (a action) here(cmd *cobra.Command, cfg *config.Config, o *options, args []string) error {
	if a.by == nil || len(args) < a.by.least || len(args) > a.by.most {
		return usage("%s takes %s here; see roller help %s", a.name, a.by.args, a.name)
	}
	m, err := a.by.machine(o, args, cfg)
	if err != nil {
		return err
	}
	if !config.IsRead(a.name) {
		fmt.Fprintln(o.errOut, pastTemporal)
	}
	return a.carryOut(cmd, cfg, o, m, config.NewInventory(m))
}

// readHere asks about a machine of the inventory that this process was given.
// Anything can be pinged by its name.
func (a action) readHere(cmd *cobra.Command, cfg *config.Config, o *options, args []string) error {
	files := cfg.Files
	files.NamesOnly = a.by == &pinged
	inventory, err := config.LoadInventory(files)
	var m config.Machine
	if err == nil {
		m, err = find(inventory, args)
	}
	if err != nil && a.by == &pinged && len(args) == 1 {
		m, err = given(args[0])
		inventory = config.NewInventory(m)
	}
	if err != nil {
		return err
	}
	return a.carryOut(cmd, cfg, o, m, inventory)
}

func (a action) carryOut(cmd *cobra.Command, cfg *config.Config, o *options, m config.Machine, inventory *config.Inventory) error {
	d := &direct{
		Activities: activities.New(cfg, func() *config.Inventory { return inventory }),
		options:    o, machine: m, rung: a.name, out: cmd.OutOrStdout(), errOut: o.errOut,
	}
	d.Prober = activities.NewSingleProber(cfg.Ladder.ProbeTimeout.D())
	text, err := a.act(cmd.Context(), d)
	if text != "" {
		fmt.Fprintln(d.out, text)
	}
	return plain(err)
}

// job starts the action's job, or joins it, and follows it.
func (a action) job(cmd *cobra.Command, cfg *config.Config, logger *slog.Logger, o *options, args []string) error {
	name, err := nameOf(cfg, args)
	if err != nil {
		return err
	}
	job := []string{a.name, name.WorkerID, name.WorkerGroup}
	if err := checkStart(job); err != nil {
		return usage("%w", err)
	}
	o.how.follow, o.how.output = true, outputText
	return startJob(cmd, logger, job, o.how)
}

// nameOf is the machine's name as far as this process can know it: by its
// inventory if it was given one, else as it is spelled. The worker knows better.
func nameOf(cfg *config.Config, args []string) (config.Name, error) {
	live, err := names(cfg)
	if err != nil {
		return config.Name{}, err
	}
	if live != nil {
		m, err := find(live(), args)
		return m.Name, err
	}
	if err := checkName(args); err != nil {
		return config.Name{}, err
	}
	if len(args) == 2 {
		return config.Name{WorkerID: args[0], WorkerGroup: args[1]}, nil
	}
	if name, ok := config.SplitFQDN(cfg.Files.FQDNTemplates, args[0]); ok {
		return name, nil
	}
	if strings.Contains(args[0], ".") {
		return config.Name{}, usage("%s has none of the forms of FQDN_TEMPLATES: say WORKER_ID GROUP", args[0])
	}
	return config.Name{WorkerID: args[0], WorkerGroup: anyGroup}, nil
}

// anyGroup stands for the group that whoever asks does not know.
const anyGroup = "none"

func find(inventory *config.Inventory, args []string) (config.Machine, error) {
	if err := checkName(args); err != nil {
		return config.Machine{}, err
	}
	group := anyGroup
	if len(args) == 2 {
		group = args[1]
	}
	return inventory.Resolve(args[0], group)
}

func checkName(args []string) error {
	if len(args) != 1 && len(args) != 2 {
		return usage("which machine? Say WORKER_ID GROUP, or its full host name")
	}
	return nil
}
