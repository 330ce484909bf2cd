package lab

import (
	"fmt"

	"github.com/gosnmp/gosnmp"
)

// maxRepetitions bounds what one GetBulk may ask for: an agent may return fewer
// (RFC 3416, section 4.2.3).
const maxRepetitions = 50

// answer carries out a request and returns its response, or nil for a PDU that
// is no request.
func (p *pdu) answer(request *gosnmp.SnmpPacket, from string) *gosnmp.SnmpPacket {
	response := &gosnmp.SnmpPacket{
		Version: request.Version, Community: request.Community,
		PDUType: gosnmp.GetResponse, RequestID: request.RequestID,
	}
	switch request.PDUType {
	case gosnmp.GetRequest:
		response.Variables = p.getAll(request, from)
		if request.Version == gosnmp.Version1 {
			tellV1(response)
		}
	case gosnmp.GetNextRequest:
		response.Variables = p.nextAll(request, 1, from)
	case gosnmp.GetBulkRequest:
		response.Variables = p.nextAll(request, int(min(request.MaxRepetitions, maxRepetitions)), from)
	case gosnmp.SetRequest:
		response.Variables = request.Variables
		response.Error, response.ErrorIndex = p.setAll(request, from)
	default:
		return nil
	}
	return response
}

// tellV1 says in version 1's way what is not there: it has no types for that,
// and fails the whole request (RFC 1157, 4.1.2).
func tellV1(response *gosnmp.SnmpPacket) {
	for i, v := range response.Variables {
		if v.Type == gosnmp.NoSuchInstance {
			response.Error, response.ErrorIndex = gosnmp.NoSuchName, uint8(i+1)
			response.Variables[i].Type = gosnmp.Null
		}
	}
}

func (p *pdu) getAll(request *gosnmp.SnmpPacket, from string) []gosnmp.SnmpPDU {
	var values []gosnmp.SnmpPDU
	for _, v := range request.Variables {
		o := p.find(v.Name)
		end := p.log("get", v.Name, o, from)
		value := gosnmp.SnmpPDU{Name: v.Name, Type: gosnmp.NoSuchInstance}
		if o != nil {
			value = o.pdu()
		}
		end(o != nil)
		values = append(values, value)
	}
	return values
}

func (p *pdu) nextAll(request *gosnmp.SnmpPacket, times int, from string) []gosnmp.SnmpPDU {
	var values []gosnmp.SnmpPDU
	for i, v := range request.Variables {
		repeat := times
		if i < int(request.NonRepeaters) {
			repeat = 1
		}
		name := v.Name
		for range repeat {
			o := p.next(name)
			end := p.log("getnext", name, o, from)
			value := gosnmp.SnmpPDU{Name: name, Type: gosnmp.EndOfMibView}
			if o != nil {
				value, name = o.pdu(), o.oid
			}
			end(o != nil)
			values = append(values, value)
		}
	}
	return values
}

// setAll sets every variable or none (RFC 3416, section 4.2.5).
func (p *pdu) setAll(request *gosnmp.SnmpPacket, from string) (gosnmp.SNMPError, uint8) {
	failed, index := gosnmp.NoError, uint8(0)
	for i, v := range request.Variables {
		if refusal := p.refuseSet(request.Community, v); refusal != gosnmp.NoError {
			failed, index = refusal, uint8(i+1) // 1 is the first
			break
		}
	}
	for _, v := range request.Variables {
		o := p.find(v.Name)
		end := p.logSet(v, o, from)
		end(failed == gosnmp.NoError && !o.outlet.m.Faults().LoseCommand && o.outlet.set(o.column.actions[v.Value.(int)]))
	}
	return failed, index
}

func (p *pdu) refuseSet(community string, v gosnmp.SnmpPDU) gosnmp.SNMPError {
	o := p.find(v.Name)
	if community != CommunityWrite {
		return gosnmp.NoAccess
	}
	if o == nil || o.column.actions == nil {
		return gosnmp.NotWritable
	}
	action, ok := v.Value.(int)
	if !ok || v.Type != gosnmp.Integer {
		return gosnmp.WrongType
	}
	if _, known := o.column.actions[action]; !known {
		return gosnmp.WrongValue
	}
	return gosnmp.NoError
}

func (p *pdu) log(verb, oid string, o *object, from string) (end func(bool)) {
	e := Entry{Device: DevicePDU, Host: p.host, Command: verb + " " + oid, From: from}
	if o != nil {
		e.Command = verb + " " + o.name
	}
	if o != nil && o.outlet != nil {
		e.Machine = o.outlet.m.FQDN()
	}
	return p.lab.journal.begin(e)
}

func (p *pdu) logSet(v gosnmp.SnmpPDU, o *object, from string) (end func(bool)) {
	e := Entry{Device: DevicePDU, Host: p.host, Control: true, Command: fmt.Sprintf("set %s %v", v.Name, v.Value), From: from}
	if o != nil && o.outlet != nil {
		e.Machine = o.outlet.m.FQDN()
		value, _ := v.Value.(int)
		if action, known := o.column.actions[value]; known && v.Type == gosnmp.Integer {
			e.Command = fmt.Sprintf("set %s %s", o.outlet.name(), actionNames[action])
		}
	}
	return p.lab.journal.begin(e)
}
