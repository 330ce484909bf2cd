package config

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func TestParseJump(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Jump{
		"bastion":                  {Host: "bastion", Port: 22},
		"Bastion.example:2222":     {Host: "bastion.example", Port: 2222},
		"hopper@bastion":           {User: "hopper", Host: "bastion", Port: 22},
		"hopper@10.0.0.1:22":       {User: "hopper", Host: "10.0.0.1", Port: 22},
		"hopper@[fd00::1]:2222":    {User: "hopper", Host: "fd00::1", Port: 2222},
		"fd00::1":                  {Host: "fd00::1", Port: 22},
		"":                         {},
		"@bastion":                 {},
		"-oProxyCommand=x@bastion": {},
		"a b@bastion":              {},
		"a@b@bastion":              {},
		"bastion:":                 {},
		"bastion:0":                {},
		"bastion:65536":            {},
		"bastion:+22":              {},
		"bastion:ssh":              {},
		"-bastion":                 {},
		"first,second":             {},
		"hopper@first,x@second:22": {},
		"ssh://hopper@bastion":     {},
		"hopper@bastion:22/path":   {},
		"[fd00::1":                 {},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			j, err := ParseJump(text)
			require.Equal(t, want, j)
			require.Equal(t, want == Jump{}, err != nil)
		})
	}
}

// FuzzParseJump holds that what is taken can be dialled, is no option of a
// program, and means the same when it is written out.
func FuzzParseJump(f *testing.F) {
	for _, s := range []string{"bastion", "hopper@bastion:22", "hopper@[fd00::1]:2222", "fd00::1", "-x@y", "a@b,c@d", "b:+22", "[::1]", "@:22", "a@[b]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		j, err := ParseJump(text)
		if err != nil {
			require.Equal(t, Jump{}, j)
			return
		}
		require.True(t, isHost(j.Host) && j.Port > 0 && j.Port <= maxPort, "%+v", j)
		require.False(t, strings.HasPrefix(j.User, "-") || strings.ContainsAny(j.User, " ,\n"), "%+v", j)
		again := j.Addr()
		if j.User != "" {
			again = j.User + "@" + again
		}
		same, err := ParseJump(again)
		require.NoError(t, err, again)
		require.Equal(t, j, same)
	})
}

func TestJumpOfAnEntry(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"ssh.json": `{
		"a.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "KEY", "jump": "bastion"}, "addr": "10.0.0.1"},
		"b.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "KEY", "jump": "hopper@other:2222", "jump_key_file": "KEY"}, "addr": "10.0.0.1"}
	}`})
	v, err := LoadInventory(w.files)
	require.NoError(t, err, "each bastion has a network of its own behind it")
	require.Equal(t, &Jump{User: "roller", Host: "bastion", Port: 22, KeyFile: w.key}, v.Machines()[0].SSH.Jump)
	require.Equal(t, &Jump{User: "hopper", Host: "other", Port: 2222, KeyFile: w.key}, v.Machines()[1].SSH.Jump)
}

func TestKeyFilesWithAnAgent(t *testing.T) {
	t.Parallel()
	signer := func(t *testing.T, file string) ssh.Signer {
		t.Helper()
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		s, err := ssh.ParsePrivateKey(data)
		require.NoError(t, err)
		return s
	}
	certificate := func(t *testing.T, key, file string, kind uint32) {
		t.Helper()
		s := signer(t, file)
		cert := &ssh.Certificate{Key: s.PublicKey(), CertType: kind, ValidBefore: 1000}
		require.NoError(t, cert.SignCert(rand.Reader, s))
		require.NoError(t, os.WriteFile(CertificateFile(key), ssh.MarshalAuthorizedKey(cert), 0o600))
	}
	for name, tc := range map[string]struct {
		make  func(t *testing.T, key, plain string)
		agent bool
		want  string // the mistake, or the warning where there is an agent
	}{
		"passphrase": {
			agent: true, make: func(t *testing.T, key, _ string) { writeKey(t, key, hush) },
			want: "KEY: this private key has a passphrase: it is of use only while the agent (SSH_AUTH_SOCK) holds it",
		},
		"public key": {agent: true, make: func(t *testing.T, key, plain string) {
			require.NoError(t, os.WriteFile(key, ssh.MarshalAuthorizedKey(signer(t, plain).PublicKey()), 0o644))
		}},
		"public key, no agent": {make: func(t *testing.T, key, plain string) {
			require.NoError(t, os.WriteFile(key, ssh.MarshalAuthorizedKey(signer(t, plain).PublicKey()), 0o644))
		}, want: `key_file "KEY" is a public key, which is of use only with an agent that holds the private one (SSH_AUTH_SOCK)`},
		"expired certificate": {make: func(t *testing.T, key, plain string) {
			writeKey(t, key, "")
			certificate(t, key, plain, ssh.UserCert)
		}},
		"certificate of a host": {make: func(t *testing.T, key, plain string) {
			writeKey(t, key, "")
			certificate(t, key, plain, ssh.HostCert)
		}, want: `"KEY-cert.pub" is not an OpenSSH user certificate`},
		"certificate is garbage": {make: func(t *testing.T, key, _ string) {
			writeKey(t, key, "")
			require.NoError(t, os.WriteFile(CertificateFile(key), []byte("x"), 0o600))
		}, want: `"KEY-cert.pub" is not an OpenSSH user certificate`},
		"certificate cannot be read": {make: func(t *testing.T, key, _ string) {
			writeKey(t, key, "")
			require.NoError(t, os.Mkdir(CertificateFile(key), 0o700))
		}, want: `certificate "KEY-cert.pub" cannot be read: is a directory`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := filepath.Join(t.TempDir(), "key")
			w := write(t, map[string]string{"ssh.json": `{"a.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "` + key + `"}}}`})
			tc.make(t, key, w.key)
			w.files.SSHAgent = tc.agent
			v, err := LoadInventory(w.files)
			want := strings.ReplaceAll(tc.want, "KEY", key)
			switch {
			case tc.want == "":
				require.NoError(t, err)
				require.Empty(t, v.Warnings)
			case tc.agent:
				require.NoError(t, err)
				require.Equal(t, []string{want}, v.Warnings)
			default:
				require.EqualError(t, err, w.files.SSH+":1: "+want)
			}
		})
	}
}

// With accept-new the file of known hosts may be missing, its directory not.
func TestKnownHostsFileMayBeMissing(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"ssh.json": `{"a.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "KEY"}}}`})
	for path, policies := range map[string]map[string]bool{
		filepath.Join(w.dir, "none"):         {HostKeysStrict: false, HostKeysAcceptNew: true},
		filepath.Join(w.dir, "none", "none"): {HostKeysStrict: false, HostKeysAcceptNew: false},
	} {
		for policy, fine := range policies {
			c := &Config{Files: w.files, Devices: Devices{KnownHostsFile: path, HostKeys: policy}}
			err := c.ValidateWorker()
			require.Equal(t, fine, err == nil, "%s %s: %v", policy, path, err)
		}
	}
}
