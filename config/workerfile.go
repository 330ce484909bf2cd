package config

import (
	"cmp"
	"strings"
)

// workerFile is the old service's later file, the whole inventory in one.
var workerFile = kindOfFile{
	path:  func(f Files) string { return f.Worker },
	whole: (*reading).worker,
}

// serverKeys are what an entry of "servers" may have.
var serverKeys = []string{
	"fqdn", "bug_cc", "parent", "addr", "pdu", "user", "password", "type", "ssh", "xen", "ilo",
	"kg", "privilege", "cipher_suites", "efi", "port", "probe", "uptime", "taskcluster",
}

// servers is the file's "servers" and "types" while they are read.
type servers struct {
	*reading
	types   map[string]*machineType
	entries map[string]*entry // by name in lower case
	parents map[string]bool   // names of servers that others name as their parent: devices, no machines
}

// worker reads {"snmp_community_string", "types", "servers"}.
func (r *reading) worker(path string, root *node) {
	top := r.object(path, "the file", root, "snmp_community_string", "types", "servers")
	if top.has("snmp_community_string") {
		if v := top.text("snmp_community_string"); !r.namesOnly {
			r.community = NewSecret(v)
		}
	}
	s := &servers{reading: r, types: map[string]*machineType{}, entries: map[string]*entry{}, parents: map[string]bool{}}
	for _, e := range r.members(top, "types", false) {
		s.types[strings.ToLower(e.about)] = e.machineType()
	}
	list := r.members(top, "servers", true)
	for _, e := range list {
		s.collect(e)
	}
	for _, e := range list {
		s.server(e)
	}
}

// members returns the objects of an object, each about its own key.
func (r *reading) members(top *entry, key string, needed bool) []*entry {
	if !needed && !top.has(key) {
		return nil
	}
	n := top.need(key)
	if n == nil {
		return nil
	}
	if n.kind != "an object" {
		top.wrong(n.line, "%q must be an object, not %s", key, n.kind)
	}
	var out []*entry
	first := map[string]int{}
	for _, f := range n.fields {
		name := strings.ToLower(f.key)
		if line, twice := first[name]; twice {
			top.wrong(f.line, "%s: %q stands twice, first in line %d", key, f.key, line)
			continue
		}
		first[name] = f.line
		allowed := serverKeys
		if key == "types" {
			allowed = typeKeys
		}
		out = append(out, r.object(top.path, f.key, f.value, allowed...))
	}
	return out
}

// collect notes a server's name, and whom it names as its parent.
func (s *servers) collect(e *entry) {
	s.entries[strings.ToLower(e.about)] = e
	if e.has("parent") {
		s.parents[strings.ToLower(e.text("parent"))] = true
	}
}

// server reads one server: a machine, unless it is others' parent. A chassis is
// no machine that a job could reboot.
func (s *servers) server(e *entry) {
	if s.parents[strings.ToLower(e.about)] {
		return
	}
	fqdn := e.about
	if e.has("fqdn") {
		fqdn = e.text("fqdn")
	}
	m := s.machine(e.place("fqdn"), fqdn)
	if m == nil {
		return
	}
	if name := strings.ToLower(e.about); name != m.FQDN && name != m.WorkerID {
		e.wrong(e.place("fqdn").line, "\"fqdn\" %q is machine %q, so the server must be called that", fqdn, m.WorkerID)
	}
	s.probe(e, m)
	if e.has("ssh") || e.has("uptime") {
		s.login(e, m)
	}
	if e.has("pdu") {
		s.pdu(e.without("addr", "port"), m)
	}
	s.bmc(e, m)
	s.others(e, m)
	s.takesWork(e, m)
}

// login reads "ssh" and "uptime"; the machine is dialled by its full name, because
// "addr" is where it sits in its chassis, or its BMC.
func (s *servers) login(e *entry, m *draft) { s.ssh(e.without("addr", "port"), m) }

// others reads "bug_cc", "xen" and "ilo".
func (s *servers) others(e *entry, m *draft) {
	if e.has("bug_cc") {
		m.BugCC = e.texts("bug_cc")
	}
	if e.has("ilo") {
		s.ilo(e, m)
	}
	if !e.has("xen") {
		return
	}
	in := s.object(e.path, e.about+": xen", e.need("xen"), "xen_uuid", "reboot")
	if in.has("reboot") { // the arguments of xenapi_reboot, of which the first is the UUID
		words := in.texts("reboot")
		if len(words) > 0 {
			in.keys["xen_uuid"] = field{key: "xen_uuid", line: in.place("reboot").line, value: in.need("reboot").items[0]}
		}
	}
	s.xen(in, m)
}

// bmc reads how the machine's controller is reached: through its parent's, or
// directly. The account and the type may stand in the parent's entry.
func (s *servers) bmc(e *entry, m *draft) {
	parent := &entry{mistakes: s.mistakes, path: e.path, about: e.about, node: e.node, keys: map[string]field{}}
	host := e.host(m.FQDN)
	if e.has("parent") {
		name := strings.ToLower(e.text("parent"))
		if p, ok := s.entries[name]; ok {
			parent = p
		}
		host = parent.target(name)
	} else if !e.has("user") && !e.has("password") {
		return
	}
	account := e
	if !e.has("user") && !e.has("password") {
		account = parent
	}
	b := &IPMI{Host: host, Port: cmp.Or(e.port(0), parent.port(ipmiPort))}
	s.account(account, b)
	account.session(b)
	b.EFI = e.flag("efi") || parent.flag("efi")
	m.IPMI = b
	if s.namesOnly {
		b.KG = Secret{}
	}
	s.bridge(e, parent, m)
	s.claim(e, m)
}

// target is where a parent's controller is dialled.
func (e *entry) target(name string) string {
	otherwise := name
	if e.has("fqdn") {
		otherwise = strings.ToLower(e.text("fqdn"))
	}
	host := e.host(otherwise)
	if !isHost(host) {
		e.wrong(e.place("parent").line, "\"parent\" %q must be a server of this file, a host name or an IP address", name)
	}
	return host
}

// claim sees to it that no two machines have one controller.
func (s *servers) claim(e *entry, m *draft) {
	what := "BMC " + m.IPMI.Addr()
	if len(m.IPMI.Bridge) > 0 {
		what += " " + strings.Join(m.IPMI.Bridge, " ")
		s.claims.take(e.place("addr"), what, "belongs to", m.FQDN)
		return
	}
	s.claims.takeAs(controller(m.IPMI.Host, m.IPMI.Port, ipmiPort), e.place("addr"), what, "belongs to", m.FQDN)
}
