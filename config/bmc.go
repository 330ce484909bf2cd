package config

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// maxIPMIKey is the length of a key-generating key in bytes (IPMI v2.0, 22.25
// Set Channel Security Keys).
const maxIPMIKey = 20

// Privileges are the levels of an IPMI session, lowest first (IPMI v2.0, 6.8).
var privileges = []string{"CALLBACK", "USER", "OPERATOR", "ADMINISTRATOR"}

// cipherSuites are those that roller's two clients have (IPMI v2.0, table 22-20):
// RAKP-HMAC with AES-CBC-128, by SHA1 and by SHA256.
var cipherSuites = []int{3, 17}

// account reads "user" and "password" of a BMC.
func (r *reading) account(in *entry, b *IPMI) {
	b.User, b.Password = in.text("user"), in.secret("password", maxIPMIPassword)
	if r.namesOnly {
		b.Password = Secret{}
	}
	if len(b.User) > maxIPMIUser {
		in.wrong(in.place("user").line, "\"user\" must be %d bytes at most", maxIPMIUser)
	}
}

// session reads the optional "kg", "privilege", "cipher_suites" and "efi" of a BMC.
func (e *entry) session(b *IPMI) {
	b.EFI = e.flag("efi")
	if e.has("kg") {
		b.KG = e.secret("kg", maxIPMIKey)
	}
	if e.has("privilege") {
		b.Privilege = e.privilege("privilege", e.text("privilege"))
	}
	if !e.has("cipher_suites") {
		return
	}
	n := e.need("cipher_suites")
	for _, item := range n.items {
		if suite, ok := e.suite(item); ok {
			b.CipherSuites = append(b.CipherSuites, suite)
		}
	}
	if n.kind != "a list" || len(n.items) == 0 {
		e.wrong(n.line, "\"cipher_suites\" must be a list out of 17 and 3, in the order they are tried")
	}
}

func (e *entry) suite(n *node) (int, bool) {
	v, _ := n.value.(json.Number)
	suite, err := strconv.Atoi(v.String())
	if err != nil || !slices.Contains(cipherSuites, suite) {
		e.wrong(n.line, "a cipher suite must be 17 or 3")
		return 0, false
	}
	return suite, true
}

// privilege returns a privilege level in capitals.
func (e *entry) privilege(key, value string) string {
	level := strings.ToUpper(value)
	if value != "" && !slices.Contains(privileges, level) {
		e.wrong(e.place(key).line, "%q %q must be one of %s", key, value, strings.Join(privileges, ", "))
	}
	return level
}
