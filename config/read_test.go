package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadInventory(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{
		"ssh.json": `{
			"MS1.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "KEY", "boot_id": true}, "addr": "127.0.0.1", "port": 2022, "probe": "tcp:2022"},
			"ms2.wintest.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "KEY"}},
			"ms3.test.releng.mdc1.mozilla.com": {"addr": "::1"}
		}`,
		"ipmi.json": `{
			"MS1.test.releng.mdc1.mozilla.com": {"ipmi": {"user": "admin", "password": "hunter2"}, "addr": "BMC1.example", "port": 6230, "probe": "tcp:2022"},
			"ms3.test.releng.mdc1.mozilla.com": {"ipmi": {"user": "admin", "password": "hunter2"}}
		}`,
		"pdus.json": `{
			"ms2.wintest.releng.mdc1.mozilla.com": {"pdu": "PDU1.example:ab12"},
			"ms3.test.releng.mdc1.mozilla.com": {"pdu": ["pdu2:AA1", "pdu2:BA1"], "addr": "127.0.0.2", "port": 1161, "probe": "icmp"}
		}`,
		"xen.json": `{"ms4.test.releng.mdc2.mozilla.com": {"xen_uuid": "2B0CB1C2-6a3d-4c3e-9a52-0e4a5b1d7f10"}}`,
	})
	v, err := LoadInventory(w.files)
	require.NoError(t, err)
	require.Empty(t, v.Warnings)
	icmp := Probe{Network: "icmp"}
	ms3 := "ms3.test.releng.mdc1.mozilla.com"
	require.Equal(t, []Machine{
		{
			Name: Name{"ms1", "mdc1"}, FQDN: "ms1.test.releng.mdc1.mozilla.com", Addr: "127.0.0.1", Probe: Probe{"tcp", 2022},
			SSH:  &SSH{User: "roller", KeyFile: w.key, Port: 2022, BootID: true},
			IPMI: &IPMI{Host: "bmc1.example", Port: 6230, User: "admin", Password: NewSecret(hush)},
		},
		{
			Name: Name{"ms2", "mdc1"}, FQDN: "ms2.wintest.releng.mdc1.mozilla.com", Addr: "ms2.wintest.releng.mdc1.mozilla.com", Probe: icmp,
			SSH:     &SSH{User: "roller", KeyFile: w.key, Port: 22},
			Outlets: []Outlet{{PDU: "pdu1.example", Host: "pdu1.example", Port: 161, Tower: 1, Infeed: 2, Number: 12, Version: "2c"}},
		},
		{
			Name: Name{"ms3", "mdc1"}, FQDN: ms3, Addr: "::1", Probe: icmp,
			IPMI: &IPMI{Host: ms3, Port: 623, User: "admin", Password: NewSecret(hush)},
			Outlets: []Outlet{
				{PDU: "pdu2", Host: "127.0.0.2", Port: 1161, Tower: 1, Infeed: 1, Number: 1, Version: "2c"},
				{PDU: "pdu2", Host: "127.0.0.2", Port: 1161, Tower: 2, Infeed: 1, Number: 1, Version: "2c"},
			},
		},
		{
			Name: Name{"ms4", "mdc2"}, FQDN: "ms4.test.releng.mdc2.mozilla.com", Addr: "ms4.test.releng.mdc2.mozilla.com", Probe: icmp,
			Xen: &Xen{UUID: "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"},
		},
	}, v.Machines())
}

func TestEmptyInventory(t *testing.T) {
	t.Parallel()
	v, err := LoadInventory(write(t, nil).files)
	require.NoError(t, err)
	require.Empty(t, v.Machines())
}

func TestOwnTemplates(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"xen.json": `{"mdc1-a.b.example": {"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"}}`})
	w.files.FQDNTemplates = []string{"{worker_group}.{worker_id}.test", "{worker_group}.{worker_id}.example"}
	v, err := LoadInventory(w.files)
	require.NoError(t, err)
	m, err := v.Resolve("b", "mdc1-a")
	require.NoError(t, err)
	require.Equal(t, "mdc1-a.b.example", m.FQDN)
	w.files.FQDNTemplates = []string{"x"}
	_, err = LoadInventory(w.files)
	require.EqualError(t, err, `FQDN_TEMPLATES: "x": a template needs {worker_id} and {worker_group}, each once`)
}

