package config

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
)

var typeKeys = []string{"args", "map", "commands", "taskcluster"}

// moonshot is the type whose map is checked against the formula.
const moonshot = "moonshot"

// typeCommands are the tasks for which a type may have words of its own.
var typeCommands = []string{"ipmi_status", "ipmi_list", "ipmi_on", "ipmi_off", "ipmi_reset", "ipmi_cycle", "ipmi_soft"}

// machineType is an entry of "types": how ipmitool reaches its machines, and whose
// work they do.
type machineType struct {
	queue    *Queue
	args     toolOptions
	places   map[string]toolOptions // by what a server's "addr" says, in lower case
	commands map[string][]string
}

func (e *entry) machineType() *machineType {
	t := &machineType{args: toolOptions{}, places: map[string]toolOptions{}, commands: map[string][]string{}}
	if e.has("args") {
		t.args = e.options("args", e.place("args").line, e.texts("args"))
	}
	if e.has("map") {
		e.places(e.need("map").fields, t)
	}
	if e.has("taskcluster") {
		t.queue = e.queue()
	}
	if e.has("commands") {
		in := e.object(e.path, e.about+": commands", e.need("commands"), typeCommands...)
		for _, name := range typeCommands {
			if in.has(name) {
				t.commands[name] = in.words(name)
			}
		}
	}
	return t
}

// places reads "map". Two nodes of one cartridge have one address by mistake only:
// a command for the one would act on the other.
func (e *entry) places(fields []field, t *machineType) {
	first := map[string]string{} // places, by cartridge and address
	for _, f := range fields {
		key, options := strings.ToLower(f.key), e.mapped(f)
		t.places[key] = options
		c, err := ParseCartridge(key)
		if err != nil || options["-t"] == "" || !strings.EqualFold(e.about, moonshot) {
			continue
		}
		at := fmt.Sprintf("%d -t %d", c.Slot, number(options["-t"]))
		if had, twice := first[at]; twice && had != key {
			e.wrong(f.line, "map: %q has the -t of %q", f.key, had)
		}
		first[at] = key
	}
}

// mapped reads one entry of "map"; Moonshot's must be what the formula says.
func (e *entry) mapped(f field) toolOptions {
	options := e.options("map "+strconv.Quote(f.key), f.line, e.items(f.key, f.value))
	if !strings.EqualFold(e.about, moonshot) {
		return options
	}
	c, err := ParseCartridge(f.key)
	if err != nil {
		e.wrong(f.line, "map: %s", err)
	} else if why := options.differs(c); why != "" {
		e.wrong(f.line, "map: %q has %s", f.key, why)
	}
	return options
}

func (e *entry) options(what string, line int, texts []string) toolOptions {
	options, err := parseOptions(texts)
	if err != nil {
		e.wrong(line, "%s %s", what, err)
	}
	return options
}

// commandWord is a word of an ipmitool command; none is an option.
var commandWord = regexp.MustCompile(`\A[0-9A-Za-z][-_.:/0-9A-Za-z]*\z`)

func (e *entry) words(key string) []string {
	words := e.texts(key)
	for _, w := range words {
		if !commandWord.MatchString(w) {
			e.wrong(e.place(key).line, "%q: %q is no word of a command", key, w)
		}
	}
	return words
}

// texts returns a list of texts that must not be empty.
func (e *entry) texts(key string) []string {
	n := e.need(key)
	if n == nil {
		return nil
	}
	return e.items(key, n)
}

func (e *entry) items(key string, n *node) []string {
	var out []string
	for _, item := range n.items {
		v, ok := item.value.(string)
		if !ok {
			e.wrong(item.line, "%q must be a list of texts", key)
			return nil
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		e.wrong(n.line, "%q must be a list of texts", key)
	}
	return out
}

// without returns the entry as if it had not some keys.
func (e *entry) without(keys ...string) *entry {
	c := *e
	c.keys = map[string]field{}
	maps.Copy(c.keys, e.keys)
	for _, k := range keys {
		delete(c.keys, k)
	}
	return &c
}

// bridge puts a machine's type into its IPMI: ipmitool's options and words.
func (s *servers) bridge(e, parent *entry, m *draft) {
	from := e
	if !e.has("type") {
		from = parent
	}
	if !from.has("type") {
		if e.has("parent") {
			e.wrong(e.place("parent").line, "a server with a \"parent\" needs a \"type\", here or there")
		}
		return
	}
	name := strings.ToLower(from.text("type"))
	t, known := s.types[name]
	if !known && name != moonshot {
		from.wrong(from.place("type").line, "type %q is not in \"types\"", name)
		return
	}
	if t == nil {
		t = &machineType{}
	}
	b := m.IPMI
	options := s.placed(e, name, t)
	b.Bridge, b.Commands = options.bridge(), t.commands
	options.session(b)
}

// takesWork reads "taskcluster", which a machine has from its type (or its parent's)
// unless its own entry says otherwise.
func (s *servers) takesWork(e *entry, m *draft) {
	from := e
	if !e.has("type") && e.has("parent") {
		from = s.entries[strings.ToLower(e.text("parent"))]
	}
	switch {
	case e.has("taskcluster"):
		m.Queue = e.queue()
	case from != nil && from.has("type"):
		if t := s.types[strings.ToLower(from.text("type"))]; t != nil {
			m.Queue = t.queue
		}
	}
}

// placed returns the options for the machine's place: the type's, the map's and,
// for Moonshot, the formula's, which the others must not contradict.
func (s *servers) placed(e *entry, name string, t *machineType) toolOptions {
	options := toolOptions{}
	maps.Copy(options, t.args)
	if !e.has("parent") {
		return options
	}
	place := strings.ToLower(e.text("addr"))
	mapped, known := t.places[place]
	maps.Copy(options, mapped)
	if name != moonshot {
		if !known {
			e.wrong(e.place("addr").line, "\"addr\" %q is not in the map of type %q", place, name)
		}
		return options
	}
	c, err := ParseCartridge(place)
	if err != nil {
		e.wrong(e.place("addr").line, "\"addr\" %s", err)
		return options
	}
	if why := options.differs(c); why != "" && mapped.differs(c) == "" { // the map's has been told
		e.wrong(e.place("addr").line, "type %q has %s", name, why)
	}
	for i, formula := 0, c.Bridge(); i < len(formula); i += 2 {
		options[formula[i]] = formula[i+1]
	}
	if c.Node > 1 && mapped["-t"] == "" {
		e.wrong(e.place("addr").line, "\"addr\" %q: where node %d answers is known to no formula: give its \"-t\" in the map of type %q (\"sdr list mcloc\" of its cartridge tells it), or leave IPMI to moonshot_reset", place, c.Node, name)
	}
	return options
}

// session puts what is not bridging where the machine's own entry has none.
func (o toolOptions) session(b *IPMI) {
	if b.Privilege == "" {
		b.Privilege = strings.ToUpper(o["-L"])
	}
	if v, ok := o["-p"]; ok && b.Port == ipmiPort {
		b.Port = int(number(v)) //nolint:gosec // 16 bits
	}
	if v, ok := o["-C"]; ok && len(b.CipherSuites) == 0 {
		b.CipherSuites = []int{int(number(v))} //nolint:gosec // 16 bits
	}
}
