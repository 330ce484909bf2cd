package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/mozilla-platform-ops/roller/config"
)

// Server Technology's Sentry3-MIB, outletTable; a column's instance is
// tower.infeed.outlet.
const (
	sentryOutlet = ".1.3.6.1.4.1.1718.3.2.3.1."
	sentryStatus = sentryOutlet + "5"  // outletStatus
	sentryAction = sentryOutlet + "11" // outletControlAction
)

// Values of outletControlAction.
var sentryActions = map[Action]int{On: 1, Off: 2, Reboot: 3}

// Values of outletStatus. Only the first two say what the outlet gives.
var sentryStates = []string{string(Off), string(On), "off-wait", "on-wait", "off-error", "on-error", "no-comm", "reading", "off-fuse", "on-fuse"}

// A Get may be sent again: it changes nothing.
const (
	snmpReadTimeout = time.Second // less where a Set has not four times as much
	snmpReadRepeats = 4
)

// SNMPOutlet switches the outlets that feed a machine. Actions: Reboot (one
// outlet, by the PDU itself), Off and On (all of them).
func (a *Activities) SNMPOutlet(ctx context.Context, in Command) (CommandResult, error) {
	res, err := a.command(ctx, in, deed{
		actions: []Action{Reboot, Off, On},
		missing: func(m config.Machine) string {
			if len(m.Outlets) == 0 {
				return "no pdu entry in the inventory"
			}
			return ""
		},
		send:   a.snmpSet,
		power:  a.snmpPower,
		verify: a.Config.Devices.SNMPVerify.D(),
	})
	return res, fail(err)
}

// snmpSet sends one Set for each outlet. A Set acts as often as it arrives, so
// it is never repeated; a Get before it, which may be, shows that the PDU is
// there, knows the outlet and accepts the community.
func (a *Activities) snmpSet(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
	if n := len(m.Outlets); n > 1 && action == Reboot {
		return "", refused("%s is fed by %d outlets: use snmp_rebootdelay", m.FQDN, n)
	}
	states, err := a.snmpStates(ctx, m)
	if err != nil {
		return "", err
	}
	if err := ready(); err != nil {
		return "", err
	}
	var sent []string
	for i, o := range m.Outlets {
		if action != Reboot && states[i] == string(action) {
			continue
		}
		what := fmt.Sprintf("%s %s", o, action)
		err := a.snmpSetOne(ctx, o, action)
		switch {
		case err == nil:
		case len(sent) > 0: // some outlets have been switched, so it is not "not sent"
			return strings.Join(append(sent, what), ", "), unknown("after %s: %w", strings.Join(sent, ", "), err)
		case MeaningOf(err) == Unknown:
			return what, err
		default:
			return "", err
		}
		sent = append(sent, what)
	}
	return strings.Join(sent, ", "), nil
}

func (a *Activities) snmpSetOne(ctx context.Context, o config.Outlet, action Action) error {
	g, closeIt, err := a.snmpOpen(ctx, o, a.Config.Devices.SNMPTimeout.D(), 0)
	if err != nil {
		return err
	}
	defer closeIt()
	wentOut := false
	g.OnSent = func(*gosnmp.GoSNMP) { wentOut = true }
	answer, err := g.Set([]gosnmp.SnmpPDU{{Name: oid(sentryAction, o), Type: gosnmp.Integer, Value: sentryActions[action]}})
	switch {
	case err != nil && !wentOut:
		return notSent("snmp %s: set: %s", o, snmpText(err))
	case err != nil:
		return unknown("snmp %s: set %s: no answer that can be read within %s: %s", o, action, a.Config.Devices.SNMPTimeout, snmpText(err))
	case answer.PDUType != gosnmp.GetResponse || answer.Error == gosnmp.NoError && len(answer.Variables) == 0:
		return unknown("snmp %s: set %s: the answer is not one to a set", o, action)
	case answer.Error != gosnmp.NoError:
		return meaning(snmpMeaning(answer.Error), "snmp %s: set %s: %s", o, action, answer.Error)
	}
	return nil
}

