package activities

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/mozilla-platform-ops/roller/config"
)

// Target is the device by which a rung switches a machine's power, as the plan
// found it: all that it takes to reach it but the credentials. Off and every On
// of a rung carry the same one, so that what roller powered off it powers on,
// whatever the inventory says of the machine meanwhile. One field is set.
type Target struct {
	Outlets []TargetOutlet `json:"outlets,omitempty"`
	BMC     *TargetBMC     `json:"bmc,omitempty"`
	VM      *TargetVM      `json:"vm,omitempty"`
	ILO     *TargetILO     `json:"ilo,omitempty"`
}

// TargetOutlet is one outlet that feeds the machine.
type TargetOutlet struct {
	PDU     string             `json:"pdu"`
	Host    string             `json:"host"`
	Port    int                `json:"port"`
	Tower   int                `json:"tower,omitempty"`
	Infeed  int                `json:"infeed,omitempty"`
	Group   int                `json:"group,omitempty"`
	Number  int                `json:"number"`
	Profile *config.Profile    `json:"profile,omitempty"` // whole: a file may lose it
	Version config.SNMPVersion `json:"version,omitempty"`
	User    string             `json:"user,omitempty"` // SNMPv3's; "" is the environment's
}

// TargetBMC is the machine's BMC: by its address or, behind a chassis manager,
// by the manager's address and the way from there.
type TargetBMC struct {
	Host     string              `json:"host"`
	Port     int                 `json:"port"`
	Bridge   []string            `json:"bridge,omitempty"`
	Commands map[string][]string `json:"commands,omitempty"`
}

// TargetVM is the machine in the pool of XEN_URL.
type TargetVM struct {
	UUID string `json:"uuid"`
}

// TargetILO is the machine's iLO.
type TargetILO struct {
	Host        string             `json:"host"`
	Port        int                `json:"port"`
	Fingerprint config.Fingerprint `json:"fingerprint,omitempty"`
}

// TargetOf returns the device by which a rung switches a machine's power: what
// the rung's protocol has of the machine's entry. It is zero where it has nothing.
func TargetOf(m config.Machine, rung string) Target {
	switch protocol, _, _ := strings.Cut(rung, "_"); protocol {
	case "snmp":
		return Target{Outlets: targetOutlets(m.Outlets)}
	case "ipmi":
		return Target{BMC: targetBMC(m.IPMI)}
	case "xenapi":
		return Target{VM: targetVM(m.Xen)}
	case "ilo":
		return Target{ILO: targetILO(m.ILO)}
	default:
		return Target{}
	}
}

func targetOutlets(outlets []config.Outlet) []TargetOutlet {
	var out []TargetOutlet
	for _, o := range outlets {
		t := TargetOutlet{
			PDU: o.PDU, Host: o.Host, Port: o.Port, Tower: o.Tower, Infeed: o.Infeed, Group: o.Group,
			Number: o.Number, Profile: o.Profile, Version: o.Version,
		}
		if o.V3 != nil {
			t.User = o.V3.User
		}
		out = append(out, t)
	}
	return out
}

func targetBMC(b *config.IPMI) *TargetBMC {
	if b == nil {
		return nil
	}
	return &TargetBMC{Host: b.Host, Port: b.Port, Bridge: b.Bridge, Commands: b.Commands}
}

func targetVM(x *config.Xen) *TargetVM {
	if x == nil {
		return nil
	}
	return &TargetVM{UUID: x.UUID}
}

func targetILO(b *config.ILO) *TargetILO {
	if b == nil {
		return nil
	}
	return &TargetILO{Host: b.Host, Port: b.Port, Fingerprint: b.Fingerprint}
}

// IsZero reports whether no device is named.
func (t Target) IsZero() bool {
	return len(t.Outlets) == 0 && t.BMC == nil && t.VM == nil && t.ILO == nil
}

// String names the device for people.
func (t Target) String() string {
	var names []string
	for _, o := range t.Outlets {
		names = append(names, "outlet "+o.outlet().String())
	}
	if t.BMC != nil {
		names = append(names, strings.Join(append([]string{"BMC " + t.BMC.at().Addr()}, t.BMC.Bridge...), " "))
	}
	if t.VM != nil {
		names = append(names, "VM "+t.VM.UUID)
	}
	if t.ILO != nil {
		names = append(names, "iLO "+t.ILO.at().Addr())
	}
	return strings.Join(names, ", ")
}

// of reports whether a machine's entry names this very device.
func (t Target) of(m config.Machine) bool {
	return (t.Outlets == nil || reflect.DeepEqual(t.Outlets, targetOutlets(m.Outlets))) &&
		(t.BMC == nil || reflect.DeepEqual(t.BMC, targetBMC(m.IPMI))) &&
		(t.VM == nil || reflect.DeepEqual(t.VM, targetVM(m.Xen))) &&
		(t.ILO == nil || reflect.DeepEqual(t.ILO, targetILO(m.ILO)))
}

