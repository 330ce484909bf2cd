package config

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// entry is one JSON object of an inventory file while it is read: its keys are
// taken one by one, and what was wrong with them is noted.
type entry struct {
	*mistakes
	path  string
	about string // what the object is, for messages: the machine's FQDN
	node  *node
	keys  map[string]field
}

// object begins to read an object that may have only the named keys.
func (s *mistakes) object(path, about string, n *node, allowed ...string) *entry {
	e := &entry{mistakes: s, path: path, about: about, node: n, keys: map[string]field{}}
	if n.kind != "an object" {
		e.wrong(n.line, "must be an object, not %s", n.kind)
	}
	for _, f := range n.fields {
		if first, twice := e.keys[f.key]; twice {
			e.wrong(f.line, "%q stands twice, first in line %d", f.key, first.line)
		} else if !slices.Contains(allowed, f.key) {
			e.wrong(f.line, "%q is not known here; known are %s", f.key, quoted(allowed))
		}
		e.keys[f.key] = f
	}
	return e
}

func (e *entry) wrong(line int, format string, args ...any) {
	e.at(place{e.path, line}, e.about+": "+format, args...)
}

// has reports whether a key is there.
func (e *entry) has(key string) bool {
	_, ok := e.keys[key]
	return ok
}

// place returns where a key stands, and the object itself for one that is missing.
func (e *entry) place(key string) place {
	if f, ok := e.keys[key]; ok {
		return place{e.path, f.line}
	}
	return place{e.path, e.node.line}
}

// need notes a key that is missing; it returns nil for that.
func (e *entry) need(key string) *node {
	f, ok := e.keys[key]
	if !ok {
		if e.node.kind == "an object" { // else that is the one mistake to name
			e.wrong(e.node.line, "%q is missing", key)
		}
		return nil
	}
	return f.value
}

// text returns a text that must be there and not be empty. The message of a
// mistake does not hold the value, which may be a password.
func (e *entry) text(key string) string {
	n := e.need(key)
	if n == nil {
		return ""
	}
	v, ok := n.value.(string)
	if !ok {
		e.wrong(n.line, "%q must be a text, not %s", key, n.kind)
	} else if v == "" {
		e.wrong(n.line, "%q must not be empty", key)
	}
	return v
}

// secret returns a text of at most so many bytes that error messages never hold.
func (e *entry) secret(key string, most int) Secret {
	v := e.text(key)
	if len(v) > most {
		e.wrong(e.place(key).line, "%q is %d bytes long and must be %d at most", key, len(v), most)
	}
	return NewSecret(v)
}

// flag returns true or false; false for a missing key.
func (e *entry) flag(key string) bool {
	f, ok := e.keys[key]
	if !ok {
		return false
	}
	v, ok := f.value.value.(bool)
	if !ok {
		e.wrong(f.line, "%q must be true or false, not %s", key, f.value.kind)
	}
	return v
}

// host returns the optional "addr": where the device of this entry is dialled.
func (e *entry) host(otherwise string) string {
	if !e.has("addr") {
		return otherwise
	}
	v := e.text("addr")
	if v != "" && !isHost(v) {
		e.wrong(e.place("addr").line, "\"addr\" %q must be a host name or an IP address; the port has a key of its own", v)
	}
	return strings.ToLower(v)
}

// port returns the optional "port" of the device of this entry.
func (e *entry) port(otherwise int) int {
	f, ok := e.keys["port"]
	if !ok {
		return otherwise
	}
	v, ok := f.value.value.(json.Number)
	port, err := strconv.Atoi(v.String())
	if !ok || err != nil || port < 1 || port > maxPort {
		e.wrong(f.line, "\"port\" must be a number from 1 to %d", maxPort)
	}
	return port
}

// probe returns the optional "probe"; its zero value for a missing key.
func (e *entry) probe() Probe {
	if !e.has("probe") {
		return Probe{}
	}
	v := e.text("probe")
	if v == "icmp" {
		return Probe{Network: "icmp"}
	}
	number, tcp := strings.CutPrefix(v, "tcp:")
	port, err := strconv.Atoi(number)
	if v != "" && (!tcp || err != nil || port < 1 || port > maxPort) {
		e.wrong(e.place("probe").line, "\"probe\" %q must be \"icmp\" or \"tcp:\" and a port", v)
	}
	return Probe{Network: "tcp", Port: port}
}
