package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// labelForm is a profile's or an SNMP user's name in the files.
var labelForm = regexp.MustCompile(`\A[a-zA-Z0-9][-_.a-zA-Z0-9]{0,63}\z`)

// isOID reports whether a text is an OID below iso: at most 128 numbers of 32
// bits (RFC 2578, 3.5).
func isOID(text string) bool {
	parts := strings.Split(strings.TrimPrefix(text, "."), ".")
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return false
		}
	}
	return parts[0] == "1" && len(parts) > 1 && len(parts) <= 128
}

// named reads an entry of a file whose keys are names that pdus.json refers to.
func (r *reading) named(kind kindOfFile, path string, f field) {
	e := r.object(path, f.key, f.value, kind.keys...)
	if !labelForm.MatchString(f.key) {
		e.wrong(f.line, "a name must be letters, digits, dots, - and _")
	}
	if kind.fallback == "snmp_users.json" {
		r.users[f.key] = r.user(e)
		return
	}
	if slices.Contains(profileNames(), f.key) {
		e.wrong(f.line, "this profile is built in and cannot be changed: take another name")
		return
	}
	r.profiles[f.key] = r.profile(f.key, e)
}

// profile reads {"status": OID, "states": {"on": 1, "off": 2}, "on": {"oid",
// "value"}, "off", "reboot", "index", "group"}; the last three may be missing.
func (r *reading) profile(name string, e *entry) *Profile {
	p := &Profile{
		Name: name, Index: IndexOutlet, Status: e.oid("status"), States: r.states(e),
		On: r.setting(e, "on"), Off: r.setting(e, "off"),
	}
	if e.has("reboot") {
		p.Reboot = r.setting(e, "reboot")
	}
	if e.has("index") {
		p.Index = Index(e.word("index", []string{string(IndexTower), string(IndexOutlet), string(IndexGroup)}))
	}
	if e.has("group") {
		if p.Group = e.integer("group"); p.Index != IndexGroup || p.Group < 0 {
			e.wrong(e.place("group").line, "\"group\" must be 0 or more, and needs \"index\": %q", IndexGroup)
		}
	}
	if p.On == p.Off && p.On.OID != "" {
		e.wrong(e.place("off").line, "\"off\" must not write what \"on\" does")
	}
	return p
}

func (r *reading) setting(e *entry, key string) Setting {
	n := e.need(key)
	if n == nil {
		return Setting{}
	}
	in := r.object(e.path, e.about+": "+key, n, "oid", "value")
	return Setting{OID: in.oid("oid"), Value: in.integer("value")}
}

// states reads what the status column's values mean; each word has one.
func (r *reading) states(e *entry) map[int]string {
	n := e.need("states")
	if n == nil {
		return nil
	}
	in := r.object(e.path, e.about+": states", n, on, off)
	values := map[int]string{}
	for _, word := range []string{on, off} {
		values[in.integer(word)] = word
	}
	if n.kind == "an object" && len(values) < 2 {
		in.wrong(n.line, "\"on\" and \"off\" must differ")
	}
	return values
}

// oid returns an OID that must be there, with a dot before it.
func (e *entry) oid(key string) string {
	v := e.text(key)
	if v == "" {
		return ""
	}
	if !isOID(v) {
		e.wrong(e.place(key).line, "%q %q is not an OID in numbers, like .1.3.6.1.4.1.318", key, v)
	}
	return "." + strings.TrimPrefix(v, ".")
}

// integer returns a number that must be there and fit Integer32 (RFC 2578, 7.1.1).
func (e *entry) integer(key string) int {
	n := e.need(key)
	if n == nil {
		return 0
	}
	v, ok := n.value.(json.Number)
	i, err := strconv.ParseInt(v.String(), 10, 32)
	if !ok || err != nil {
		e.wrong(n.line, "%q must be a whole number of 32 bits", key)
	}
	return int(i)
}

// profileOf returns the profile that an entry of pdus.json names, or nil.
func (r *reading) profileOf(e *entry) *Profile {
	if !e.has("profile") {
		return nil
	}
	name := e.text("profile")
	p := r.profiles[name]
	if p == nil && name != "" {
		known := slices.Sorted(maps.Keys(r.profiles))
		e.wrong(e.place("profile").line, "\"profile\" %q is not known; known are %s", name, quoted(known))
	}
	return p
}

// of returns the outlet as one of a profile, by its one name: a group that is
// the profile's own is left out. Without a profile it cannot have a group,
// because nobody knows yet whether that is another name of the same outlet.
func (o Outlet) of(p *Profile) (Outlet, error) {
	if p == nil {
		if o.Group != 0 {
			return o, fmt.Errorf("%s has a group: name the \"profile\"", o)
		}
		return o, nil
	}
	if o.Profile = p; o.Group == p.Group {
		o.Group = 0
	}
	return o, p.Check(o)
}
