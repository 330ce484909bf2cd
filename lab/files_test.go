package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestWriteFiles(t *testing.T) {
	t.Parallel()
	l := startLab(t,
		Spec{WorkerID: "all", SSHBootID: true},
		Spec{WorkerID: "none", NoSSH: true, NoBMC: true, NoOutlet: true})
	all, none := l.Machine("all"), l.Machine("none")
	dir := filepath.Join(t.TempDir(), "new")
	env, err := l.WriteFiles(dir)
	require.NoError(t, err)

	key := filepath.Join(dir, "ssh.key")
	for variable, want := range map[string]map[string]any{
		"FQDN_TO_SSH_FILE": {
			all.FQDN(): map[string]any{
				"ssh":  map[string]any{"user": SSHUser, "key_file": key, "boot_id": true},
				"addr": all.Addr(), "port": float64(SSHPort), "probe": "tcp:2022",
			},
			none.FQDN(): map[string]any{"addr": none.Addr(), "probe": "tcp:2022"},
		},
		"FQDN_TO_IPMI_FILE": {all.FQDN(): map[string]any{
			"ipmi": map[string]any{"user": BMCUser, "password": BMCPassword}, "addr": all.Addr(), "port": float64(BMCPort),
		}},
		"FQDN_TO_PDU_FILE": {all.FQDN(): map[string]any{
			"pdu": "pdu1.mdc1.example:AA1", "addr": all.PDUAddr(), "port": float64(PDUPort),
		}},
		"FQDN_TO_XEN_FILE": {},
	} {
		data, err := os.ReadFile(env[variable])
		require.NoError(t, err, variable)
		got := map[string]any{}
		require.NoError(t, json.Unmarshal(data, &got))
		require.Equal(t, want, got, variable)
	}
	require.Equal(t, CommunityWrite, env["SNMP_COMMUNITY"])

	info, err := os.Stat(key)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	requireLogin(t, l, key, env["SSH_KNOWN_HOSTS_FILE"])
}

// requireLogin logs in with nothing but the files, the host known by its
// address and by its name.
func requireLogin(t *testing.T, l *Lab, key, hosts string) {
	t.Helper()
	m := l.Machine("all")
	data, err := os.ReadFile(key)
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey(data)
	require.NoError(t, err)
	check, err := knownhosts.New(hosts)
	require.NoError(t, err)
	c, err := ssh.Dial("tcp", hostPort(m.Addr(), SSHPort), &ssh.ClientConfig{
		User: SSHUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: check, Timeout: patience,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.NoError(t, check(hostPort(m.FQDN(), SSHPort), c.RemoteAddr(), m.HostKey()))
	id, _ := runSSH(t, c, "boot_id")
	require.Equal(t, m.State().BootID+"\n", id)
}
