package config

import (
	"slices"
	"strings"
)

// SNMPVersion is a version of the protocol as the files spell it.
type SNMPVersion string

// The versions.
const (
	SNMPv1  SNMPVersion = "1"
	SNMPv2c SNMPVersion = "2c"
	SNMPv3  SNMPVersion = "3"
)

// SNMPUser is an account of SNMPv3's user-based security model (RFC 3414).
type SNMPUser struct {
	User         string
	AuthProtocol string // one of AuthProtocols
	AuthPassword Secret
	PrivProtocol string // one of PrivProtocols
	PrivPassword Secret
}

// None is what, as a protocol, is said by those who want to go without. It is never a
// default.
const None = "none"

// minSNMPPassword is in bytes (RFC 3414, 11.2).
const minSNMPPassword = 8

// AuthProtocols are SHA-1 (RFC 3414) and the SHA-2 family (RFC 7860).
func AuthProtocols() []string {
	return []string{"SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512", None}
}

// PrivProtocols are AES with 128 bits (RFC 3826) and with 256, whose key is
// stretched as draft-blumenthal-aes-usm-04 says, or as Cisco and Reeder do.
func PrivProtocols() []string { return []string{"AES", "AES-256", "AES-256-C", None} }

// snmpUser reads the account of PDUs whose entry names none. Who sets a user
// gets authentication and privacy, or says that they want none.
func (e *environ) snmpUser() SNMPUser {
	u := SNMPUser{
		User:         e.text("SNMP_V3_USER", ""),
		AuthProtocol: e.oneOf("SNMP_V3_AUTH_PROTOCOL", "SHA", AuthProtocols()...),
		AuthPassword: e.secret("SNMP_V3_AUTH_PASSWORD"),
		PrivProtocol: e.oneOf("SNMP_V3_PRIV_PROTOCOL", "AES", PrivProtocols()...),
		PrivPassword: e.secret("SNMP_V3_PRIV_PASSWORD"),
	}
	if u.User != "" {
		u.check(func(what, text string) { e.hidden("SNMP_V3_"+strings.ToUpper(what), text) })
	}
	return u
}

// check tells what is wrong with an account; what is the end of a key's name.
func (u SNMPUser) check(wrong func(what, text string)) {
	for _, c := range []struct {
		what, protocol string
		password       Secret
	}{{"auth", u.AuthProtocol, u.AuthPassword}, {"priv", u.PrivProtocol, u.PrivPassword}} {
		switch n := len(c.password.Reveal()); {
		case c.protocol == None && n > 0:
			wrong(c.what+"_password", "must not be set where the protocol is \"none\"")
		case c.protocol != None && n < minSNMPPassword:
			wrong(c.what+"_password", "must be 8 bytes or more (RFC 3414, 11.2); whoever wants none says \"none\" as the protocol")
		}
	}
	if u.AuthProtocol == None && u.PrivProtocol != None {
		wrong("priv_protocol", "must be \"none\" where there is no authentication (RFC 3414, 1.4.2)")
	}
}

// user reads {"user", "auth_protocol", "auth_password", "priv_protocol",
// "priv_password"}.
func (r *reading) user(e *entry) *SNMPUser {
	u := &SNMPUser{
		User:         e.text("user"),
		AuthProtocol: e.word("auth_protocol", AuthProtocols()),
		PrivProtocol: e.word("priv_protocol", PrivProtocols()),
	}
	for key, field := range map[string]*Secret{"auth_password": &u.AuthPassword, "priv_password": &u.PrivPassword} {
		if e.has(key) {
			*field = NewSecret(e.text(key))
		}
	}
	if u.AuthProtocol != "" && u.PrivProtocol != "" {
		u.check(func(what, text string) { e.wrong(e.place(what).line, "%q %s", what, text) })
	}
	if r.namesOnly {
		u.AuthPassword, u.PrivPassword = Secret{}, Secret{}
	}
	return u
}

// word returns a text that must be one of a few.
func (e *entry) word(key string, words []string) string {
	v := e.text(key)
	if v != "" && !slices.Contains(words, v) {
		e.wrong(e.place(key).line, "%q must be one of %s", key, quoted(words))
		return ""
	}
	return v
}

func (e *entry) snmpVersion() SNMPVersion {
	if !e.has("version") {
		return SNMPv2c
	}
	return SNMPVersion(e.word("version", []string{string(SNMPv1), string(SNMPv2c), string(SNMPv3)}))
}

// userOf returns the account that an entry names; nil for the environment's.
func (r *reading) userOf(e *entry, version SNMPVersion) *SNMPUser {
	if !e.has("v3") {
		return nil
	}
	name := e.text("v3")
	u := r.users[name]
	switch {
	case name == "":
	case version != SNMPv3:
		e.wrong(e.place("v3").line, "\"v3\" needs \"version\": \"3\"")
	case u == nil:
		e.wrong(e.place("v3").line, "\"v3\" %q is not in snmp_users.json (SNMP_USERS_FILE)", name)
	}
	return u
}

// uptime reads {"version", "v3", "port"} of the machine's own agent. It must name
// a user for version 3: that of the PDUs is nobody's business on a machine.
func (r *reading) uptime(e *entry) *Uptime {
	n := e.need("uptime")
	in := r.object(e.path, e.about+": uptime", n, "version", "v3", "port")
	u := &Uptime{Port: in.port(snmpPort)}
	switch version := in.snmpVersion(); {
	case version == SNMPv1:
		in.wrong(in.place("version").line, "\"version\" must be \"2c\" or \"3\"")
	case version == SNMPv3 && !in.has("v3"):
		in.wrong(in.place("version").line, "\"version\" \"3\" needs a \"v3\" of snmp_users.json (SNMP_USERS_FILE)")
	default:
		u.V3 = r.userOf(in, version)
	}
	return u
}