// put puts the device, with the credentials that the inventory has for it now,
// in the place of what the machine's entry says. Errors: NotSent where it has
// none, so that it is tried again when somebody has put them back.
func (t Target) put(v *config.Inventory, m *config.Machine) error {
	known := append([]config.Machine{*m}, v.Machines()...) // the machine's own entry first
	if t.Outlets != nil {
		m.Outlets = nil
	}
	for _, at := range t.Outlets {
		o := at.outlet()
		if at.User != "" {
			if o.V3 = snmpUserFor(known, at); o.V3 == nil {
				return notSent("%s: no entry of pdus.json has an SNMPv3 user for it any more: put that of user %q back", o, at.User)
			}
		}
		m.Outlets = append(m.Outlets, o)
	}
	if t.BMC != nil {
		account := ipmiAccountFor(known, *t.BMC)
		if account == nil {
			return notSent("BMC %s: no ipmi entry has an account for it any more: put that of %s back", t.BMC.at().Addr(), m.FQDN)
		}
		account.Host, account.Port, account.Bridge, account.Commands = t.BMC.Host, t.BMC.Port, t.BMC.Bridge, t.BMC.Commands
		m.IPMI = account
	}
	if t.VM != nil {
		m.Xen = &config.Xen{UUID: t.VM.UUID}
	}
	if t.ILO != nil {
		account := iloAccountFor(known, *t.ILO)
		account.Host, account.Port, account.Fingerprint = t.ILO.Host, t.ILO.Port, t.ILO.Fingerprint
		m.ILO = &account
	}
	return nil
}

func (o TargetOutlet) outlet() config.Outlet {
	return config.Outlet{
		PDU: o.PDU, Host: o.Host, Port: o.Port, Tower: o.Tower, Infeed: o.Infeed, Group: o.Group,
		Number: o.Number, Profile: o.Profile, Version: o.Version,
	}
}

func (b TargetBMC) at() config.IPMI { return config.IPMI{Host: b.Host, Port: b.Port} }

func (b TargetILO) at() config.ILO { return config.ILO{Host: b.Host, Port: b.Port} }

// snmpUserFor returns the account of an outlet's PDU: the one that an entry
// names for that PDU now, else the one of that name; nil if there is none.
func snmpUserFor(known []config.Machine, at TargetOutlet) *config.SNMPUser {
	var named *config.SNMPUser
	for _, m := range known {
		for _, o := range m.Outlets {
			switch {
			case o.V3 == nil:
			case o.PDU == at.PDU:
				return o.V3
			case o.V3.User == at.User:
				named = cmp.Or(named, o.V3)
			}
		}
	}
	return named
}

// ipmiAccountFor returns a copy of the entry whose account opens a BMC: one that
// names its address, the machine's own first, else the machine's own; nil if
// there is neither.
func ipmiAccountFor(known []config.Machine, at TargetBMC) *config.IPMI {
	own := known[0].IPMI
	i := slices.IndexFunc(known, func(m config.Machine) bool { return m.IPMI != nil && m.IPMI.Addr() == at.at().Addr() })
	if i >= 0 {
		own = known[i].IPMI
	}
	if own == nil {
		return nil
	}
	account := *own
	return &account
}

// iloAccountFor is ipmiAccountFor for an iLO; without any entry it is the
// account of ILO_USERNAME.
func iloAccountFor(known []config.Machine, at TargetILO) config.ILO {
	own := known[0].ILO
	i := slices.IndexFunc(known, func(m config.Machine) bool { return m.ILO != nil && m.ILO.Addr() == at.at().Addr() })
	if i >= 0 {
		own = known[i].ILO
	}
	if own == nil {
		return config.ILO{}
	}
	return *own
}

// find returns the machine of a command. Off and On, Netboot and ClearBoot act on
// the device that the command names and on no other; a machine that has left the
// inventory is powered on all the same. Off and Netboot, unless an attempt may have
// sent them already, are only for the device that the inventory still names:
// another machine may be fed by it now. Errors: UnknownMachine, NoRung and Refused say that nothing
// was sent, NotSent that something must be put back first.
func (a *Activities) find(in Command, sent bool) (config.Machine, error) {
	m, err := a.lookup(in.Machine)
	takes := in.Action == Off || in.Action == Netboot
	switch {
	case !takes && in.Action != On && in.Action != ClearBoot:
		return m, err
	case in.Target.IsZero():
		return m, refused("power %s %s: the command names no device", in.Action, in.Machine)
	case takes && !sent:
		if err == nil && !in.Target.of(m) {
			err = meaning(NoRung, "power %s %s: the inventory no longer says that it hangs on %s", in.Action, m.FQDN, in.Target)
		}
		if err != nil {
			return m, err
		}
	case err != nil && in.DownTimeout == 0:
		m = config.Machine{Name: in.Machine, FQDN: in.Machine.String()}
	case err != nil:
		return m, err
	}
	err = in.Target.put(a.Inventory(), &m)
	return m, err
}
