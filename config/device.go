package config

import (
	"cmp"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// DeviceKind is what kind of thing carries out a rung.
type DeviceKind string

// Kinds of devices. A machine's own operating system is none: its job has it.
const (
	BMC     DeviceKind = "bmc"     // of one machine, by IPMI and by Redfish
	Chassis DeviceKind = "chassis" // a chassis manager, by bridged IPMI and by HP's REST
	PDU     DeviceKind = "pdu"     // or a switch that powers its ports
	Pool    DeviceKind = "xen"     // a Xen pool
)

// Device is what is spoken to by one command at a time, whoever sends it.
type Device struct {
	Kind DeviceKind
	Name string // its host, in lower case
}

// String returns the form used in workflow IDs and logs, "pdu/pdu1.example".
func (d Device) String() string { return string(d.Kind) + "/" + d.Name }

// Of returns the devices that a task, or a rung, speaks to on this machine, in
// the one order in which all take their turns at several. It is the only place
// that says which machines share what. IPMI and HTTPS to one controller are one
// device.
func (d Devices) Of(m Machine, task string) []Device {
	switch protocol, _, _ := strings.Cut(CanonicalTask(task), "_"); {
	case protocol == "ipmi" && m.IPMI != nil && len(m.IPMI.Bridge) > 0:
		return []Device{{Chassis, canonicalHost(m.IPMI.Host)}}
	case protocol == "ipmi" && m.IPMI != nil:
		return []Device{{BMC, at(m.IPMI.Host, m.IPMI.Port, ipmiPort)}}
	case protocol == "ilo" && m.ILO != nil:
		return []Device{{BMC, at(m.ILO.Host, m.ILO.Port, httpsPort)}}
	case protocol == "moonshot" && m.Moonshot != nil:
		return []Device{{Chassis, canonicalHost(m.Moonshot.Host)}}
	case protocol == "snmp":
		return m.pdus()
	case protocol == "xenapi" && m.Xen != nil:
		return []Device{{Pool, canonicalHost(hostOf(d.XenURL))}}
	}
	return nil
}

// Interval is the least time between two turns at a device.
func (d Devices) Interval(kind DeviceKind) Duration {
	switch kind {
	case BMC:
		return d.BMCInterval
	case Chassis:
		return d.ChassisInterval
	default:
		return d.DeviceInterval
	}
}

// LongestSend is how long one control command to a kind of device may be under way.
func (d Devices) LongestSend(kind DeviceKind) Duration {
	switch kind {
	case PDU:
		return d.SNMPTimeout
	case Pool:
		return d.XenTimeout
	default:
		return max(d.IPMITimeout, d.ILOTimeout)
	}
}

// pdus returns what feeds the machine; no PDU has two names in an inventory.
func (m Machine) pdus() []Device {
	var all []Device
	for _, o := range m.Outlets {
		all = append(all, Device{PDU, o.PDU})
	}
	slices.SortFunc(all, func(a, b Device) int { return cmp.Compare(a.Name, b.Name) })
	return slices.Compact(all)
}

// at names a controller by its host, and by its port only where that is not its
// protocol's own: then many may stand behind one address.
func at(host string, port, usual int) string {
	if port == usual || port == 0 {
		return canonicalHost(host)
	}
	return dialled(canonicalHost(host), port)
}

// canonicalHost writes a host name or an IP address in one way.
func canonicalHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Hostname()
}
