package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	pinText = "sha256:E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"
	pinSum  = Fingerprint("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	blade   = `"moonshot": {"user": "roller", "password": "hunter2", "node": "C45N1"}`
)

func TestILOAndMoonshotEntries(t *testing.T) {
	t.Parallel()
	contents := map[string]string{
		"ilo.json": `{` + fa + `: {"ilo": {"user": "roller", "password": "hunter2"}, "addr": "10.0.0.1", "port": 8443, "fingerprint": "` + pinText + `"},
			` + fb + `: {"ilo": {}}}`,
		"moonshot.json": `{` + fa + `: {` + blade + `, "addr": "Chassis1"}, ` + fb + `: {` + strings.Replace(blade, "N1", "N2", 1) + `, "addr": "chassis1", "fingerprint": "` + string(pinSum) + `"}}`,
	}
	w := write(t, contents)
	v, err := LoadInventory(w.files)
	require.NoError(t, err)
	machines := v.Machines()
	require.Equal(t, &ILO{Host: "10.0.0.1", Port: 8443, User: "roller", Password: NewSecret(hush), Fingerprint: pinSum}, machines[0].ILO)
	require.Equal(t, &ILO{Host: b, Port: 443}, machines[1].ILO)
	require.Equal(t, &Moonshot{Host: "chassis1", Port: 443, User: "roller", Password: NewSecret(hush), Node: "c45n1"}, machines[0].Moonshot)
	require.Equal(t, "c45n2", machines[1].Moonshot.Node)
	require.Equal(t, []string{"10.0.0.1:8443", "chassis1:443"}, []string{machines[0].ILO.Addr(), machines[0].Moonshot.Addr()})

	w.files.NamesOnly = true
	v, err = LoadInventory(w.files)
	require.NoError(t, err)
	require.True(t, v.Machines()[0].ILO.Password.IsZero())
	require.True(t, v.Machines()[0].Moonshot.Password.IsZero())

	for _, path := range []string{w.files.ILO, w.files.Moonshot} {
		require.NoError(t, os.Chmod(path, 0o604))
	}
	v, err = LoadInventory(w.files)
	require.NoError(t, err)
	require.Len(t, v.Warnings, 2)
}

func TestBadILOAndMoonshotFiles(t *testing.T) {
	t.Parallel()
	chassis := func(machine, node, more string) string {
		return machine + `: {"moonshot": {"user": "roller", "password": "hunter2", "node": "` + node + `"}` + more + `}`
	}
	at := `, "addr": "chassis1"`
	for name, c := range map[string]struct{ file, content, want string }{
		"no ilo":           {"ilo.json", `{` + fa + `: {"addr": "x"}}`, a + `: "ilo" is missing`},
		"half an account":  {"ilo.json", `{` + fa + `: {"ilo": {"password": "hunter2"}}}`, a + `: ilo: "user" is missing`},
		"the other half":   {"ilo.json", `{` + fa + `: {"ilo": {"user": "roller"}}}`, a + `: ilo: "password" is missing`},
		"colon in a user":  {"ilo.json", `{` + fa + `: {"ilo": {"user": "a:b", "password": "hunter2"}}}`, a + `: ilo: "user" must not have a colon`},
		"fingerprint":      {"ilo.json", `{` + fa + `: {"ilo": {}, "fingerprint": "md5:00"}}`, a + `: "fingerprint" "md5:00" is not a fingerprint: write sha256: and 64 hexadecimal digits`},
		"no pin is no key": {"ilo.json", `{` + fa + `: {"ilo": {}, "fingerprint": ""}}`, a + `: "fingerprint" must not be empty`},
		"one iLO": {
			"ilo.json", `{` + fa + `: {"ilo": {}, "addr": "x"}, ` + fb + `: {"ilo": {}, "addr": "X", "port": 443}}`,
			b + ` here, but ` + a + ` at ilo.json:1`,
		},
		"no chassis":  {"moonshot.json", `{` + chassis(fa, "c1n1", "") + `}`, a + `: "addr" is missing`},
		"cartridge 0": {"moonshot.json", `{` + chassis(fa, "c0n1", at) + `}`, a + `: moonshot: "node" "c0n1" is not a node: they are c1n1 to c45n4`},
		"cartridge 46": {
			"moonshot.json", `{` + chassis(fa, "c46n1", at) + `}`,
			a + `: moonshot: "node" "c46n1" is not a node: they are c1n1 to c45n4`,
		},
		"node 5":       {"moonshot.json", `{` + chassis(fa, "c1n5", at) + `}`, `"c1n5" is not a node`},
		"a path":       {"moonshot.json", `{` + chassis(fa, "c1n1/../2", at) + `}`, `"c1n1/../2" is not a node`},
		"leading zero": {"moonshot.json", `{` + chassis(fa, "c01n1", at) + `}`, `"c01n1" is not a node`},
		"one node": {
			"moonshot.json", `{` + chassis(fa, "c1n1", at) + `, ` + chassis(fb, "C1N1", at) + `}`,
			`node c1n1 of chassis1:443 belongs to ` + b + ` here, but ` + a + ` at moonshot.json:1`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := write(t, map[string]string{c.file: c.content})
			_, err := LoadInventory(w.files)
			require.Error(t, err)
			text := strings.ReplaceAll(err.Error(), w.dir+"/", "")
			require.Contains(t, text, c.file+":1: ")
			require.Contains(t, text, c.want)
			require.NotContains(t, text, hush)
		})
	}
}