// snmpMeaning is what an error status says about a Set (RFC 3416, 4.2.5).
func snmpMeaning(status gosnmp.SNMPError) Meaning {
	switch status {
	case gosnmp.ResourceUnavailable:
		return NotSent
	case gosnmp.GenErr, gosnmp.UndoFailed:
		return Unknown
	default:
		return Refused
	}
}

// snmpPower is "on" or "off" when all outlets that feed the machine are, and
// else says each.
func (a *Activities) snmpPower(ctx context.Context, m config.Machine) (string, error) {
	states, err := a.snmpStates(ctx, m)
	if err != nil {
		return "", err
	}
	for _, s := range states {
		if s != states[0] {
			return strings.Join(states, "+"), nil
		}
	}
	return states[0], nil
}

func (a *Activities) snmpStates(ctx context.Context, m config.Machine) ([]string, error) {
	states := make([]string, 0, len(m.Outlets))
	for _, o := range m.Outlets {
		state, err := a.snmpState(ctx, o)
		if err != nil {
			return nil, err
		}
		states = append(states, state)
	}
	return states, nil
}

// snmpState reads the status column: the action column reads back 0.
func (a *Activities) snmpState(ctx context.Context, o config.Outlet) (string, error) {
	g, closeIt, err := a.snmpOpen(ctx, o, min(snmpReadTimeout, a.Config.Devices.SNMPTimeout.D()/4), snmpReadRepeats)
	if err != nil {
		return "", err
	}
	defer closeIt()
	answer, err := g.Get([]string{oid(sentryStatus, o)})
	if err != nil {
		return "", notSent("snmp %s: no answer to a read (the PDU cannot be reached, or the community is wrong): %s", o, snmpText(err))
	}
	if answer.PDUType != gosnmp.GetResponse || answer.Error == gosnmp.NoError && len(answer.Variables) == 0 {
		return "", notSent("snmp %s: the answer is not one to a read", o)
	}
	if answer.Error != gosnmp.NoError {
		return "", meaning(snmpMeaning(answer.Error), "snmp %s: read: %s", o, answer.Error)
	}
	if v := answer.Variables[0]; v.Type == gosnmp.Integer {
		n := int(gosnmp.ToBigInt(v.Value).Int64())
		if n >= 0 && n < len(sentryStates) {
			return sentryStates[n], nil
		}
		return fmt.Sprintf("status %d", n), nil
	}
	// noSuchInstance and noSuchObject (RFC 3416, 4.2.1) come as types.
	return "", refused("snmp %s: the PDU has no such outlet (%s)", o, answer.Variables[0].Type)
}

// snmpOpen returns a client for one dialogue, and what ends it. Closing also
// tells it apart from the next one: a late reply finds its socket gone.
func (a *Activities) snmpOpen(ctx context.Context, o config.Outlet, timeout time.Duration, repeats int) (*gosnmp.GoSNMP, func(), error) {
	g := &gosnmp.GoSNMP{
		Target: o.Host, Port: uint16(o.Port), Transport: "udp", //nolint:gosec // a port
		Version: gosnmp.Version2c, Community: a.community().Reveal(),
		Timeout: timeout, Retries: repeats, Context: ctx, MaxOids: gosnmp.MaxOids,
	}
	if err := g.Connect(); err != nil {
		return nil, nil, notSent("snmp %s: %w", o, errors.Join(err, context.Cause(ctx)))
	}
	conn := g.Conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	return g, func() { stop(); _ = conn.Close() }, nil
}

// community is SNMP_COMMUNITY, or else what the inventory's one file says.
func (a *Activities) community() config.Secret {
	if c := a.Config.Devices.SNMPCommunity; !c.IsZero() {
		return c
	}
	return a.Inventory().Community
}

func oid(column string, o config.Outlet) string {
	return fmt.Sprintf("%s.%d.%d.%d", column, o.Tower, o.Infeed, o.Number)
}

// snmpText is the library's error without the stack of all goroutines that it
// adds when a datagram makes it panic.
func snmpText(err error) string {
	text, _, _ := strings.Cut(err.Error(), " Stack:")
	return text
}
