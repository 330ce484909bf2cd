package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Profile is how one family of PDUs is spoken to over SNMP. Columns are OIDs
// without the outlet's index.
type Profile struct {
	Name   string
	Models []string       // prefixes of sysObjectID by which it is found; none: it must be named
	Index  Index          // what follows a column
	Group  int            // with IndexGroup: of an outlet whose name has none
	Status string         // column to be read
	States map[int]string // values of Status: "on", "off" and others
	On     Setting
	Off    Setting
	Reboot Setting // no OID: the family has no such command
}

// Setting is what is written to a column.
type Setting struct {
	OID   string
	Value int
}

// Index is the form of an outlet's index in a table, and so of its name.
type Index string

// The forms.
const (
	IndexTower  Index = "tower.infeed.outlet" // AB12 is 1.2.12
	IndexOutlet Index = "outlet"              // 7
	IndexGroup  Index = "group.outlet"        // 1.24; the group may be left out
)

const (
	on      = "on"
	off     = "off"
	pending = "changing"
)

const enterprises = ".1.3.6.1.4.1." // SNMPv2-SMI

// profiles are the families known by name. Each says which MIB its numbers are
// from.
var profiles = []*Profile{
	{ // Sentry3-MIB (Server Technology): outletStatus, outletControlAction
		Name: "sentry3", Models: []string{enterprises + "1718.3"}, Index: IndexTower,
		Status: enterprises + "1718.3.2.3.1.5",
		States: map[int]string{0: off, 1: on, 2: "off-wait", 3: "on-wait", 4: "off-error", 5: "on-error", 6: "no-comm", 7: "reading", 8: "off-fuse", 9: "on-fuse"},
		On:     Setting{enterprises + "1718.3.2.3.1.11", 1}, Off: Setting{enterprises + "1718.3.2.3.1.11", 2}, Reboot: Setting{enterprises + "1718.3.2.3.1.11", 3},
	},
	{ // Sentry4-MIB (Server Technology): st4OutletState, st4OutletControlAction
		Name: "sentry4", Models: []string{enterprises + "1718.4"}, Index: IndexTower,
		Status: enterprises + "1718.4.1.8.3.1.1", States: map[int]string{0: "unknown", 1: on, 2: off},
		On: Setting{enterprises + "1718.4.1.8.5.1.2", 1}, Off: Setting{enterprises + "1718.4.1.8.5.1.2", 2}, Reboot: Setting{enterprises + "1718.4.1.8.5.1.2", 3},
	},
	{ // PowerNet-MIB (APC; masterSwitchrPDU): rPDUOutletStatusOutletState, rPDUOutletControlOutletCommand
		Name: "apc_rpdu", Models: []string{enterprises + "318.1.3.4.5"}, Index: IndexOutlet,
		Status: enterprises + "318.1.1.12.3.5.1.1.4", States: map[int]string{1: on, 2: off},
		On: Setting{enterprises + "318.1.1.12.3.3.1.1.4", 1}, Off: Setting{enterprises + "318.1.1.12.3.3.1.1.4", 2}, Reboot: Setting{enterprises + "318.1.1.12.3.3.1.1.4", 3},
	},
	{ // PowerNet-MIB (masterSwitchrPDU2): rPDU2OutletSwitchedStatusState, rPDU2OutletSwitchedControlCommand
		Name: "apc_rpdu2", Models: []string{enterprises + "318.1.3.4.6"}, Index: IndexOutlet,
		Status: enterprises + "318.1.1.26.9.2.3.1.5", States: map[int]string{1: off, 2: on},
		On: Setting{enterprises + "318.1.1.26.9.2.4.1.5", 1}, Off: Setting{enterprises + "318.1.1.26.9.2.4.1.5", 2}, Reboot: Setting{enterprises + "318.1.1.26.9.2.4.1.5", 3},
	},
	{ // PowerNet-MIB (masterSwitchV1 to 3): sPDUOutletCtl, which reads as the outlet's state
		Name: "apc_masterswitch", Models: []string{enterprises + "318.1.3.4.1", enterprises + "318.1.3.4.2", enterprises + "318.1.3.4.3"}, Index: IndexOutlet,
		Status: enterprises + "318.1.1.4.4.2.1.3", States: map[int]string{1: on, 2: off, 3: pending, 4: "unknown", 5: pending, 6: pending, 7: pending},
		On: Setting{enterprises + "318.1.1.4.4.2.1.3", 1}, Off: Setting{enterprises + "318.1.1.4.4.2.1.3", 2}, Reboot: Setting{enterprises + "318.1.1.4.4.2.1.3", 3},
	},
	{ // PDU2-MIB (Raritan): outletSwitchingState, switchingOperation; index pduId (1) and outlet
		Name: "raritan_px2", Models: []string{enterprises + "13742.6"}, Index: IndexGroup, Group: 1,
		Status: enterprises + "13742.6.4.1.2.1.3", States: map[int]string{7: on, 8: off},
		On: Setting{enterprises + "13742.6.4.1.2.1.2", 1}, Off: Setting{enterprises + "13742.6.4.1.2.1.2", 0}, Reboot: Setting{enterprises + "13742.6.4.1.2.1.2", 2},
	},
	{ // EATON-EPDU-MIB: outletControlStatus, and a column for each command whose value is a delay in seconds; index strappingIndex (0) and outlet
		Name: "eaton_epdu", Models: []string{enterprises + "534.6.6.7"}, Index: IndexGroup,
		Status: enterprises + "534.6.6.7.6.6.1.2", States: map[int]string{0: off, 1: on, 2: pending, 3: pending},
		On: Setting{enterprises + "534.6.6.7.6.6.1.4", 0}, Off: Setting{enterprises + "534.6.6.7.6.6.1.3", 0}, Reboot: Setting{enterprises + "534.6.6.7.6.6.1.5", 0},
	},
	{ // CPS-MIB (CyberPower): ePDUOutletStatusOutletState, ePDUOutletControlOutletCommand
		Name: "cyberpower", Models: []string{enterprises + "3808.1.1.3"}, Index: IndexOutlet,
		Status: enterprises + "3808.1.1.3.3.5.1.1.4", States: map[int]string{1: on, 2: off},
		On: Setting{enterprises + "3808.1.1.3.3.3.1.1.4", 1}, Off: Setting{enterprises + "3808.1.1.3.3.3.1.1.4", 2}, Reboot: Setting{enterprises + "3808.1.1.3.3.3.1.1.4", 3},
	},
	{ // TRIPPLITE-PRODUCTS: tlpPduOutletState, tlpPduOutletCommand; index device (1) and outlet
		Name: "tripplite", Models: []string{enterprises + "850.1"}, Index: IndexGroup, Group: 1,
		Status: enterprises + "850.1.1.3.2.3.3.1.1.4", States: map[int]string{0: "unknown", 1: off, 2: on},
		On: Setting{enterprises + "850.1.1.3.2.3.3.1.1.6", 2}, Off: Setting{enterprises + "850.1.1.3.2.3.3.1.1.6", 1}, Reboot: Setting{enterprises + "850.1.1.3.2.3.3.1.1.6", 3},
	},
	{ // POWER-ETHERNET-MIB (RFC 3621): pethPsePortAdminEnable, a TruthValue (RFC 2579); index group (1) and port. Any vendor's switch has it.
		Name: "poe", Index: IndexGroup, Group: 1,
		Status: ".1.3.6.1.2.1.105.1.1.1.3", States: map[int]string{1: on, 2: off},
		On: Setting{".1.3.6.1.2.1.105.1.1.1.3", 1}, Off: Setting{".1.3.6.1.2.1.105.1.1.1.3", 2},
	},
}

