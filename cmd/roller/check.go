package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

const checkLong = `Read the environment and the whole inventory as a worker does, report every mistake at once with file and line, and print the ladders: which machines have the same, which devices its rungs touch, and who shares these. With a machine, print its ladder only, rung by rung.

--probe also asks: it pings, reads SSH banners, and reads the power state from every BMC, iLO, chassis manager, PDU and Xen pool; and it asks the canaries of the machines' groups. It changes nothing.

The exit status is 0 if nothing is wrong (warnings are not counted), 1 if there are mistakes or something did not answer, 2 if the command line is wrong.`

// checking is one run of check.
type checking struct {
	cfg       *config.Config
	inventory *config.Inventory
	out       io.Writer

	silences *silences // of the devices that are asked

	each     bool
	probe    bool
	parallel int
}

func checkCommand(environ []string) *cobra.Command {
	c := &checking{}
	cmd := &cobra.Command{
		Use:     "check [WORKER_ID GROUP | FQDN]",
		Short:   "Check the environment and the inventory, and print the ladders and the devices they touch",
		Long:    "Check the environment and the inventory.\n\n" + wrap(checkLong),
		Example: "  roller check\n  roller check ms1-10 mdc1 --probe",
		GroupID: "operate",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.out = cmd.OutOrStdout()
			if c.parallel < 1 {
				return usage("--parallel %d: must be 1 or more", c.parallel)
			}
			return c.run(cmd, environ, args)
		},
	}
	cmd.Flags().BoolVar(&c.each, "each", false, "print every machine's ladder by itself")
	cmd.Flags().BoolVar(&c.probe, "probe", false, "ask all machines and devices, which changes nothing")
	cmd.Flags().IntVar(&c.parallel, "parallel", 32, "with --probe, at most so many machines at once")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	return cmd
}

func (c *checking) run(cmd *cobra.Command, environ, args []string) error {
	var err error
	if c.cfg, err = config.Load(environ); err != nil {
		return mistaken(err)
	}
	mistakes := errors.Join(c.cfg.ValidateWorker(), activities.ValidateBugTemplates(c.cfg.Bugzilla))
	if c.inventory, err = config.LoadInventory(c.cfg.Files); err != nil {
		return mistaken(mistakes) // these among them
	}
	machines := c.inventory.Machines()
	if len(args) > 0 {
		m, err := find(c.inventory, args)
		if err != nil {
			return err
		}
		machines = []config.Machine{m}
	} else {
		c.warnings(machines)
	}
	if c.each || len(args) > 0 {
		c.printEach(machines)
	} else {
		c.printLadders(machines)
	}
	if c.probe {
		mistakes = errors.Join(mistakes, c.ask(cmd.Context(), machines))
	}
	return mistaken(mistakes)
}

func (c *checking) warnings(machines []config.Machine) {
	all := slices.Concat(c.inventory.Warnings, c.cfg.CanaryWarnings(c.inventory), activities.UnknownHosts(c.cfg, c.inventory))
	if len(machines) == 0 {
		all = append(all, emptyInventory)
	}
	for _, warning := range all {
		fmt.Fprintln(c.out, "warning:", warning)
	}
}

// mostMistakes is how many are printed: a wrong FQDN_TEMPLATES makes one of every
// line.
const mostMistakes = 50

// mistaken is the end of a check that found mistakes, one a line.
func mistaken(err error) error {
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	if more := len(lines) - mostMistakes; more > 0 {
		lines = append(lines[:mostMistakes], fmt.Sprintf("... and %d more", more))
	}
	return errors.New(strings.Join(lines, "\n"))
}
