package lab

import (
	"fmt"
	"net"
	"time"

	"github.com/gosnmp/gosnmp"
)

// maxDatagram is the largest UDP datagram.
const maxDatagram = 65535

// pdu is a PDU with an agent for SNMP v1 and v2c. Like the real ones it deals
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
}

func startPDU(l *Lab, host, model, addr string, machines []*Machine) (*pdu, error) {
	if pduModels[model] == nil {
		return nil, fmt.Errorf("no PDU model is called %q", model)
	}
	conn, err := listenUDP(addr, PDUPort)
	if err != nil {
		return nil, err
	}
	p := &pdu{lab: l, model: pduModels[model], host: host, addr: addr, conn: conn, started: time.Now()}
	for i, m := range machines {
		m.outlet = &outlet{pdu: p, number: i + 1, m: m, on: true, control: controlIdleOn}
		p.outlets = append(p.outlets, m.outlet)
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
// SNMP v1 or v2c, for a community it does not know, and for what the faults lose.
func (p *pdu) handle(datagram []byte, from string) []byte {
	decoder := &gosnmp.GoSNMP{Version: gosnmp.Version2c}
	request, err := decoder.SnmpDecodePacket(datagram)
	if err != nil || request.Version != gosnmp.Version1 && request.Version != gosnmp.Version2c {
		return nil
	}
	if request.Community != CommunityRead && request.Community != CommunityWrite {
		p.lab.journal.begin(Entry{Device: DevicePDU, Host: p.host, Command: "unknown community", From: from})(false)
		return nil
	}
	machines := p.concerned(request)
	if p.dead(machines) {
		return nil
	}
	answer := p.answer(request, from)
	if answer == nil || losesAny(machines, request.PDUType == gosnmp.SetRequest) {
		return nil
	}
	reply, err := answer.MarshalMsg()
	if err != nil {
		p.lab.journal.log.Error("snmp reply", "host", p.host, "err", err)
		return nil
	}
	return reply
}

// concerned returns the machines whose outlets a request names.
func (p *pdu) concerned(request *gosnmp.SnmpPacket) []*Machine {
	var machines []*Machine
	for _, v := range request.Variables {
		if o := p.find(v.Name); o != nil && o.outlet != nil {
			machines = append(machines, o.outlet.m)
		}
	}
	return machines
}

// dead reports whether one of the machines, or every machine of the PDU, has
// the fault PDUDead.
func (p *pdu) dead(machines []*Machine) bool {
	for _, m := range machines {
		if m.Faults().PDUDead {
			return true
		}
	}
	for _, o := range p.outlets {
		if !o.m.Faults().PDUDead {
			return false
		}
	}
	return true
}

func losesAny(machines []*Machine, control bool) bool {
	lost := false
	for _, m := range machines {
		f := m.Faults()
		lost = lost || control && (f.LoseCommandReply || f.LoseCommand) || m.losesReply()
	}
	return lost
}
