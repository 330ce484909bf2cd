package activities

import (
	"context"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/mozilla-platform-ops/roller/config"
)

// hrSystemUptime is the time since the host was last initialized
// (HOST-RESOURCES-MIB, RFC 2790). sysUpTime of SNMPv2-MIB (RFC 3418) is the
// agent's own: an agent that restarts is no machine that does.
const hrSystemUptime = ".1.3.6.1.2.1.25.1.1.0"

// bootedAt asks the machine's SNMP agent when the machine booted, by the clock of
// this worker; zero if that cannot be had now.
func (a *Activities) bootedAt(ctx context.Context, m config.Machine) time.Time {
	if m.Uptime == nil {
		return time.Time{}
	}
	g := &gosnmp.GoSNMP{
		Target: m.Addr, Port: uint16(m.Uptime.Port), Transport: "udp", //nolint:gosec // a port
		Timeout: snmpReadTimeout, Retries: snmpReadRepeats - 1,
		Context: ctx, MaxOids: gosnmp.MaxOids,
		Version: gosnmp.Version2c, Community: a.Config.Sight.UptimeCommunity.Reveal(),
	}
	if m.Uptime.V3 != nil {
		asUser(g, *m.Uptime.V3)
	}
	if err := g.Connect(); err != nil {
		return time.Time{}
	}
	defer func() { _ = g.Conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = g.Conn.SetReadDeadline(time.Unix(1, 0)) })()
	answer, err := g.Get([]string{hrSystemUptime})
	if err != nil || answer.Error != gosnmp.NoError || len(answer.Variables) != 1 {
		return time.Time{}
	}
	ticks, ok := answer.Variables[0].Value.(uint32)
	if answer.Variables[0].Type != gosnmp.TimeTicks || !ok {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(ticks) * 10 * time.Millisecond).Round(0)
}
