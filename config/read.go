package config

import (
	"fmt"
	"strings"
)

// kindOfFile is one of the inventory's files: its default path, what an entry
// may hold and how it is read into the machine.
type kindOfFile struct {
	fallback string
	path     func(Files) string
	keys     []string
	read     func(r *reading, e *entry, m *draft)      // nil without whole: its keys are names, see reading.named
	whole    func(r *reading, path string, root *node) // in the place of read, where the file has a shape of its own
}

var kindsOfFiles = []kindOfFile{
	{"snmp_users.json", func(f Files) string { return f.SNMPUsers }, []string{"user", "auth_protocol", "auth_password", "priv_protocol", "priv_password"}, nil, nil},
	{"ssh.json", func(f Files) string { return f.SSH }, []string{"ssh", "addr", "port", "probe", "uptime"}, (*reading).ssh, nil},
	{"ipmi.json", func(f Files) string { return f.IPMI }, []string{"ipmi", "addr", "port", "probe"}, (*reading).ipmi, nil},
	{"pdu_profiles.json", func(f Files) string { return f.PDUProfiles }, []string{"status", "states", "on", "off", "reboot", "index", "group"}, nil, nil},
	{"pdus.json", func(f Files) string { return f.PDU }, []string{"pdu", "addr", "port", "probe", "profile", "version", "v3"}, (*reading).pdu, nil},
	{"xen.json", func(f Files) string { return f.Xen }, []string{"xen_uuid", "probe"}, (*reading).xen, nil},
	{"ilo.json", func(f Files) string { return f.ILO }, []string{"ilo", "addr", "port", "fingerprint", "probe"}, (*reading).ilo, nil},
	{"moonshot.json", func(f Files) string { return f.Moonshot }, []string{"moonshot", "addr", "port", "fingerprint", "probe"}, (*reading).moonshot, nil},
	{"taskcluster.json", func(f Files) string { return f.Taskcluster }, []string{"taskcluster"}, (*reading).queue, nil},
}

// sources returns the kinds of files that make up the inventory: the later one
// alone where it is named, because two places for one machine's credentials
// would contradict each other without a word.
func sources(f Files) []kindOfFile {
	if f.Worker != "" {
		return []kindOfFile{workerFile}
	}
	return kindsOfFiles
}

// keysAre says what the keys of a kind of file are.
func (k kindOfFile) keysAre() string {
	if k.read == nil {
		return "names"
	}
	return "the machines' full host names"
}

// at returns the path of a kind of file, and whether it may be missing.
func (k kindOfFile) at(f Files) (path string, optional bool) {
	if path = k.path(f); path == "" {
		return k.fallback, true
	}
	return path, false
}

// reading is an inventory while it is read.
type reading struct {
	*mistakes
	claims    *claims
	namesOnly bool // no credentials are kept, and no key files looked at
	agent     bool // a key may be with the agent
	templates []string
	forms     []fqdnForm
	profiles  map[string]*Profile
	users     map[string]*SNMPUser
	machines  map[Name]*draft
	keys      map[string]bool // private key files that were looked at
	warnings  []string
	community Secret
}

// draft is a machine while it is read.
type draft struct {
	Machine
	spelled string // the first file's key for it
	first   place
	probeAt place
}

// LoadInventory reads the files, or the one of WORKER_CONFIG_PATH, into one Inventory. Its error names every
// mistake of every file, one a line, each with file and line and none with a
// password.
func LoadInventory(files Files) (*Inventory, error) {
	r, err := newReading(files)
	if err != nil {
		return nil, err
	}
	var order []string
	for _, kind := range sources(files) {
		path, optional := kind.at(files)
		order = append(order, path)
		r.file(kind, path, optional)
	}
	if err := r.err(order); err != nil {
		return nil, err
	}
	v := &Inventory{Community: r.community, Warnings: r.warnings, machines: make(map[Name]*Machine, len(r.machines))}
	for n, d := range r.machines {
		v.machines[n] = &d.Machine
	}
	return v, nil
}

