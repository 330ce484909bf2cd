package config

import (
	"fmt"
	"net"
	"strconv"
)

// Name is a machine's canonical name: lower-case worker ID and worker group,
// as the inventory spells them. Every spelling a person may use (letter case,
// group "none", the full host name) resolves to one Name, so that one machine
// can never be two. Only Inventory.Resolve makes one.
type Name struct {
	WorkerID    string `json:"worker_id"`
	WorkerGroup string `json:"worker_group"`
}

// String returns "group/id", the form used in workflow IDs and logs.
func (n Name) String() string { return n.WorkerGroup + "/" + n.WorkerID }

// Machine is one entry of the inventory, merged from all files that name it.
// A nil pointer or an empty slice means that the machine has no such access,
// and the rungs that need it are skipped.
type Machine struct {
	Name
	FQDN    string   // the key of the inventory files, in lower case
	Addr    string   // where the machine itself is probed and dialled: FQDN unless ssh.json says "addr"
	Probe   Probe    // how to see whether it is up
	SSH     *SSH     // FQDN_TO_SSH_FILE
	Uptime  *Uptime  // FQDN_TO_SSH_FILE
	IPMI    *IPMI    // FQDN_TO_IPMI_FILE
	Outlets []Outlet // FQDN_TO_PDU_FILE
	Xen     *Xen     // FQDN_TO_XEN_FILE
	BugCC   []string // WORKER_CONFIG_PATH's bug_cc: who is copied on the machine's bugs

	ILO      *ILO      // FQDN_TO_ILO_FILE, or WORKER_CONFIG_PATH's ilo
	Moonshot *Moonshot // FQDN_TO_MOONSHOT_FILE
	Queue    *Queue    // FQDN_TO_TASKCLUSTER_FILE, or WORKER_CONFIG_PATH's taskcluster
}

// Probe says how roller sees whether a machine is up: an ICMP echo, or a TCP
// connection for machines that drop ICMP.
type Probe struct {
	Network string // "icmp" or "tcp"
	Port    int    // TCP port; 0 for icmp
}

// String returns the form of the inventory files: "icmp" or "tcp:22".
func (p Probe) String() string {
	if p.Network == "tcp" {
		return "tcp:" + strconv.Itoa(p.Port)
	}
	return "icmp"
}

// Uptime is the SNMP agent of the machine itself, which tells for how long the
// machine has been up.
type Uptime struct {
	Port int       // UDP, 161 unless the entry says otherwise
	V3   *SNMPUser // nil: version 2c, with UPTIME_COMMUNITY
}

// SSH is the account on the machine that may do nothing but reboot.
type SSH struct {
	User    string
	KeyFile string // path of the private key on the worker, or of the public key of one that the agent holds
	Port    int    // TCP, 22 unless the entry says otherwise
	BootID  bool   // the account's ForceCommand is roller's own and answers "boot_id"; see deploy/roller-forcecommand
	Jump    *Jump  // the bastion by way of which the machine is reached; nil: directly
}

// Jump is a bastion, as ssh(1) knows it from ProxyJump. There is one at most.
type Jump struct {
	User    string // the machine's unless the entry says otherwise
	Host    string
	Port    int    // TCP, 22 unless the entry says otherwise
	KeyFile string // as SSH.KeyFile; the machine's unless the entry says otherwise
}

// Addr returns host:port.
func (j Jump) Addr() string { return net.JoinHostPort(j.Host, strconv.Itoa(j.Port)) }

// IPMI is the machine's BMC on the network (IPMI v2.0, RMCP+).
type IPMI struct {
	Host     string // FQDN of the machine unless the entry has "addr"
	Port     int    // UDP, 623 unless the entry says otherwise
	User     string
	Password Secret

	KG           Secret              // the BMC's key-generating key, where it has one (two-key login)
	Privilege    string              // of the session; "" is IPMI_PRIVILEGE
	CipherSuites []int               // in the order they are tried; none is 17, then 3
	EFI          bool                // its firmware boots from the network by EFI, not as a PC of old does
	Bridge       []string            // ipmitool's options from the chassis manager at Host to the machine's own controller
	Commands     map[string][]string // ipmitool's words for a task where a machine type has its own
}

// NeedsTool reports whether the BMC is spoken to by the ipmitool binary: the Go
// library neither bridges nor takes a key-generating key.
func (b IPMI) NeedsTool() bool { return len(b.Bridge) > 0 || len(b.Commands) > 0 || !b.KG.IsZero() }

// Addr returns host:port.
func (b IPMI) Addr() string { return net.JoinHostPort(b.Host, strconv.Itoa(b.Port)) }

// Outlet is one outlet of a PDU that feeds the machine, or a port of a switch
// that powers it. A Sentry's has a tower and an infeed ("AB12" is tower 1,
// infeed 2, outlet 12), the others a number and perhaps a group ("7", "1.24").
type Outlet struct {
	PDU     string // host name of the PDU in lower case: the device's identity
	Host    string // where it is dialled: PDU unless the entry has "addr"
	Port    int    // UDP, 161 unless the entry says otherwise
	Tower   int
	Infeed  int
	Group   int // 0: the profile's own
	Number  int
	Profile *Profile    // nil: found by the PDU's sysObjectID
	Version SNMPVersion // "2c" unless the entry says otherwise
	V3      *SNMPUser   // with version 3; nil is the environment's
}

// Addr returns host:port.
func (o Outlet) Addr() string { return net.JoinHostPort(o.Host, strconv.Itoa(o.Port)) }

// String returns the file's form, "pdu1.example:AB12", "pdu1.example:7" or
// "pdu1.example:1.24".
func (o Outlet) String() string {
	switch {
	case o.Tower != 0:
		return fmt.Sprintf("%s:%c%c%d", o.PDU, 'A'+o.Tower-1, 'A'+o.Infeed-1, o.Number)
	case o.Group != 0:
		return fmt.Sprintf("%s:%d.%d", o.PDU, o.Group, o.Number)
	}
	return fmt.Sprintf("%s:%d", o.PDU, o.Number)
}

// RebootsItself reports whether one command to one outlet is a whole reboot of
// the machine: one outlet feeds it, and its PDU is known to have such a command.
// A PDU whose profile is not named is known by its outlets' letters only.
func (m Machine) RebootsItself() bool {
	if len(m.Outlets) != 1 {
		return false
	}
	o := m.Outlets[0]
	if o.Profile == nil {
		return o.Tower != 0 // Sentry3 and Sentry4 both have it
	}
	return o.Profile.Reboot.OID != ""
}

// Xen is the machine as a virtual machine of a Xen pool.
type Xen struct {
	UUID string
}
