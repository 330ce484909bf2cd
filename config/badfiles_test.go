package config

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const (
	fa = `"a.test.releng.mdc1.mozilla.com"`
	fb = `"b.test.releng.mdc1.mozilla.com"`
	// a and b are how messages name the same machines.
	a = "a.test.releng.mdc1.mozilla.com"
	b = "b.test.releng.mdc1.mozilla.com"

	account  = `"ssh": {"user": "roller", "key_file": "KEY"}`
	bmc      = `"ipmi": {"user": "admin", "password": "hunter2"}`
	vm       = `"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"`
	outletIn = `write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7`
)

// badFiles is what one file may have wrong, with the exact message of each.
var badFiles = map[string]struct{ file, content, want string }{
	"empty file":          {"ssh.json", ``, `ssh.json:1: is not JSON from here on (column 1)`},
	"cut off":             {"ipmi.json", "{\n" + fa + ": {\"ipmi\": {\"user\": \"admin\", \"password\": \"hunter2", `ipmi.json:2: is not JSON from here on (column 81)`},
	"quote in a password": {"ipmi.json", "{\n" + fa + ": {\"ipmi\": {\"user\": \"admin\", \"password\": \"x\"hunter2\"}}}", `ipmi.json:2: is not JSON from here on (column 77)`},
	"comma at the end":    {"xen.json", "{\n" + fa + ": {" + vm + "},\n}", `xen.json:3: is not JSON from here on (column 1)`},
	"two values":          {"xen.json", "{}\n{}", `xen.json:2: is not JSON from here on (column 1)`},
	"Latin-1":             {"ipmi.json", "{\n" + fa + ": {\"ipmi\": {\"user\": \"admin\", \"password\": \"hunter2\xe9\"}}}", `ipmi.json:2: is not UTF-8 here (column 82)`},
	"a list":              {"ssh.json", "\n[]", `ssh.json:2: must be an object with the machines' full host names as keys, not a list`},
	"null":                {"ssh.json", `null`, `ssh.json:1: must be an object with the machines' full host names as keys, not null`},
	"machine twice":       {"xen.json", "{" + fa + ": {" + vm + "},\n" + fa + ": {" + vm + "}}", `xen.json:2: "` + a + `" stands twice, first in line 1`},
	"key twice":           {"ipmi.json", "{" + fa + ": {\"ipmi\": {\"user\": \"admin\",\n\"user\": \"root\", \"password\": \"hunter2\"}}}", `ipmi.json:2: ` + a + `: ipmi: "user" stands twice, first in line 1`},
	"short name":          {"xen.json", `{"a": {` + vm + `}}`, `xen.json:1: "a" is not of the form {worker_id}.test.releng.{worker_group}.mozilla.com or {worker_id}.wintest.releng.{worker_group}.mozilla.com (FQDN_TEMPLATES)`},
	"a group named none":  {"xen.json", `{"a.test.releng.none.mozilla.com": {` + vm + `}}`, `xen.json:1: "a.test.releng.none.mozilla.com": no group may be called "none": it means any group`},
	"two letter cases":    {"xen.json", `{` + fa + `: {` + vm + "},\n" + strings.ToUpper(fa) + `: {` + vm + `}}`, `xen.json:2: "` + strings.ToUpper(a) + `" is spelled "` + a + `" at xen.json:1`},
	"two full names": {
		"xen.json", `{` + fa + `: {` + vm + "},\n\"a.wintest.releng.mdc1.mozilla.com\": {}}",
		`xen.json:2: "a.wintest.releng.mdc1.mozilla.com" is machine mdc1/a, but so is "` + a + `" at xen.json:1`,
	},
	"entry is a text": {"ssh.json", `{` + fa + `: "hunter2"}`, `ssh.json:1: ` + a + `: must be an object, not a text`},
	"unknown key":     {"ssh.json", `{` + fa + ": {" + account + ",\n\"adr\": \"x\"}}", `ssh.json:2: ` + a + `: "adr" is not known here; known are "ssh", "addr", "port", "probe", "uptime"`},
	"unknown key in the account": {
		"ssh.json", `{` + fa + `: {"ssh": {"user": "roller", "key_file": "KEY", "password": "hunter2"}}}`,
		`ssh.json:1: ` + a + `: ssh: "password" is not known here; known are "user", "key_file", "boot_id", "jump", "jump_key_file"`,
	},
	"no queue":             {"taskcluster.json", `{` + fa + `: {"taskcluster": {"drain": true}}}`, `taskcluster.json:1: ` + a + `: taskcluster: "queue" is missing`},
	"queue of a machine":   {"taskcluster.json", `{` + fa + `: {"taskcluster": {"queue": "releng-hardware/"}}}`, `taskcluster.json:1: ` + a + `: taskcluster: "queue" "releng-hardware/" must be a provisioner ID, / and a worker type, like releng-hardware/gecko-t-linux`},
	"letter case of a key": {"xen.json", `{` + fa + `: {` + vm + `, "Probe": "icmp"}}`, `xen.json:1: ` + a + `: "Probe" is not known here; known are "xen_uuid", "probe"`},
	"no account":           {"ssh.json", `{` + fa + `: {}}`, `ssh.json:1: ` + a + `: "ssh" is missing`},
	"port and no account":  {"ssh.json", `{` + fa + `: {"port": 22, "addr": "x"}}`, `ssh.json:1: ` + a + `: "ssh" is missing`},
	"account is a list":    {"ssh.json", `{` + fa + `: {"ssh": ["roller", "hunter2"]}}`, `ssh.json:1: ` + a + `: ssh: must be an object, not a list`},
	"user is an option":    {"ssh.json", `{` + fa + `: {"ssh": {"user": "-x", "key_file": "KEY"}}}`, `ssh.json:1: ` + a + `: ssh: "user" must not begin with -`},
	"boot_id as text":      {"ssh.json", `{` + fa + `: {"ssh": {"user": "roller", "key_file": "KEY", "boot_id": "yes"}}}`, `ssh.json:1: ` + a + `: ssh: "boot_id" must be true or false, not a text`},
	"two bastions": {
		"ssh.json", `{` + fa + `: {"ssh": {"user": "roller", "key_file": "KEY", "jump": "x@a,y@b"}}}`,
		`ssh.json:1: ` + a + `: ssh: "jump" "x@a,y@b" must be one bastion: host, user@host or user@host:port`,
	},
	"key for no bastion": {
		"ssh.json", `{` + fa + `: {"ssh": {"user": "roller", "key_file": "KEY", "jump_key_file": "KEY"}}}`,
		`ssh.json:1: ` + a + `: ssh: "jump_key_file" is of no use without "jump"`,
	},
	"addr with port":       {"ssh.json", `{` + fa + `: {` + account + `, "addr": "10.0.0.1:22"}}`, `ssh.json:1: ` + a + `: "addr" "10.0.0.1:22" must be a host name or an IP address; the port has a key of its own`},
	"addr is an option":    {"ssh.json", `{` + fa + `: {` + account + `, "addr": "-x"}}`, `ssh.json:1: ` + a + `: "addr" "-x" must be a host name or an IP address; the port has a key of its own`},
	"addr is empty":        {"ssh.json", `{` + fa + `: {` + account + `, "addr": ""}}`, `ssh.json:1: ` + a + `: "addr" must not be empty`},
	"port 0":               {"ssh.json", `{` + fa + `: {` + account + `, "port": 0}}`, `ssh.json:1: ` + a + `: "port" must be a number from 1 to 65535`},
	"port as text":         {"ssh.json", `{` + fa + `: {` + account + `, "port": "22"}}`, `ssh.json:1: ` + a + `: "port" must be a number from 1 to 65535`},
	"port with a point":    {"ssh.json", `{` + fa + `: {` + account + `, "port": 22.5}}`, `ssh.json:1: ` + a + `: "port" must be a number from 1 to 65535`},
	"probe":                {"ssh.json", `{` + fa + `: {` + account + `, "probe": "udp:22"}}`, `ssh.json:1: ` + a + `: "probe" "udp:22" must be "icmp" or "tcp:" and a port`},
	"probe without a port": {"ssh.json", `{` + fa + `: {` + account + `, "probe": "tcp"}}`, `ssh.json:1: ` + a + `: "probe" "tcp" must be "icmp" or "tcp:" and a port`},
	"probe is a number":    {"ssh.json", `{` + fa + `: {` + account + `, "probe": 22}}`, `ssh.json:1: ` + a + `: "probe" must be a text, not a number`},
	"no password":          {"ipmi.json", `{` + fa + `: {"ipmi": {"user": "admin"}}}`, `ipmi.json:1: ` + a + `: ipmi: "password" is missing`},
	"empty password":       {"ipmi.json", `{` + fa + `: {"ipmi": {"user": "admin", "password": ""}}}`, `ipmi.json:1: ` + a + `: ipmi: "password" must not be empty`},
	"password is a number": {"ipmi.json", `{` + fa + `: {"ipmi": {"user": "hunter2", "password": 1234}}}`, `ipmi.json:1: ` + a + `: ipmi: "password" must be a text, not a number`},
	"password too long":    {"ipmi.json", `{` + fa + `: {"ipmi": {"user": "admin", "password": "hunter2hunter2hunter2"}}}`, `ipmi.json:1: ` + a + `: ipmi: "password" is 21 bytes long and must be 20 at most`},
	"user too long":        {"ipmi.json", `{` + fa + `: {"ipmi": {"user": "administrator-of-a", "password": "hunter2"}}}`, `ipmi.json:1: ` + a + `: ipmi: "user" must be 16 bytes at most`},
	"no outlet":            {"pdus.json", `{` + fa + `: {"addr": "x"}}`, `pdus.json:1: ` + a + `: "pdu" is missing`},
	"no outlets":           {"pdus.json", `{` + fa + `: {"pdu": []}}`, `pdus.json:1: ` + a + `: "pdu" must not be empty`},
	"outlet":               {"pdus.json", `{` + fa + `: {"pdu": "pdu1"}}`, `pdus.json:1: ` + a + `: "pdu1" is not an outlet: ` + outletIn},
	"second outlet":        {"pdus.json", `{` + fa + `: {"pdu": ["pdu1:AA1",` + "\n" + `2]}}`, `pdus.json:2: ` + a + `: an outlet must be a text, not a number`},
	"outlet twice":         {"pdus.json", `{` + fa + `: {"pdu": ["pdu1:AA1", "PDU1:aa1"]}}`, `pdus.json:1: ` + a + `: outlet pdu1:AA1 stands twice`},
	"UUID":                 {"xen.json", `{` + fa + `: {"xen_uuid": "hunter"}}`, `xen.json:1: ` + a + `: "xen_uuid" "hunter" is not a UUID`},
	"UUID is null":         {"xen.json", `{` + fa + `: {"xen_uuid": null}}`, `xen.json:1: ` + a + `: "xen_uuid" must be a text, not null`},
	"addr of a VM":         {"xen.json", `{` + fa + `: {` + vm + `, "addr": "x"}}`, `xen.json:1: ` + a + `: "addr" is not known here; known are "xen_uuid", "probe"`},

	"one BMC": {
		"ipmi.json", `{` + fa + `: {` + bmc + ", \"addr\": \"10.0.0.1\"},\n" + fb + `: {` + bmc + `, "addr": "10.0.0.1"}}`,
		`ipmi.json:2: BMC 10.0.0.1:623 belongs to ` + b + ` here, but ` + a + ` at ipmi.json:1`,
	},
	"one BMC in two letter cases": {
		"ipmi.json", `{` + fa + `: {` + bmc + ", \"addr\": \"bmc\"},\n" + fb + `: {` + bmc + `, "addr": "BMC", "port": 623}}`,
		`ipmi.json:2: BMC bmc:623 belongs to ` + b + ` here, but ` + a + ` at ipmi.json:1`,
	},
	"one address": {
		"ssh.json", `{` + fa + `: {` + account + ", \"addr\": \"10.0.0.1\"},\n" + fb + `: {` + account + `, "addr": "10.0.0.1"}}`,
		`ssh.json:2: SSH at 10.0.0.1:22 belongs to ` + b + ` here, but ` + a + ` at ssh.json:1`,
	},
	"one outlet": {
		"pdus.json", `{` + fa + ": {\"pdu\": \"pdu1:AA1\"},\n" + fb + `: {"pdu": "PDU1:aa1"}}`,
		`pdus.json:2: outlet pdu1:AA1 feeds ` + b + ` here, but ` + a + ` at pdus.json:1`,
	},
	"one PDU at two addresses": {
		"pdus.json", `{` + fa + ": {\"pdu\": \"pdu1:AA1\"},\n" + fb + `: {"pdu": "pdu1:AA2", "addr": "10.0.0.1"}}`,
		`pdus.json:2: PDU pdu1 is dialled at 10.0.0.1:161 here, but pdu1:161 at pdus.json:1`,
	},
	"two PDUs at one address": {
		"pdus.json", `{` + fa + ": {\"pdu\": \"pdu1:AA1\", \"addr\": \"10.0.0.1\"},\n" + fb + `: {"pdu": "pdu2:AA1", "addr": "10.0.0.1"}}`,
		`pdus.json:2: PDU address 10.0.0.1:161 belongs to pdu2 here, but pdu1 at pdus.json:1`,
	},
	"one VM": {
		"xen.json", `{` + fa + `: {` + vm + "},\n" + fb + `: {` + vm + `}}`,
		`xen.json:2: VM 2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10 belongs to ` + b + ` here, but ` + a + ` at xen.json:1`,
	},
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range badFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := write(t, map[string]string{tc.file: tc.content})
			v, err := LoadInventory(w.files)
			require.Nil(t, v)
			require.Error(t, err)
			require.Equal(t, tc.want, strings.ReplaceAll(err.Error(), w.dir+"/", ""))
			require.NotContains(t, err.Error(), hush)
		})
	}
}

