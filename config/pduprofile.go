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
