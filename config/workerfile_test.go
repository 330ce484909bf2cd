package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// worker writes a file of the later shape.
func worker(t *testing.T, content string) Files {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "ssh.key")
	writeKey(t, key, "")
	path := filepath.Join(dir, "worker.json")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(content, "KEY", key)), 0o600))
	return Files{Worker: path}
}

const rack = `{
	"snmp_community_string": "hunter2-snmp",
	"types": {
		"moonshot": {
			"args": ["-B 0", "-b 7", "-L", "ADMINISTRATOR", "-C", "3"],
			"map": {"c1n1": ["-T 0x82", "-t 0x72"], "c10n1": ["-T 0x94", "-t 0x72"]},
			"commands": {"ipmi_reset": ["chassis", "power", "reset"]},
			"taskcluster": {"queue": "releng-hardware/gecko-t-linux", "drain": true}
		}
	},
	"servers": {
		"moon-chassis-1": {"fqdn": "moon-chassis-1.inband.releng.mdc1.mozilla.com", "user": "Administrator", "password": "hunter2", "type": "moonshot"},
		"T-linux64-ms-001": {"fqdn": "t-linux64-ms-001.test.releng.mdc1.mozilla.com", "parent": "moon-chassis-1", "addr": "c1n1", "bug_cc": ["a@example.com"], "uptime": {"port": 1161},
			"ssh": {"user": "roller", "key_file": "KEY"}},
		"t-linux64-ms-010": {"fqdn": "t-linux64-ms-010.test.releng.mdc1.mozilla.com", "parent": "moon-chassis-1", "addr": "C10N1", "user": "op", "password": "hunter2-own", "uptime": {}},
		"t-linux64-ms-045": {"fqdn": "t-linux64-ms-045.test.releng.mdc1.mozilla.com", "parent": "moon-chassis-1", "addr": "c45n1", "taskcluster": {"queue": "releng-hardware/gecko-t-staging"}},
		"t-yosemite-001.test.releng.mdc2.mozilla.com": {"pdu": "pdu1.example:aa6", "ilo": ["ILO1.example", ["--login", "x", "--password=hunter2", "--timeout 60"]], "xen": {"reboot": ["2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"]}},
		"plain": {"fqdn": "plain.test.releng.mdc2.mozilla.com", "addr": "10.0.0.9", "user": "admin", "password": "hunter2", "kg": "hunter2-kg", "privilege": "operator", "cipher_suites": [3], "port": 6230}
	}
}`

