package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Sites are the networks whose machines only workers of their own reach: the
// site by worker group.
type Sites map[string]string

// Of returns the site of a worker group; "" is none of its own: any worker
// reaches its machines.
func (s Sites) Of(group string) string { return s[group] }

// Names returns the sites in order.
func (s Sites) Names() []string { return slices.Compact(slices.Sorted(maps.Values(s))) }

// Check says which of the given sites is none.
func (s Sites) Check(names []string) error {
	for _, name := range names {
		if !slices.Contains(s.Names(), name) {
			return fmt.Errorf("site %q: is none of SITES (%s)", name, strings.Join(s.Names(), ", "))
		}
	}
	return nil
}

// watchSite would have the task queue of the waits for machines of no site.
const watchSite = "watch"

// sites reads "mdc1=mdc1,mdc1-test;mdc2", where a site without groups is its own
// one group.
func (e *environ) sites(name string) Sites {
	sites := Sites{}
	for _, part := range split(e.text(name, ""), ";") {
		site, list, listed := strings.Cut(part, "=")
		site = strings.ToLower(strings.TrimSpace(site))
		groups := []string{site}
		if listed {
			groups = split(strings.ToLower(list), ",")
		}
		if !nameForm.MatchString(site) || site == watchSite || len(groups) == 0 {
			e.wrong(name, part, "must be a site, = and its worker groups with commas between them, like mdc1=mdc1,mdc1-test; a site cannot be called "+watchSite)
			continue
		}
		for _, group := range groups {
			switch other, twice := sites[group]; {
			case !nameForm.MatchString(group):
				e.wrong(name, group, "is no worker group")
			case twice:
				e.wrong(name, group, "stands in "+other+" and in "+site)
			default:
				sites[group] = site
			}
		}
	}
	if len(sites) == 0 {
		return nil
	}
	return sites
}
