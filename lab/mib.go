package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"
)

// Objects of SNMPv2-MIB (RFC 3418), group system.
const (
	oidSysDescr    = ".1.3.6.1.2.1.1.1.0"
	oidSysObjectID = ".1.3.6.1.2.1.1.2.0"
	oidSysUpTime   = ".1.3.6.1.2.1.1.3.0"
)

// Objects of Server Technology's Sentry3-MIB.
const (
	oidSentry3     = ".1.3.6.1.4.1.1718.3"
	oidOutletEntry = oidSentry3 + ".2.3.1" // columns of outletEntry, indexed by tower, infeed, outlet
	columnStatus   = 5                     // outletStatus
	columnControl  = 10                    // outletControlState
	columnAction   = 11                    // outletControlAction, the only one that may be set
)

// centisecond is the unit of TimeTicks (RFC 2578, section 7.1.8).
const centisecond = 10 * time.Millisecond

// object is one readable instance.
type object struct {
	oid    string
	key    []int // the OID's numbers, for the order GetNext needs
	name   string
	outlet *outlet
	column pduColumn // of outlet
	read   func() (gosnmp.Asn1BER, any)
}

func (o *object) pdu() gosnmp.SnmpPDU {
	kind, value := o.read()
	return gosnmp.SnmpPDU{Name: o.oid, Type: kind, Value: value}
}

// objects is a PDU's whole MIB view in the order of OIDs.
func (p *pdu) objects() []*object {
	all := []*object{
		newObject(oidSysDescr, "sysDescr", func() (gosnmp.Asn1BER, any) { return gosnmp.OctetString, p.model.descr }),
		newObject(oidSysObjectID, "sysObjectID", func() (gosnmp.Asn1BER, any) { return gosnmp.ObjectIdentifier, p.model.objectID }),
		newObject(oidSysUpTime, "sysUpTime", func() (gosnmp.Asn1BER, any) {
			return gosnmp.TimeTicks, uint32(time.Since(p.started) / centisecond) //nolint:gosec // wraps after 497 days, as the RFC says
		}),
	}
	for _, o := range p.outlets {
		for _, c := range p.model.columns {
			all = append(all, o.object(c))
		}
	}
	slices.SortFunc(all, func(a, b *object) int { return slices.Compare(a.key, b.key) })
	return all
}

func (o *outlet) object(c pduColumn) *object {
	oid := c.oid + "." + fmt.Sprintf(o.pdu.model.index, o.number)
	made := newObject(oid, o.name()+" "+c.name, func() (gosnmp.Asn1BER, any) { return gosnmp.Integer, c.read(o) })
	made.outlet, made.column = o, c
	return made
}

func newObject(oid, name string, read func() (gosnmp.Asn1BER, any)) *object {
	return &object{oid: oid, key: oidKey(oid), name: name, read: read}
}

// oidKey returns the numbers of an OID; what is no number counts as 0.
func oidKey(oid string) []int {
	var key []int
	for part := range strings.SplitSeq(strings.TrimPrefix(oid, "."), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			n = 0
		}
		key = append(key, n)
	}
	return key
}

// find returns the object with this OID, or nil.
func (p *pdu) find(oid string) *object {
	at, exact := p.search(oid)
	if !exact {
		return nil
	}
	return p.mib[at]
}

// next returns the first object after an OID, or nil at the end.
func (p *pdu) next(oid string) *object {
	at, exact := p.search(oid)
	if exact {
		at++
	}
	if at >= len(p.mib) {
		return nil
	}
	return p.mib[at]
}

func (p *pdu) search(oid string) (int, bool) {
	return slices.BinarySearchFunc(p.mib, oidKey(oid), func(o *object, key []int) int {
		return slices.Compare(o.key, key)
	})
}