func TestWorkerFile(t *testing.T) {
	t.Parallel()
	v, err := LoadInventory(worker(t, rack))
	require.NoError(t, err)
	require.Equal(t, "hunter2-snmp", v.Community.Reveal())
	require.Len(t, v.Warnings, 1)
	require.Contains(t, v.Warnings[0], `"--timeout" of "ilo" is not read: ILO_TIMEOUT counts`)
	got := map[string]Machine{}
	for _, m := range v.Machines() {
		got[m.WorkerID] = m
	}
	require.Len(t, got, 5, "a chassis is no machine")
	own := map[string][]string{"ipmi_reset": {"chassis", "power", "reset"}}
	chassis := "moon-chassis-1.inband.releng.mdc1.mozilla.com"
	require.Equal(t, &IPMI{
		Host: chassis, Port: 623, User: "Administrator", Password: NewSecret(hush), Privilege: "ADMINISTRATOR",
		CipherSuites: []int{3}, Bridge: []string{"-B", "0", "-b", "7", "-T", "0x82", "-t", "0x72"}, Commands: own,
	}, got["t-linux64-ms-001"].IPMI)
	require.Equal(t, []string{"a@example.com"}, got["t-linux64-ms-001"].BugCC)
	require.Equal(t, "t-linux64-ms-001.test.releng.mdc1.mozilla.com", got["t-linux64-ms-001"].Addr, "SSH goes to the machine, not to its place")
	require.Equal(t, "roller", got["t-linux64-ms-001"].SSH.User)
	require.Equal(t, &Uptime{Port: 1161}, got["t-linux64-ms-001"].Uptime)
	require.Equal(t, &Uptime{Port: 161}, got["t-linux64-ms-010"].Uptime, "of the machine, not of its chassis")
	require.Nil(t, got["t-linux64-ms-010"].SSH)
	require.Nil(t, got["t-linux64-ms-045"].Uptime)
	require.Equal(t, &Queue{ProvisionerID: "releng-hardware", WorkerType: "gecko-t-linux", Drain: true}, got["t-linux64-ms-010"].Queue, "by the type of its chassis")
	require.Equal(t, &Queue{ProvisionerID: "releng-hardware", WorkerType: "gecko-t-staging"}, got["t-linux64-ms-045"].Queue, "its own goes before its type's")
	require.Nil(t, got["plain"].Queue)
	require.Equal(t, "op", got["t-linux64-ms-010"].IPMI.User)
	require.Equal(t, []string{"-B", "0", "-b", "7", "-T", "0x94", "-t", "0x72"}, got["t-linux64-ms-010"].IPMI.Bridge)
	require.Equal(t, []string{"-B", "0", "-b", "7", "-T", "0xda", "-t", "0x72"}, got["t-linux64-ms-045"].IPMI.Bridge, "by the formula: the map need not have it")
	mac := got["t-yosemite-001"]
	require.Nil(t, mac.IPMI)
	require.Equal(t, &ILO{Host: "ilo1.example", Port: 443, User: "x", Password: NewSecret(hush)}, mac.ILO)
	require.Equal(t, &Xen{UUID: "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"}, mac.Xen)
	require.Equal(t, 6, mac.Outlets[0].Number)
	require.Equal(t, &IPMI{
		Host: "10.0.0.9", Port: 6230, User: "admin", Password: NewSecret(hush), KG: NewSecret("hunter2-kg"),
		Privilege: "OPERATOR", CipherSuites: []int{3},
	}, got["plain"].IPMI)
	for id, tool := range map[string]bool{"t-linux64-ms-001": true, "plain": true} {
		require.Equal(t, tool, got[id].IPMI.NeedsTool(), id)
	}
	require.False(t, IPMI{Host: "x"}.NeedsTool())

	for spelled, want := range map[string]string{"T-LINUX64-MS-001": "t-linux64-ms-001", "t-yosemite-001.test.releng.mdc2.mozilla.com": "t-yosemite-001"} {
		m, err := v.Resolve(spelled, "none")
		require.NoError(t, err)
		require.Equal(t, want, m.WorkerID)
	}
}

func TestWorkerFileNamesOnly(t *testing.T) {
	t.Parallel()
	f := worker(t, rack)
	f.NamesOnly = true
	v, err := LoadInventory(f)
	require.NoError(t, err)
	require.True(t, v.Community.IsZero())
	for _, m := range v.Machines() {
		if m.IPMI != nil {
			require.True(t, m.IPMI.Password.IsZero() && m.IPMI.KG.IsZero(), m.FQDN)
		}
		if m.ILO != nil {
			require.True(t, m.ILO.Password.IsZero(), m.FQDN)
		}
	}
}

