package lab

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/gosnmp/gosnmp"
)

// maxDatagram is the largest UDP datagram.
const maxDatagram = 65535

// pdu is a PDU with an agent for SNMP v1, v2c and v3. Like the real ones it deals
// with one request after the other.
type pdu struct {
	lab     *Lab
	model   *pduModel
	host    string
	addr    string
	conn    *net.UDPConn
	started time.Time
	outlets []*outlet
	mib     []*object
	usm     *usm
}

func startPDU(l *Lab, r *rack, addr string, machines []*Machine) (*pdu, error) {
	if pduModels[r.model] == nil {
		return nil, fmt.Errorf("no PDU model is called %q", r.model)
	}
	users, err := newUSM(r.host)
	if err != nil {
		return nil, fmt.Errorf("PDU %s: SNMPv3: %w", r.host, err)
	}
	conn, err := listenUDP(addr, PDUPort)
	if err != nil {
		return nil, err
	}
	p := &pdu{lab: l, model: pduModels[r.model], host: r.host, addr: addr, conn: conn, started: time.Now(), usm: users}
	for i, m := range machines {
		o := &outlet{pdu: p, number: i + 1, m: m, second: r.second, on: true, control: controlIdleOn}
		if r.second {
			m.second = o
		} else {
			m.outlet = o
		}
		p.outlets = append(p.outlets, o)
	}
	p.mib = p.objects()
	l.running.Go(p.serve)
	return p, nil
}

func (p *pdu) stop() error {
	for _, o := range p.outlets {
		o.stop()
	}
	return p.conn.Close()
}

func (p *pdu) serve() {
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := p.conn.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		if reply := p.handle(buffer[:n], from.String()); reply != nil {
			_, _ = p.conn.WriteToUDP(reply, from) // a client that has gone
		}
	}
}

// handle returns the reply to one datagram, or nil for silence: for what is no
// SNMP, for a community it does not know, and for what the faults lose.
func (p *pdu) handle(datagram []byte, from string) []byte {
	decoder := &gosnmp.GoSNMP{Version: gosnmp.Version2c}
	request, err := decoder.SnmpDecodePacket(append([]byte(nil), datagram...))
	var report *gosnmp.SnmpPacket
	switch {
	case request.Version == gosnmp.Version3:
		if request, report = p.usm.open(datagram); report != nil && !p.dead(nil) {
			return p.marshal(report)
		}
		if request == nil {
			return nil
		}
		request.Community = CommunityWrite // what the user may do
	case err != nil || request.Version != gosnmp.Version1 && request.Version != gosnmp.Version2c:
		return nil
	case request.Community != CommunityRead && request.Community != CommunityWrite:
		p.lab.journal.begin(Entry{Device: DevicePDU, Host: p.host, Command: "unknown community", From: from})(false)
		return nil
	}
	outlets := p.concerned(request)
	if p.dead(outlets) {
		return nil
	}
	answer := p.answer(request, from)
	if answer == nil || losesAny(outlets, request.PDUType == gosnmp.SetRequest) {
		return nil
	}
	if request.Version == gosnmp.Version3 {
		if err := p.usm.seal(answer, request); err != nil {
			p.lab.journal.log.Error("snmp reply", "host", p.host, "err", err)
			return nil
		}
	}
	return p.marshal(answer)
}

func (p *pdu) marshal(answer *gosnmp.SnmpPacket) []byte {
	reply, err := answer.MarshalMsg()
	if err != nil {
		p.lab.journal.log.Error("snmp reply", "host", p.host, "err", err)
		return nil
	}
	return reply
}

// concerned returns the outlets that a request names.
func (p *pdu) concerned(request *gosnmp.SnmpPacket) []*outlet {
	var outlets []*outlet
	for _, v := range request.Variables {
		if o := p.find(v.Name); o != nil && o.outlet != nil {
			outlets = append(outlets, o.outlet)
		}
	}
	return outlets
}

// dead reports whether the PDU is silent about one of these outlets, or about
// every one it has.
func (p *pdu) dead(outlets []*outlet) bool {
	return slices.ContainsFunc(outlets, (*outlet).dead) || !slices.ContainsFunc(p.outlets, func(o *outlet) bool { return !o.dead() })
}

func losesAny(outlets []*outlet, control bool) bool {
	lost := false
	for _, o := range outlets {
		f := o.m.Faults()
		lost = lost || control && (f.LoseCommandReply || f.LoseCommand) || o.m.losesReply()
	}
	return lost
}
