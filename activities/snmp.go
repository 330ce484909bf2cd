package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gosnmp/gosnmp"

	"github.com/mozilla-platform-ops/roller/config"
)

// SNMPOutlet switches the outlets that feed a machine. Actions: Reboot (one
// outlet, by the PDU itself), Off and On (all of them).
func (a *Activities) SNMPOutlet(ctx context.Context, in Command) (CommandResult, error) {
	res, err := a.command(ctx, in, deed{
		protocol: "snmp",
		actions:  []Action{Reboot, Off, On},
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

// reading is an outlet with its PDU's profile and what its status said, or why it
// said nothing.
type reading struct {
	config.Outlet
	state string
	err   error
}

// snmpSet sends one Set for each outlet. A Set acts as often as it arrives, so
// it is never repeated; a Get before it, which may be, shows that the PDU is
// there, knows the outlet and accepts the credentials. Off and Reboot need all
// PDUs; On gives power by each that answers, for one is enough to run on.
func (a *Activities) snmpSet(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
	if n := len(m.Outlets); n > 1 && action == Reboot {
		return "", refused("%s is fed by %d outlets: one command cannot reboot it", m.FQDN, n)
	}
	outlets, err := a.snmpStates(ctx, m)
	if err != nil && action != On {
		return "", err
	}
	if o := outlets[0]; action == Reboot && o.Profile.Reboot.OID == "" {
		return "", refused("snmp %s: %s has no command that reboots", o, o.Profile.Name)
	}
	var done, maybe []string // switched for certain, and perhaps
	var failed error
	for _, o := range outlets {
		if o.err != nil {
			failed = cmp.Or(failed, o.err)
			continue
		}
		if action != Reboot && o.state == string(action) {
			continue
		}
		what, fenced := fmt.Sprintf("%s %s", o, action), false
		err := a.snmpSetOne(ctx, o.Outlet, action, func() error { err := ready(); fenced = err != nil; return err })
		switch {
		case err == nil:
			done = append(done, what)
			continue
		case MeaningOf(err) == Unknown:
			maybe = append(maybe, what)
		}
		failed = cmp.Or(failed, err)
		if action != On || fenced {
			break
		}
	}
	sent := strings.Join(append(done, maybe...), ", ")
	switch {
	case failed != nil && len(done) > 0: // some outlets have been switched, so it is not "not sent"
		// Only the text: a cancel that came then does not undo what is done.
		return sent, unknown("after %s: %w", strings.Join(done, ", "), errors.New(failed.Error()))
	case failed != nil && len(maybe) > 0:
		return sent, unknown("%w", failed)
	}
	return sent, failed
}

// snmpSetOne asks ready just before the Set goes out.
func (a *Activities) snmpSetOne(ctx context.Context, o config.Outlet, action Action, ready func() error) error {
	s, err := a.snmpOpen(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.greet(); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	return s.setOutlet(o, action)
}

// setOutlet sends the one Set and gives its answer a meaning.
func (s *snmpSession) setOutlet(o config.Outlet, action Action) error {
	to := map[Action]config.Setting{Reboot: o.Profile.Reboot, Off: o.Profile.Off, On: o.Profile.On}[action]
	answer, wentOut, err := s.set(o.Profile.At(to.OID, o), to.Value)
	switch {
	case err != nil && !wentOut:
		return notSent("snmp %s: set: %s", o, snmpText(err))
	case err != nil && usmRefuses(err):
		return refused("snmp %s: set %s: %s", o, action, snmpText(err))
	case err != nil:
		return unheard(s.Context, fmt.Sprintf("snmp %s: set %s", o, action), fmt.Errorf("no answer that can be read within %s: %s", s.limit, snmpText(err)))
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
// else says each: a machine of which one outlet is on, or does not say, is not
// off. It is an error only if no PDU answers.
func (a *Activities) snmpPower(ctx context.Context, m config.Machine) (string, error) {
	outlets, err := a.snmpStates(ctx, m)
	if err != nil && !slices.ContainsFunc(outlets, func(o reading) bool { return o.err == nil }) {
		return "", err
	}
	var states []string
	for _, o := range outlets {
		if o.err != nil {
			o.state = "no answer"
		}
		states = append(states, o.state)
	}
	if slices.ContainsFunc(states, func(s string) bool { return s != states[0] }) {
		return strings.Join(states, "+"), nil
	}
	return states[0], nil
}

// snmpStates reads every outlet; its error is the first of theirs.
func (a *Activities) snmpStates(ctx context.Context, m config.Machine) ([]reading, error) {
	outlets := make([]reading, 0, len(m.Outlets))
	var failed error
	for _, o := range m.Outlets {
		read, err := a.snmpState(ctx, o)
		read.Outlet, read.err = cmp.Or(read.Outlet, o), err
		outlets = append(outlets, read)
		failed = cmp.Or(failed, err)
	}
	return outlets, failed
}

// snmpState reads the status column, having asked the PDU what it is where the
// inventory does not say.
func (a *Activities) snmpState(ctx context.Context, o config.Outlet) (reading, error) {
	s, err := a.snmpOpen(ctx, o)
	if err != nil {
		return reading{}, err
	}
	defer s.close()
	if o.Profile == nil {
		if o.Profile, err = s.profile(); err != nil {
			return reading{}, err
		}
	}
	v, err := s.get(o.Profile.At(o.Profile.Status, o))
	if err != nil {
		return reading{}, err
	}
	if v.Type != gosnmp.Integer { // noSuchInstance and noSuchObject (RFC 3416, 4.2.1) come as types
		return reading{}, refused("snmp %s: the PDU has no such outlet (%s)", o, v.Type)
	}
	return reading{Outlet: o, state: o.Profile.State(int(gosnmp.ToBigInt(v.Value).Int64()))}, nil
}

// community is SNMP_COMMUNITY, or else what the inventory's one file says.
func (a *Activities) community() config.Secret {
	if c := a.Config.Devices.SNMPCommunity; !c.IsZero() {
		return c
	}
	return a.Inventory().Community
}

// snmpText is the library's error without the stack of all goroutines that it
// adds when a datagram makes it panic.
func snmpText(err error) string {
	text, _, _ := strings.Cut(err.Error(), " Stack:")
	return text
}