// Profiles returns the families known by name, in a fixed order. They must not
// be changed.
func Profiles() []*Profile { return slices.Clone(profiles) }

func profileNames() []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return names
}

// ProfileFor returns the family of a sysObjectID (SNMPv2-MIB), by the longest
// prefix of whole numbers; nil if none is known.
func ProfileFor(objectID string) *Profile {
	objectID = "." + strings.TrimPrefix(objectID, ".") + "."
	var found *Profile
	longest := 0
	for _, p := range profiles {
		for _, model := range p.Models {
			if strings.HasPrefix(objectID, model+".") && len(model) > longest {
				found, longest = p, len(model)
			}
		}
	}
	return found
}

// Check says why an outlet's name cannot be one of this family; nil if it can.
func (p *Profile) Check(o Outlet) error {
	switch {
	case (p.Index == IndexTower) != (o.Tower != 0):
		return fmt.Errorf("%s is not an outlet of %s: their names are like %s", o, p.Name, p.example())
	case o.Group != 0 && p.Index != IndexGroup:
		return fmt.Errorf("%s is not an outlet of %s, which has no groups: their names are like %s", o, p.Name, p.example())
	}
	return nil
}

func (p *Profile) example() string {
	return map[Index]string{IndexTower: "pdu1.example:AB12", IndexOutlet: "pdu1.example:7", IndexGroup: "pdu1.example:7 or pdu1.example:1.7"}[p.Index]
}

// At returns the instance of a column for an outlet.
func (p *Profile) At(column string, o Outlet) string {
	switch p.Index {
	case IndexTower:
		return fmt.Sprintf("%s.%d.%d.%d", column, o.Tower, o.Infeed, o.Number)
	case IndexGroup:
		return fmt.Sprintf("%s.%d.%d", column, cmp.Or(o.Group, p.Group), o.Number)
	default:
		return fmt.Sprintf("%s.%d", column, o.Number)
	}
}

// State is a value of the status column in words.
func (p *Profile) State(value int) string {
	if s, ok := p.States[value]; ok {
		return s
	}
	return fmt.Sprintf("status %d", value)
}
