package config

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// What the entries of the four files hold.

const (
	sshPort  = 22  // RFC 4251, 4.1
	ipmiPort = 623 // IPMI v2.0, 13.1.2: primary RMCP port
	// maxIPMIUser and maxIPMIPassword are bytes (IPMI v2.0, 22.28 Set User Name
	// and 22.30 Set User Password).
	maxIPMIUser     = 16
	maxIPMIPassword = 20
)

// ssh reads {"ssh": {"user", "key_file", "boot_id", "jump", "jump_key_file"},
// "addr", "port", "probe", "uptime"}.
// Without "ssh" it says only how a machine that has no account is seen.
func (r *reading) ssh(e *entry, m *draft) {
	m.Addr = e.host(m.FQDN)
	port := e.port(sshPort)
	if e.has("uptime") {
		m.Uptime = r.uptime(e)
	}
	if !e.has("ssh") && !e.has("port") && (e.has("addr") || e.has("probe") || e.has("uptime")) {
		return
	}
	n := e.need("ssh")
	if n == nil {
		return
	}
	in := r.object(e.path, e.about+": ssh", n, "user", "key_file", "boot_id", "jump", "jump_key_file")
	m.SSH = &SSH{User: in.text("user"), KeyFile: in.text("key_file"), Port: port, BootID: in.flag("boot_id")}
	if strings.HasPrefix(m.SSH.User, "-") {
		in.wrong(in.place("user").line, "\"user\" must not begin with -")
	}
	if m.SSH.KeyFile != "" {
		r.key(in.place("key_file"), m.SSH.KeyFile)
	}
	m.SSH.Jump = r.jump(in, *m.SSH)
	where := dialled(m.Addr, port)
	if m.SSH.Jump != nil { // each bastion has a network of its own behind it
		where += " by way of " + m.SSH.Jump.Addr()
	}
	r.claims.take(e.place("addr"), "SSH at "+where, "belongs to", m.FQDN)
}

// ipmi reads {"ipmi": {"user", "password", "kg", "privilege", "cipher_suites",
// "efi"}, "addr", "port", "probe"}.
func (r *reading) ipmi(e *entry, m *draft) {
	host, port := e.host(m.FQDN), e.port(ipmiPort)
	n := e.need("ipmi")
	if n == nil {
		return
	}
	in := r.object(e.path, e.about+": ipmi", n, "user", "password", "kg", "privilege", "cipher_suites", "efi")
	m.IPMI = &IPMI{Host: host, Port: port}
	r.account(in, m.IPMI)
	in.session(m.IPMI)
	if r.namesOnly {
		m.IPMI.KG = Secret{}
	}
	r.claims.takeAs(controller(host, port, ipmiPort), e.place("addr"), "BMC "+dialled(host, port), "belongs to", m.FQDN)
}

// pdu reads {"pdu": "pdu1.example:AA1", "addr", "port", "probe", "profile",
// "version", "v3"}; a machine with several power supplies has a list there.
func (r *reading) pdu(e *entry, m *draft) {
	n := e.need("pdu")
	if n == nil {
		return
	}
	texts, addr := n.items, e.host("")
	like := Outlet{Port: e.port(snmpPort), Version: e.snmpVersion()}
	like.Profile, like.V3 = r.profileOf(e), r.userOf(e, like.Version)
	if n.kind != "a list" {
		texts = []*node{n}
	} else if len(texts) == 0 {
		e.wrong(n.line, "\"pdu\" must not be empty")
	}
	for _, item := range texts {
		r.outlet(e, m, item, addr, like)
	}
}

// outlet adds one outlet to a machine; addr is where its PDU is dialled, "" by
// its name, and like is what all outlets of the entry have in common.
func (r *reading) outlet(e *entry, m *draft, n *node, addr string, like Outlet) {
	text, ok := n.value.(string)
	if !ok {
		e.wrong(n.line, "an outlet must be a text, not %s", n.kind)
		return
	}
	o, err := ParseOutlet(text)
	if err == nil {
		o.Host, o.Port, o.Version, o.V3 = cmp.Or(addr, o.PDU), like.Port, like.Version, like.V3
		o, err = o.of(like.Profile)
	}
	if err != nil {
		e.wrong(n.line, "%s", err)
		return
	}
	for _, had := range m.Outlets {
		if had == o {
			e.wrong(n.line, "outlet %s stands twice", o)
		}
	}
	r.claimOutlet(place{e.path, n.line}, m.FQDN, o)
	m.Outlets = append(m.Outlets, o)
}

// claimOutlet sees to it that an outlet feeds one machine, and that all entries
// say the same of a PDU: one under two names would be commanded by two jobs at
// once, and one with two profiles would have two names for an outlet.
func (r *reading) claimOutlet(at place, fqdn string, o Outlet) {
	r.claims.take(at, "outlet "+o.String(), "feeds", fqdn)
	r.claims.take(at, "PDU "+o.PDU, "is dialled at", dialled(o.Host, o.Port))
	r.claims.take(at, "PDU address "+dialled(o.Host, o.Port), "belongs to", o.PDU)
	profile := "found by sysObjectID"
	if o.Profile != nil {
		profile = o.Profile.Name
	}
	r.claims.take(at, "the profile of PDU "+o.PDU, "is", profile)
}

// controller is the one key of a machine's own controller, by whatever protocol it
// is spoken to: one machine's IPMI and another's iLO at one address are a mistake.
func controller(host string, port, usual int) string { return "controller " + at(host, port, usual) }

// uuidForm is a UUID as XenAPI prints it (RFC 9562, 4).
var uuidForm = regexp.MustCompile(`\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z`)

// xen reads {"xen_uuid": "...", "probe"}.
func (r *reading) xen(e *entry, m *draft) {
	text := e.text("xen_uuid")
	if text == "" {
		return
	}
	at := e.place("xen_uuid")
	vm, err := ParseXen(text)
	if err != nil {
		e.wrong(at.line, "\"xen_uuid\" %s", err)
		return
	}
	r.claims.take(at, "VM "+vm.UUID, "belongs to", m.FQDN)
	m.Xen = &vm
}

// ParseXen reads a VM's UUID in any letter case.
func ParseXen(text string) (Xen, error) {
	uuid := strings.ToLower(text)
	if !uuidForm.MatchString(uuid) {
		return Xen{}, fmt.Errorf("%q is not a UUID", uuid)
	}
	return Xen{UUID: uuid}, nil
}

func dialled(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