func TestValidateWorkerOfILOs(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"ilo.json": `{` + fa + `: {"ilo": {}}}`})
	garbage := filepath.Join(w.dir, "garbage.pem")
	require.NoError(t, os.WriteFile(garbage, []byte("no PEM"), 0o600))
	account := []string{"ILO_USERNAME=roller", "ILO_PASSWORD=hunter2"}
	for name, c := range map[string]struct {
		environ []string
		want    string
	}{
		"right":       {account, ""},
		"no account":  {nil, "ILO_USERNAME: must be set: the inventory has an ilo entry without a user"},
		"no CA file":  {append(account[:2:2], "ILO_CA_FILE=/no/such/file"), `ILO_CA_FILE="/no/such/file": no such file or directory`},
		"no CA in it": {append(account[:2:2], "ILO_CA_FILE="+garbage), `ILO_CA_FILE="` + garbage + `": holds no certificate in PEM`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := Load(append(c.environ[:len(c.environ):len(c.environ)], "FQDN_TO_ILO_FILE="+w.files.ILO))
			require.NoError(t, err)
			err = cfg.ValidateWorker()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.want)
		})
	}
}

// FuzzParseFingerprint holds that what is read has the one form, and is read
// the same again.
func FuzzParseFingerprint(f *testing.F) {
	for _, seed := range []string{pinText, string(pinSum), "", "sha256:", "sha1:00", "sha256:0:0", strings.Repeat("0", 64), "SHA256:" + strings.Repeat("fF", 32), string(pinSum) + ":", "sha256:" + strings.Repeat(":", 31)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFingerprint(text)
		if err != nil {
			require.Empty(t, got)
			return
		}
		require.Regexp(t, `\Asha256:[0-9a-f]{64}\z`, string(got))
		again, err := ParseFingerprint(string(got))
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	got, err := ParseFingerprint(pinText)
	require.NoError(t, err)
	require.Equal(t, pinSum, got)
	require.Equal(t, pinSum, FingerprintOf(nil), "FIPS 180-4's empty message")
	for _, bad := range []string{"", "sha256:", string(pinSum)[:70], string(pinSum) + "00", string(pinSum)[7:], "sha256:" + strings.Repeat("zz", 32), strings.Replace(pinText, ":B0", ":B:0", 1)} {
		_, err := ParseFingerprint(bad)
		require.Error(t, err, bad)
	}
}

// One machine's IPMI and another's iLO at one address are one controller.
func TestOneControllerByTwoProtocols(t *testing.T) {
	t.Parallel()
	const both = `"addr": "10.0.0.1"`
	w := write(t, map[string]string{
		"ipmi.json": `{` + fa + `: {` + bmc + `, ` + both + `}}`,
		"ilo.json":  `{` + fa + `: {"ilo": {}, ` + both + "},\n" + fb + `: {"ilo": {}, "addr": "::ffff:10.0.0.1"}}`,
	})
	_, err := LoadInventory(w.files)
	require.Error(t, err)
	require.Equal(t, `ilo.json:2: iLO [::ffff:10.0.0.1]:443 belongs to `+b+` here, but `+a+` at ipmi.json:1`, strings.ReplaceAll(err.Error(), w.dir+"/", ""))
}
