package activities

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/mozilla-platform-ops/roller/config"
)

// sysObjectID says what kind of device an agent runs on (SNMPv2-MIB, RFC 3418).
const sysObjectID = ".1.3.6.1.2.1.1.2.0"

// A Get may be sent again: it changes nothing.
const (
	snmpReadTimeout = time.Second // less where a Set has not four times as much
	snmpReadRepeats = 4
)

// snmpSession is one dialogue with a PDU's agent.
type snmpSession struct {
	*gosnmp.GoSNMP
	outlet config.Outlet
	limit  time.Duration // of a Set
	close  func()
}

// snmpOpen begins a dialogue; nothing is sent. Closing also tells it apart from
// the next one: a late reply finds its socket gone.
func (a *Activities) snmpOpen(ctx context.Context, o config.Outlet) (*snmpSession, error) {
	d := a.Config.Devices
	g := &gosnmp.GoSNMP{
		Target: o.Host, Port: uint16(o.Port), Transport: "udp", //nolint:gosec // a port
		Timeout: min(snmpReadTimeout, d.SNMPTimeout.D()/4), Retries: snmpReadRepeats,
		Context: ctx, MaxOids: gosnmp.MaxOids,
	}
	switch o.Version {
	case config.SNMPv3:
		user := o.V3
		if user == nil {
			user = &d.SNMPv3
		}
		asUser(g, *user)
	case config.SNMPv1:
		g.Version, g.Community = gosnmp.Version1, a.community().Reveal()
	default:
		g.Version, g.Community = gosnmp.Version2c, a.community().Reveal()
	}
	if err := g.Connect(); err != nil {
		return nil, notSent("snmp %s: %w", o, errors.Join(err, context.Cause(ctx)))
	}
	conn := g.Conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	return &snmpSession{g, o, d.SNMPTimeout.D(), func() { stop(); _ = conn.Close() }}, nil
}

var authProtocols = map[string]gosnmp.SnmpV3AuthProtocol{
	"SHA": gosnmp.SHA, "SHA-224": gosnmp.SHA224, "SHA-256": gosnmp.SHA256, "SHA-384": gosnmp.SHA384, "SHA-512": gosnmp.SHA512,
	config.None: gosnmp.NoAuth,
}

var privProtocols = map[string]gosnmp.SnmpV3PrivProtocol{
	"AES": gosnmp.AES, "AES-256": gosnmp.AES256, "AES-256-C": gosnmp.AES256C, config.None: gosnmp.NoPriv,
}

// asUser makes a client one of SNMPv3. The configuration has seen to it that
// nothing is left out which nobody said to leave out.
func asUser(g *gosnmp.GoSNMP, u config.SNMPUser) {
	g.Version, g.SecurityModel, g.MsgFlags = gosnmp.Version3, gosnmp.UserSecurityModel, gosnmp.AuthPriv
	switch {
	case u.AuthProtocol == config.None:
		g.MsgFlags = gosnmp.NoAuthNoPriv
	case u.PrivProtocol == config.None:
		g.MsgFlags = gosnmp.AuthNoPriv
	}
	g.SecurityParameters = &gosnmp.UsmSecurityParameters{
		UserName:               u.User,
		AuthenticationProtocol: authProtocols[u.AuthProtocol], AuthenticationPassphrase: u.AuthPassword.Reveal(),
		PrivacyProtocol: privProtocols[u.PrivProtocol], PrivacyPassphrase: u.PrivPassword.Reveal(),
	}
}

// usmErrors are the reports by which an SNMPv3 agent says that it will not take
// any message of this user (RFC 3414, 3.2). It has not looked into the message.
var usmErrors = []error{
	gosnmp.ErrUnknownSecurityLevel, gosnmp.ErrUnknownUsername, gosnmp.ErrWrongDigest, gosnmp.ErrDecryption, gosnmp.ErrUnknownSecurityModels,
}

func usmRefuses(err error) bool {
	return slices.ContainsFunc(usmErrors, func(e error) bool { return errors.Is(err, e) })
}

// notAuthentic is how gosnmp v1.47.0 says that a message was not signed with our
// key; it has no value of its own. A report of a wrong password comes unsigned,
// as RFC 3414 (3.2, 6) has it, and shows as this.
const notAuthentic = "packet is not authentic"

// get reads one object.
func (s *snmpSession) get(oid string) (gosnmp.SnmpPDU, error) {
	o := s.outlet
	answer, err := s.Get([]string{oid})
	switch {
	case err != nil && (usmRefuses(err) || strings.Contains(err.Error(), notAuthentic)):
		return gosnmp.SnmpPDU{}, refused("snmp %s: the PDU refuses the SNMPv3 user: %s", o, snmpText(err))
	case err != nil && s.Context.Err() != nil:
		return gosnmp.SnmpPDU{}, notSent("snmp %s: read: %s", o, endedEarly(s.Context))
	case err != nil:
		return gosnmp.SnmpPDU{}, notSent("snmp %s: no answer to a read (the PDU cannot be reached, or the community is wrong): %s", o, snmpText(err))
	case answer.PDUType != gosnmp.GetResponse || answer.Error == gosnmp.NoError && len(answer.Variables) == 0:
		return gosnmp.SnmpPDU{}, notSent("snmp %s: the answer is not one to a read", o)
	case answer.Error == gosnmp.NoSuchName: // version 1 (RFC 1157, 4.1.2) has no types for it
		return gosnmp.SnmpPDU{Type: gosnmp.NoSuchInstance}, nil
	case snmpMeaning(answer.Error) == Unknown: // but nothing was to be changed yet
		return gosnmp.SnmpPDU{}, notSent("snmp %s: read: %s", o, answer.Error)
	case answer.Error != gosnmp.NoError:
		return gosnmp.SnmpPDU{}, meaning(snmpMeaning(answer.Error), "snmp %s: read: %s", o, answer.Error)
	}
	return answer.Variables[0], nil
}

// greet has an SNMPv3 agent say its engine's ID and time (RFC 3414, 4), so that
// a Set is the only message that is sent in its own time.
func (s *snmpSession) greet() error {
	if s.Version != gosnmp.Version3 {
		return nil
	}
	_, err := s.get(sysObjectID)
	return err
}

// profile asks the agent what it runs on.
func (s *snmpSession) profile() (*config.Profile, error) {
	v, err := s.get(sysObjectID)
	if err != nil {
		return nil, err
	}
	id, _ := v.Value.(string)
	p := config.ProfileFor(id)
	if v.Type != gosnmp.ObjectIdentifier || p == nil {
		return nil, refused("snmp %s: sysObjectID %q is of no known PDU: name the \"profile\" in pdus.json", s.outlet, id)
	}
	if err := p.Check(s.outlet); err != nil {
		return nil, refused("snmp %w (found by sysObjectID %s)", err, id)
	}
	return p, nil
}

// set sends one Set, once, and reports whether it went out.
func (s *snmpSession) set(oid string, value int) (answer *gosnmp.SnmpPacket, wentOut bool, err error) {
	s.Timeout, s.Retries = s.limit, 0
	s.OnSent = func(*gosnmp.GoSNMP) { wentOut = true }
	answer, err = s.Set([]gosnmp.SnmpPDU{{Name: oid, Type: gosnmp.Integer, Value: value}})
	return answer, wentOut, err
}