// TestFilesThatContradictEachOther has mistakes that one file alone has not.
func TestFilesThatContradictEachOther(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ssh, ipmi, want string
	}{
		"two probes": {
			`{` + fa + `: {` + account + ",\n\"probe\": \"tcp:22\"}}", `{` + fa + `: {` + bmc + `, "probe": "icmp"}}`,
			`ipmi.json:1: ` + a + `: probe "icmp" contradicts "tcp:22" at ssh.json:2`,
		},
		"two letter cases": {
			"{\n" + fa + `: {` + account + `}}`, "{\n\n" + strings.ToUpper(fa) + `: {` + bmc + `}}`,
			`ipmi.json:3: "` + strings.ToUpper(a) + `" is spelled "` + a + `" at ssh.json:2`,
		},
		"two full names": {
			`{` + fa + `: {` + account + `}}`, `{"a.wintest.releng.mdc1.mozilla.com": {` + bmc + `}}`,
			`ipmi.json:1: "a.wintest.releng.mdc1.mozilla.com" is machine mdc1/a, but so is "` + a + `" at ssh.json:1`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := write(t, map[string]string{"ssh.json": tc.ssh, "ipmi.json": tc.ipmi})
			_, err := LoadInventory(w.files)
			require.Error(t, err)
			require.Equal(t, tc.want, strings.ReplaceAll(err.Error(), w.dir+"/", ""))
		})
	}
}

// FuzzParseJSON holds that the reader never panics, takes what encoding/json
// takes, and finds for every top-level key the line it stands in.
func FuzzParseJSON(f *testing.F) {
	for _, tc := range badFiles {
		f.Add([]byte(tc.content))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, bad := parseJSON("f", data)
		require.Equal(t, json.Valid(data) && utf8.Valid(data), bad == nil)
		lines := strings.Count(string(data), "\n") + 1
		if bad != nil {
			require.Nil(t, n)
			require.True(t, bad.line >= 1 && bad.line <= lines, "line %d of %d", bad.line, lines)
			return
		}
		last := 1
		for _, field := range n.fields {
			require.True(t, field.line >= last && field.line <= lines, "line %d of %d", field.line, lines)
			last = field.line
		}
	})
}
