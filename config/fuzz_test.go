package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzInventoryFiles holds that no file of any of the kinds makes the reader
// panic or print a secret, and that what it takes is found again by its name.
func FuzzInventoryFiles(f *testing.F) {
	for i := range kindsOfFiles {
		f.Add(uint8(i), `{"ms1-10.test.releng.mdc1.mozilla.com": {}}`)
		f.Add(uint8(i), `[]`)
	}
	for i, seed := range []string{
		`{"ms1-10.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "k", "jump": "a@b:22"}}}`,
		`{"ms1-10.test.releng.mdc1.mozilla.com": {"ipmi": {"user": "u", "password": "hunter2", "kg": "0x00", "cipher_suites": [17, 3]}, "addr": "::1"}}`,
		`{"r": {` + relay + `, "index": "group.outlet", "group": 0}}`,
		`{"u": {` + someUser + `}}`,
		`{"ms1-10.test.releng.mdc1.mozilla.com": {"pdu": ["pdu1:AB12", "pdu2:1.7"], "version": "2c", "profile": "poe"}}`,
		`{"ms1-10.test.releng.mdc1.mozilla.com": {"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10", "probe": "tcp:22"}}`,
		`{"ms1-10.test.releng.mdc1.mozilla.com": {"ilo": {"password": "hunter2"}, "addr": "10.0.0.1", "port": 443}}`,
		`{"ms1-10.test.releng.mdc1.mozilla.com": {"moonshot": {"user": "u", "password": "hunter2", "node": "c10n1"}, "addr": "x"}}`,
		`{"ms1-10.test.releng.mdc1.mozilla.com": {"taskcluster": {"queue": "releng-hardware/gecko-t-linux", "drain": true}}}`,
	} {
		f.Add(uint8(i), seed)
	}
	f.Fuzz(func(t *testing.T, kind uint8, content string) {
		path := filepath.Join(t.TempDir(), "f.json")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		at := map[int]func(*Files){
			0: func(f *Files) { f.SSH = path }, 1: func(f *Files) { f.IPMI = path }, 2: func(f *Files) { f.PDUProfiles = path },
			3: func(f *Files) { f.SNMPUsers = path }, 4: func(f *Files) { f.PDU = path }, 5: func(f *Files) { f.Xen = path },
			6: func(f *Files) { f.ILO = path }, 7: func(f *Files) { f.Moonshot = path }, 8: func(f *Files) { f.Taskcluster = path },
		}
		files := Files{NamesOnly: true}
		at[int(kind)%len(kindsOfFiles)](&files)
		v, err := LoadInventory(files)
		if err != nil {
			require.NotContains(t, err.Error(), "hunter2")
			return
		}
		for _, m := range v.Machines() {
			found, err := v.Resolve(strings.ToUpper(m.WorkerID), m.WorkerGroup)
			require.NoError(t, err)
			require.Equal(t, m.FQDN, found.FQDN)
		}
	})
}

// FuzzValidateName holds that a name that is taken can be an argument of a
// program, a part of a URL's path and of a host name.
func FuzzValidateName(f *testing.F) {
	for _, seed := range []string{"ms1-10", "-v", "", "a b", "a/b", "..", "ms1-10\n", "ｍs", strings.Repeat("x", 129)} {
		f.Add(seed, "mdc1")
		f.Add("ms1-10", seed)
	}
	v := NewInventory(Machine{Name: Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: "ms1-10.test.releng.mdc1.mozilla.com"})
	f.Fuzz(func(t *testing.T, id, group string) {
		if len(ValidateName(id, group)) == 0 {
			for _, name := range []string{id, group} {
				require.Empty(t, strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
				require.False(t, name == "" || len(name) > 128 || strings.HasPrefix(name, "-"))
			}
		}
		if m, err := v.Resolve(id, group); err == nil {
			require.Equal(t, "ms1-10.test.releng.mdc1.mozilla.com", m.FQDN)
			require.True(t, strings.EqualFold(id, m.WorkerID) || strings.EqualFold(id, m.FQDN))
		}
	})
}
