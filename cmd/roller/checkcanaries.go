package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"text/tabwriter"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// canaryAnswer is one canary of a site, and whether it was seen.
type canaryAnswer struct {
	site   string
	canary config.Canary
	says   string
	seen   bool
}

// askCanaries asks the canaries of the machines' groups, and prints what they say. A
// site of which none answers is an error: its jobs would pause, and end blind.
func (c *checking) askCanaries(ctx context.Context, machines []config.Machine) error {
	var answers []*canaryAnswer
	seen := map[string]bool{} // by site
	for _, m := range machines {
		if _, twice := seen[m.WorkerGroup]; twice {
			continue
		}
		seen[m.WorkerGroup] = false
		for _, canary := range c.cfg.Sight.Of(m.WorkerGroup) {
			answers = append(answers, &canaryAnswer{site: m.WorkerGroup, canary: canary})
		}
	}
	prober := activities.NewProber(c.cfg.Ladder.ProbeTimeout.D())
	var asking sync.WaitGroup
	for _, a := range answers {
		asking.Go(func() { a.ask(ctx, prober, c.cfg.Ladder.DownProbes) })
	}
	asking.Wait()
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	var blind []string
	for _, a := range answers {
		fmt.Fprintf(w, "canary\t%s\t%s\t%s\n", a.site, a.canary, a.says)
		seen[a.site] = seen[a.site] || a.seen
		blind = append(blind, a.site)
	}
	_ = w.Flush() // to the terminal
	var errs []error
	for _, site := range slices.Compact(blind) {
		if !seen[site] {
			errs = append(errs, fmt.Errorf("probe: none of %s's canaries answers: from here, jobs on its machines would wait, and end blind", site))
		}
	}
	return errors.Join(errs...)
}

// ask probes as often as it takes to call a machine down.
func (a *canaryAnswer) ask(ctx context.Context, prober activities.Prober, probes int) {
	a.says = "no answer"
	for range max(probes, 1) {
		var err error
		a.seen, err = prober.Probe(ctx, config.Machine{FQDN: a.canary.Host, Addr: a.canary.Host, Probe: a.canary.Probe})
		switch {
		case err != nil:
			a.says = "cannot be asked: " + err.Error()
			return
		case a.seen:
			a.says = "answers"
			return
		}
	}
}