func TestWorkerFileMistakes(t *testing.T) {
	t.Parallel()
	const chassis = `"ch": {"user": "u", "password": "hunter2", "type": "moonshot"}`
	one := func(keys string) string {
		return `{"servers": {` + chassis + ",\n" + fa + `: {"parent": "ch", ` + keys + `}}}`
	}
	types := func(body string) string { return "{\"types\": {\"moonshot\": {\n" + body + "}}, \"servers\": {}}" }
	for name, tc := range map[string]struct{ content, want string }{
		"a list":               {`[]`, `worker.json:1: the file: must be an object, not a list`},
		"no servers":           {`{}`, `worker.json:1: the file: "servers" is missing`},
		"unknown key":          {"{\"servers\": {},\n\"server\": {}}", `worker.json:2: the file: "server" is not known here; known are "snmp_community_string", "types", "servers"`},
		"unknown key, server":  {one(`"addr": "c1n1", "adr": "x"`), `worker.json:2: ` + a + `: "adr" is not known here; known are ` + quoted(serverKeys)},
		"unknown type":         {`{"servers": {"ch": {"user": "u", "password": "hunter2"},` + "\n" + fa + `: {"parent": "ch", "addr": "c1n1", "type": "sunshot"}}}`, `worker.json:2: ` + a + `: type "sunshot" is not in "types"`},
		"no type":              {`{"servers": {"ch": {"user": "u", "password": "hunter2"},` + "\n" + fa + `: {"parent": "ch", "addr": "c1n1"}}}`, `worker.json:2: ` + a + `: a server with a "parent" needs a "type", here or there`},
		"no account":           {`{"servers": {"ch": {"type": "moonshot", "user": "u"},` + "\n" + fa + `: {"parent": "ch", "addr": "c1n1"}}}`, `worker.json:1: ch: "password" is missing`},
		"a chassis's, once":    {`{"servers": {"ch": {"type": "moonshot", "user": "u", "password": 5},` + "\n" + fa + `: {"parent": "ch", "addr": "c1n1"},` + "\n" + fb + `: {"parent": "ch", "addr": "c2n1"}}}`, `worker.json:1: ch: "password" must be a text, not a number`},
		"no place":             {one(`"type": "moonshot"`), `worker.json:2: ` + a + `: "addr" is missing` + "\n" + `worker.json:2: ` + a + `: "addr" "" is not a cartridge: write c10n1 for node 1 of cartridge 10`},
		"slot 46":              {one(`"addr": "c46n1"`), `worker.json:2: ` + a + `: "addr" "c46n1" is not a cartridge: they are c1n1 to c45n4`},
		"node 5":               {one(`"addr": "c1n5"`), `worker.json:2: ` + a + `: "addr" "c1n5" is not a cartridge: they are c1n1 to c45n4`},
		"node 2":               {one(`"addr": "c1n2"`), `worker.json:2: ` + a + `: "addr" "c1n2": where node 2 answers is known to no formula: give its "-t" in the map of type "moonshot" ("sdr list mcloc" of its cartridge tells it), or leave IPMI to moonshot_reset`},
		"node 2 as node 1":     {types(`"map": {"c1n2": ["-t 0x72"]}`), `worker.json:2: moonshot: map: "c1n2" has -t 0x72, which is node 1's`},
		"node 3 as node 2":     {types(`"map": {"c1n2": ["-t 0x74"],` + "\n" + `"c2n2": ["-t 0x74"], "C1N3": ["-t", "116"]}`), `worker.json:3: moonshot: map: "C1N3" has the -t of "c1n2"`},
		"another slot, node 2": {types(`"map": {"c2n2": ["-T 0x82", "-t 0x74"]}`), `worker.json:2: moonshot: map: "c2n2" has -T 0x82, where the formula for c2n2 gives -T 0x84`},
		"one place twice":      {`{"servers": {` + chassis + ",\n" + fa + `: {"parent": "ch", "addr": "c1n1"},` + "\n" + fb + `: {"parent": "CH", "addr": "C1N1"}}}`, `worker.json:3: BMC ch:623 -B 0 -b 7 -T 0x82 -t 0x72 belongs to ` + b + ` here, but ` + a + ` at worker.json:2`},
		"the old map's error":  {types(`"map": {"c42n1": ["-T 0xd4", "-t 0x72"],` + "\n" + `"c43n1": ["-T 0xd5", "-t 0x72"]}`), `worker.json:3: moonshot: map: "c43n1" has -T 0xd5, where the formula for c43n1 gives -T 0xd6`},
		"another target":       {types(`"map": {"c1n1": ["-T", "0x82", "-t", "0x74"]}`), `worker.json:2: moonshot: map: "c1n1" has -t 0x74, where the formula for c1n1 gives -t 0x72`},
		"another channel":      {`{"types": {"moonshot": {"args": ["-B 1"]}}, "servers": {` + chassis + ",\n" + fa + `: {"parent": "ch", "addr": "c1n1"}}}`, `worker.json:2: ` + a + `: type "moonshot" has -B 1, where the formula for c1n1 gives -B 0`},
		"a password as option": {types(`"args": ["-P hunter2"]`), `worker.json:2: moonshot: args has an option that is not known here; known are "-B", "-C", "-I", "-L", "-T", "-b", "-p", "-t"`},
		"retries":              {types(`"args": ["-R 4"]`), `worker.json:2: moonshot: args has an option that is not known here; known are "-B", "-C", "-I", "-L", "-T", "-b", "-p", "-t"`},
		"open interface":       {types(`"args": ["-I open"]`), `worker.json:2: moonshot: args -I must be lanplus`},
		"no value":             {types(`"args": ["-B"]`), `worker.json:2: moonshot: args -B must stand once and have a value`},
		"an option as command": {types(`"commands": {"ipmi_reset": ["-P", "x"]}`), `worker.json:2: moonshot: commands: "ipmi_reset": "-P" is no word of a command`},
		"unknown command":      {types(`"commands": {"ipmi_explode": ["x"]}`), `worker.json:2: moonshot: commands: "ipmi_explode" is not known here; known are ` + quoted(typeCommands)},
		"another name":         {`{"servers": {"b": {"fqdn": ` + fa + `}}}`, `worker.json:1: b: "fqdn" "` + a + `" is machine "a", so the server must be called that`},
		"suite 2":              {`{"servers": {` + fa + `: {"user": "u", "password": "hunter2", "cipher_suites": [2]}}}`, `worker.json:1: ` + a + `: a cipher suite must be 17 or 3`},
		"privilege":            {`{"servers": {` + fa + `: {"user": "u", "password": "hunter2", "privilege": "GOD"}}}`, `worker.json:1: ` + a + `: "privilege" "GOD" must be one of CALLBACK, USER, OPERATOR, ADMINISTRATOR`},
		"a queue of a type":    {types(`"taskcluster": {"queue": "releng-hardware"}`), `worker.json:2: moonshot: taskcluster: "queue" "releng-hardware" must be a provisioner ID, / and a worker type, like releng-hardware/gecko-t-linux`},
		"drain, a text":        {`{"servers": {` + fa + `: {"taskcluster": {"queue": "a/b", "drain": "yes"}}}}`, `worker.json:1: ` + a + `: taskcluster: "drain" must be true or false, not a text`},
		"uptime":               {`{"servers": {` + fa + `: {"uptime": {"version": "1"}}}}`, `worker.json:1: ` + a + `: uptime: "version" must be "2c" or "3"`},
		"efi":                  {`{"servers": {` + fa + `: {"user": "u", "password": "hunter2", "efi": "yes"}}}`, `worker.json:1: ` + a + `: "efi" must be true or false, not a text`},
		"kg":                   {`{"servers": {` + fa + `: {"user": "u", "password": "hunter2", "kg": "hunter2hunter2hunter2"}}}`, `worker.json:1: ` + a + `: "kg" is 21 bytes long and must be 20 at most`},
		"ilo":                  {`{"servers": {` + fa + `: {"ilo": "x"}}}`, `worker.json:1: ` + a + `: "ilo" must be a list of the iLO's host and a list of arguments`},
		"ilo, an option":       {`{"servers": {` + fa + `: {"ilo": ["i", ["--login", "x", "--pasword", "hunter2"]]}}}`, `worker.json:1: ` + a + `: "ilo" has an argument that is not known here; known are ` + quoted(iloOptions)},
		"ilo, no password":     {`{"servers": {` + fa + `: {"ilo": ["i", ["--login", "x"]]}}}`, `worker.json:1: ` + a + `: "ilo" must have both of --login and --password, or neither: then ILO_USERNAME and ILO_PASSWORD count`},
		"ilo, no value":        {`{"servers": {` + fa + `: {"ilo": ["i", ["--password"]]}}}`, `worker.json:1: ` + a + `: "ilo" --password must stand once and have a value`},
		"ilo, fingerprint":     {`{"servers": {` + fa + `: {"ilo": ["i", ["--fingerprint", "hunter"]]}}}`, `worker.json:1: ` + a + `: "ilo" --fingerprint "hunter" is not a fingerprint: write sha256: and 64 hexadecimal digits`},
		"ilo, two machines":    {`{"servers": {` + fa + `: {"ilo": ["i"]},` + "\n" + fb + `: {"ilo": ["I"]}}}`, `worker.json:2: iLO i:443 belongs to ` + b + ` here, but ` + a + ` at worker.json:1`},
		"a server twice":       {`{"servers": {"x": {},` + "\n" + `"X": {}}}`, `worker.json:1: "x" is not of the form {worker_id}.test.releng.{worker_group}.mozilla.com or {worker_id}.wintest.releng.{worker_group}.mozilla.com (FQDN_TEMPLATES)` + "\n" + `worker.json:2: the file: servers: "X" stands twice, first in line 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := worker(t, tc.content)
			v, err := LoadInventory(f)
			require.Nil(t, v)
			require.Error(t, err)
			require.Equal(t, tc.want, strings.ReplaceAll(err.Error(), filepath.Dir(f.Worker)+"/", ""))
			require.NotContains(t, err.Error(), hush)
		})
	}
}

// What no formula knows, the map says: the address of a cartridge's further nodes.
func TestFurtherNodes(t *testing.T) {
	t.Parallel()
	v, err := LoadInventory(worker(t, `{"types": {"moonshot": {"map": {"c2n1": ["-t 0x72"], "c2n2": ["-t", "0x74"]}}}, "servers": {
		"ch": {"user": "u", "password": "hunter2", "type": "moonshot"},
		`+fa+`: {"parent": "ch", "addr": "c2n1"}, `+fb+`: {"parent": "ch", "addr": "C2N2"}}}`))
	require.NoError(t, err)
	require.Equal(t, []string{"-B", "0", "-b", "7", "-T", "0x84", "-t", "0x72"}, v.Machines()[0].IPMI.Bridge)
	require.Equal(t, []string{"-B", "0", "-b", "7", "-T", "0x84", "-t", "0x74"}, v.Machines()[1].IPMI.Bridge)
}

// TestBridgeByTheFormula holds all 45 cartridges against the addresses that the
// later service's map had, less its one error.
func TestBridgeByTheFormula(t *testing.T) {
	t.Parallel()
	for slot := 1; slot <= maxSlot; slot++ {
		c, err := ParseCartridge(fmt.Sprintf("C%dN1", slot))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("c%dn1", slot), c.String())
		require.Equal(t, []string{"-B", "0", "-b", "7", "-T", fmt.Sprintf("0x%02x", 128+slot+slot), "-t", "0x72"}, c.Bridge())
	}
}

func TestWorkerFileStandsAlone(t *testing.T) {
	t.Parallel()
	_, err := Load([]string{"WORKER_CONFIG_PATH=w.json", "FQDN_TO_IPMI_FILE=ipmi.json"})
	require.EqualError(t, err, `WORKER_CONFIG_PATH="w.json": must not be set together with a FQDN_TO_..._FILE: it is the whole inventory`)
	c, err := Load([]string{"WORKER_CONFIG_PATH=w.json"})
	require.NoError(t, err)
	require.Len(t, sources(c.Files), 1, "nor are the files with the default names read")
}

func TestLiveFollowsTheWorkerFile(t *testing.T) {
	t.Parallel()
	f := worker(t, rack)
	l := live(t, f)
	l.settle()
	overwrite(t, f.Worker, `{"servers": {`+fa+`: {}}}`)
	require.Equal(t, 1, l.later())
}

func TestWorkerSample(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../deploy/samples/worker.json")
	require.NoError(t, err)
	v, err := LoadInventory(worker(t, strings.ReplaceAll(string(data), "/etc/roller/ssh.key", "KEY")))
	require.NoError(t, err)
	require.Empty(t, v.Warnings)
	require.Len(t, v.Machines(), 3)
}

// FuzzWorkerFile holds that no file of the later shape makes the reader panic,
// and that whatever it takes bridges by the formula.
func FuzzWorkerFile(f *testing.F) {
	f.Add(rack)
	f.Add(`{"types": {"moonshot": {"map": {"c1n1": "x"}}}, "servers": {"a": {"xen": {"reboot": []}, "ilo": [[]]}}}`)
	f.Add(`{"servers": {"a.test.releng.b.mozilla.com": {"parent": "a.test.releng.b.mozilla.com", "type": "moonshot", "addr": "c1n1"}}}`)
	f.Fuzz(func(t *testing.T, content string) {
		root, bad := parseJSON("worker.json", []byte(content))
		if bad != nil {
			return
		}
		r, err := newReading(Files{NamesOnly: true})
		require.NoError(t, err)
		r.worker("worker.json", root)
		if r.err(nil) != nil {
			return
		}
		for _, m := range r.machines {
			if m.IPMI == nil || len(m.IPMI.Bridge) == 0 {
				continue
			}
			require.Zero(t, len(m.IPMI.Bridge)%2)
			for i := 0; i < len(m.IPMI.Bridge); i += 2 {
				require.True(t, slices.Contains(bridgeOrder, m.IPMI.Bridge[i]))
			}
		}
	})
}

func FuzzParseCartridge(f *testing.F) {
	for _, seed := range []string{"c1n1", "C45N1", "c46n1", "c0n1", "c01n1", "c1n2", "", "c１n1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCartridge(text)
		if err != nil {
			return
		}
		require.True(t, strings.EqualFold(text, c.String()))
		require.True(t, c.Slot >= 1 && c.Slot <= maxSlot && c.Node >= 1 && c.Node <= maxNode)
	})
}

// How a machine's firmware boots stands in its own entry, or in its chassis's.
func TestEFI(t *testing.T) {
	t.Parallel()
	v, err := LoadInventory(worker(t, `{"types": {"moonshot": {}}, "servers": {
		"ch": {"user": "u", "password": "hunter2", "type": "moonshot", "efi": true},
		`+fa+`: {"parent": "ch", "addr": "c1n1"},
		`+fb+`: {"user": "u", "password": "hunter2"}}}`))
	require.NoError(t, err)
	require.True(t, v.Machines()[0].IPMI.EFI)
	require.False(t, v.Machines()[1].IPMI.EFI)
}
