package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sight is how a worker tells that it is cut off from a machine that is down.
type Sight struct {
	Canaries   map[string][]Canary // CANARIES: hosts that always answer, by worker group; EverySite's are for groups without their own
	BlindLimit Duration            // BLIND_LIMIT: how long a job waits for one of them to answer before it ends, 1h

	UptimeCommunity Secret // UPTIME_COMMUNITY: reads the uptime of machines whose entry has one with version 2c
}

// EverySite stands for every worker group that CANARIES does not name.
const EverySite = "*"

// Canary is a host that answers for as long as the worker sees its site.
type Canary struct {
	Host  string // as it is dialled, in lower case
	Probe Probe
}

// String returns the form of CANARIES, "gw1.example" or "gw1.example:22".
func (c Canary) String() string {
	if c.Probe.Network == "tcp" {
		return net.JoinHostPort(c.Host, strconv.Itoa(c.Probe.Port))
	}
	return c.Host
}

// Of returns the canaries of a worker group; none means that the check is off.
func (s Sight) Of(group string) []Canary {
	if own, ok := s.Canaries[group]; ok {
		return own
	}
	return s.Canaries[EverySite]
}

func (e *environ) sight() Sight {
	return Sight{
		Canaries:   e.canaries("CANARIES"),
		BlindLimit: e.duration("BLIND_LIMIT", time.Hour, time.Second),

		UptimeCommunity: e.secret("UPTIME_COMMUNITY"),
	}
}

// canaries reads "mdc1=gw1.example,ns1.example:53;*=10.0.0.1".
func (e *environ) canaries(name string) map[string][]Canary {
	v := e.text(name, "")
	sites := map[string][]Canary{}
	for _, part := range split(v, ";") {
		site, list, ok := strings.Cut(part, "=")
		site = strings.ToLower(strings.TrimSpace(site))
		hosts := split(list, ",")
		if !ok || len(hosts) == 0 || site != EverySite && !nameForm.MatchString(site) {
			e.wrong(name, part, "must be a worker group or *, = and its canary hosts with commas between them, like mdc1=gw1.example,ns1.example:53")
			continue
		}
		if _, twice := sites[site]; twice {
			e.wrong(name, part, "names "+site+" a second time")
		}
		sites[site] = nil
		for _, host := range hosts {
			c, ok := canary(host)
			if !ok {
				e.wrong(name, host, "must be a host name or an IP address, which is pinged, or with a port (host:22, [2001:db8::1]:22), which is connected to")
			}
			sites[site] = append(sites[site], c)
		}
	}
	if len(sites) == 0 {
		return nil
	}
	return sites
}

// canary reads one host of CANARIES.
func canary(text string) (Canary, bool) {
	if isHost(text) {
		return Canary{strings.ToLower(text), Probe{Network: "icmp"}}, true
	}
	host, number, err := net.SplitHostPort(text)
	port, perr := strconv.Atoi(number)
	return Canary{strings.ToLower(host), Probe{Network: "tcp", Port: port}},
		err == nil && perr == nil && isHost(host) && port >= 1 && port <= maxPort
}

// CanaryWarnings says where the canaries cannot tell what they are for. Only
// canaries that the inventory knows can be held against it.
func (c *Config) CanaryWarnings(v *Inventory) []string {
	if len(c.Sight.Canaries) == 0 {
		return []string{"CANARIES is not set: a worker that is cut off from its machines takes them for down"}
	}
	var warnings []string
	groups := v.groups()
	for _, group := range groups {
		if len(c.Sight.Of(group)) == 0 {
			warnings = append(warnings, fmt.Sprintf("CANARIES has none for %s: a worker that is cut off from its machines takes them for down", group))
		}
	}
	for site, canaries := range c.Sight.Canaries {
		if site != EverySite && !slices.Contains(groups, site) {
			warnings = append(warnings, fmt.Sprintf("CANARIES: the inventory has no worker group %s", site))
		}
		for _, canary := range canaries {
			warnings = append(warnings, v.sharesPower(canary, func(m Machine) bool {
				_, own := c.Sight.Canaries[m.WorkerGroup]
				return m.WorkerGroup == site || site == EverySite && !own
			})...)
		}
	}
	slices.Sort(warnings)
	return slices.Compact(warnings)
}

// sharesPower says why a canary may go dark together with the machines that it
// speaks for.
func (v *Inventory) sharesPower(canary Canary, spokenFor func(Machine) bool) []string {
	var warnings []string
	for _, m := range v.Machines() {
		if canary.Host != m.Addr && canary.Host != m.FQDN {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("CANARIES: %s is machine %s of the inventory, which jobs restart and switch off", canary, m.Name))
		for _, o := range m.Outlets {
			others := 0
			for _, other := range v.Machines() {
				if other.Name != m.Name && spokenFor(other) && slices.ContainsFunc(other.Outlets, func(p Outlet) bool { return p.PDU == o.PDU }) {
					others++
				}
			}
			if others > 0 {
				warnings = append(warnings, fmt.Sprintf("CANARIES: %s hangs on %s, as do %d of the machines that it speaks for", canary, o.PDU, others))
			}
		}
	}
	return warnings
}