func TestFilesThatAreMissing(t *testing.T) { //nolint:paralleltest // changes the working directory
	t.Chdir(t.TempDir())
	v, err := LoadInventory(Files{})
	require.NoError(t, err, "default files may be missing")
	require.Empty(t, v.Machines())

	_, err = LoadInventory(Files{SSH: "ssh.json", Xen: "mine.json"})
	require.EqualError(t, err, "ssh.json: cannot be read: no such file or directory\nmine.json: cannot be read: no such file or directory", "named files may not")

	require.NoError(t, os.WriteFile("xen.json", []byte(`{"a.test.releng.b.mozilla.com":{"xen_uuid":"2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"}}`), 0o600))
	v, err = LoadInventory(Files{})
	require.NoError(t, err)
	require.Len(t, v.Machines(), 1, "a default file that is there is read")
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"ssh.json": `{
		"a.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "KEY"}},
		"b.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "KEY"}}}`})
	require.NoError(t, os.Chmod(w.key, 0o640))
	require.NoError(t, os.Chmod(w.files.SSH, 0o622))
	require.NoError(t, os.Chmod(w.files.IPMI, 0o644))
	v, err := LoadInventory(w.files)
	require.NoError(t, err)
	require.Equal(t, []string{
		w.key + ": this private key is open to others (mode 0640): chmod g-r " + w.key,
		w.files.SSH + ": this file is open to others (mode 0622): chmod g-w,o-w " + w.files.SSH,
		w.files.IPMI + ": this file with passwords is open to others (mode 0644): chmod g-r,o-r " + w.files.IPMI,
	}, v.Warnings)

	if os.Geteuid() != 0 { // whoever may give files away
		return
	}
	require.NoError(t, os.Chmod(w.files.SSH, 0o600))
	for _, path := range []string{w.key, w.files.IPMI} {
		require.NoError(t, os.Chmod(path, 0o640))
		require.NoError(t, os.Chown(path, 65534, 0))
	}
	v, err = LoadInventory(w.files)
	require.NoError(t, err)
	require.Empty(t, v.Warnings, "the group must read what another owns")
}

func TestNamesOnly(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{
		"ssh.json":  `{"a.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "/no/such/key"}}}`,
		"ipmi.json": `{"a.test.releng.mdc1.mozilla.com": {"ipmi": {"user": "admin", "password": "hunter2"}}}`,
	})
	_, err := LoadInventory(w.files)
	require.Error(t, err)
	w.files.NamesOnly = true
	v, err := LoadInventory(w.files)
	require.NoError(t, err)
	m, err := v.Resolve("a", "mdc1")
	require.NoError(t, err)
	require.NotNil(t, m.SSH)
	require.True(t, m.IPMI.Password.IsZero())
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"missing":   {func(*testing.T, string) {}, "cannot be read: no such file or directory"},
		"directory": {func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }, "cannot be read: is a directory"},
		"public": {func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte("ssh-ed25519 AAAA"), 0o600))
		}, "is not a private key (PEM or OpenSSH's own form)"},
		"passphrase": {func(t *testing.T, path string) { writeKey(t, path, hush) }, "has a passphrase, which nobody is there to type; an agent may hold the key (SSH_AUTH_SOCK)"},
		"cut off": {func(t *testing.T, path string) {
			writeKey(t, path, "")
			require.NoError(t, os.Truncate(path, 100))
		}, "is not a private key (PEM or OpenSSH's own form)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := filepath.Join(t.TempDir(), "key")
			tc.make(t, key)
			entry := `: {"ssh": {"user": "roller", "key_file": "` + key + `"}}`
			w := write(t, map[string]string{"ssh.json": `{"a.test.releng.mdc1.mozilla.com"` + entry + `,
				"b.test.releng.mdc1.mozilla.com"` + entry + `}`})
			_, err := LoadInventory(w.files)
			require.EqualError(t, err, w.files.SSH+`:1: key_file "`+key+`" `+tc.want, "once for both machines")
		})
	}
}

// TestEveryMistakeAtOnce has one mistake in each file and two in one.
func TestEveryMistakeAtOnce(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{
		"ssh.json":  "{\n\"a.test.releng.mdc1.mozilla.com\": {\"ssh\": {\"user\": \"roller\"}}}",
		"ipmi.json": "{\"a.test.releng.mdc1.mozilla.com\": {\"ipmi\":\n{\"user\": 1, \"password\": [\"hunter2\"]}}}",
		"pdus.json": "{\"hunter2\": ",
		"xen.json":  "[]",
	})
	_, err := LoadInventory(w.files)
	require.Error(t, err)
	require.NotContains(t, err.Error(), hush)
	require.Equal(t, `ssh.json:2: a.test.releng.mdc1.mozilla.com: ssh: "key_file" is missing
ipmi.json:2: a.test.releng.mdc1.mozilla.com: ipmi: "user" must be a text, not a number
ipmi.json:2: a.test.releng.mdc1.mozilla.com: ipmi: "password" must be a text, not a list
pdus.json:1: is not JSON from here on (column 12)
xen.json:1: must be an object with the machines' full host names as keys, not a list`, strings.ReplaceAll(err.Error(), w.dir+"/", ""))
}