func newReading(files Files) (*reading, error) {
	s := &mistakes{}
	r := &reading{
		mistakes: s, claims: &claims{mistakes: s, first: map[string]claim{}},
		namesOnly: files.NamesOnly, agent: files.SSHAgent, templates: files.FQDNTemplates,
		machines: map[Name]*draft{}, keys: map[string]bool{},
		profiles: map[string]*Profile{}, users: map[string]*SNMPUser{},
	}
	for _, p := range profiles {
		r.profiles[p.Name] = p
	}
	if len(r.templates) == 0 {
		r.templates = defaultTemplates
	}
	for _, template := range r.templates {
		form, err := parseTemplate(template)
		if err != nil {
			return nil, fmt.Errorf("FQDN_TEMPLATES: %q: %w", template, err)
		}
		r.forms = append(r.forms, form)
	}
	return r, nil
}

// file reads one file into the machines.
func (r *reading) file(kind kindOfFile, path string, optional bool) {
	root, bad := readJSON(path, optional)
	if bad != nil {
		r.list = append(r.list, *bad)
	}
	if root == nil {
		return
	}
	if kind.whole != nil {
		kind.whole(r, path, root)
		r.warnOfReaders(kind, path)
		return
	}
	if root.kind != "an object" {
		r.at(place{path, root.line}, "must be an object with %s as keys, not %s", kind.keysAre(), root.kind)
	}
	seen := map[string]int{}
	for _, f := range root.fields {
		if first, twice := seen[f.key]; twice {
			r.at(place{path, f.line}, "%q stands twice, first in line %d", f.key, first)
			continue
		}
		seen[f.key] = f.line
		if kind.read == nil {
			r.named(kind, path, f)
		} else if m := r.machine(place{path, f.line}, f.key); m != nil {
			e := r.object(path, f.key, f.value, kind.keys...)
			r.probe(e, m)
			kind.read(r, e, m)
		}
	}
	r.warnOfReaders(kind, path)
}

// machine returns the machine of a key: a new one, or the one that an earlier
// file began. It notes a mistake and returns nil for a name that is none.
func (r *reading) machine(at place, key string) *draft {
	n, ok := r.name(key)
	if !ok {
		r.at(at, "%q is not of the form %s (FQDN_TEMPLATES)", key, strings.Join(r.templates, " or "))
		return nil
	}
	if n.WorkerGroup == AnyGroup {
		r.at(at, "%q: no group may be called %q: it means any group", key, AnyGroup)
		return nil
	}
	fqdn := strings.ToLower(key)
	m, known := r.machines[n]
	switch {
	case !known:
		m = &draft{Machine: Machine{Name: n, FQDN: fqdn, Addr: fqdn, Probe: Probe{Network: "icmp"}}, spelled: key, first: at}
		r.machines[n] = m
	case m.FQDN != fqdn:
		r.at(at, "%q is machine %s, but so is %q at %s", key, n, m.spelled, m.first)
		return nil
	case m.spelled != key:
		r.at(at, "%q is spelled %q at %s", key, m.spelled, m.first)
	}
	return m
}

// name takes a key apart by the first template that fits.
func (r *reading) name(key string) (Name, bool) {
	for _, form := range r.forms {
		if n, ok := form.name(key); ok {
			return n, true
		}
	}
	return Name{}, false
}

// probe notes how a machine is seen to be up, which any file may say once.
func (r *reading) probe(e *entry, m *draft) {
	p := e.probe()
	if p == (Probe{}) {
		return
	}
	at := e.place("probe")
	if m.probeAt != (place{}) && m.Probe != p {
		r.at(at, "%s: probe %q contradicts %q at %s", e.about, p, m.Probe, m.probeAt)
		return
	}
	m.Probe, m.probeAt = p, at
}
