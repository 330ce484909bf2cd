//go:build lab && linux

package netns

import (
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keys is the one account's key pair.
type keys struct{ private, public string }

// hostKey is a machine's own.
type hostKey = keys

func newKeys() (*keys, error) {
	k, err := newHostKey()
	return &k, err
}

func newHostKey() (hostKey, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return hostKey{}, fmt.Errorf("make key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return hostKey{}, fmt.Errorf("make key: %w", err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return hostKey{}, fmt.Errorf("make key: %w", err)
	}
	return hostKey{string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(line))}, nil
}

// WriteFiles writes what an operator would: the inventory files, the private key
// and known_hosts. It returns the environment variables that point there.
func (l *Lab) WriteFiles(dir string) map[string]string {
	l.t.Helper()
	ssh, ipmi, pdus := map[string]any{}, map[string]any{}, map[string]any{}
	var known strings.Builder
	for _, m := range l.machines {
		ssh[m.FQDN] = map[string]any{
			"ssh":  map[string]any{"user": SSHUser, "key_file": filepath.Join(dir, "ssh.key")},
			"addr": m.Addr, "port": 22, "probe": "icmp",
		}
		ipmi[m.FQDN] = map[string]any{
			"ipmi": map[string]any{"user": BMCUser, "password": BMCPassword},
			"addr": m.bmc.Addr, "port": m.bmc.Port,
		}
		pdus[m.FQDN] = map[string]any{"pdu": m.Outlet, "addr": l.pdu.Addr, "port": l.pdu.Port}
		fmt.Fprintf(&known, "%s,%s %s", m.FQDN, m.Addr, m.host.public)
	}
	files := map[string]string{"ssh.key": l.keys.private, "known_hosts": known.String()}
	for name, content := range map[string]any{"ssh.json": ssh, "ipmi.json": ipmi, "pdus.json": pdus} {
		text, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			l.t.Fatalf("write %s: %v", name, err)
		}
		files[name] = string(text)
	}
	if err := writeFiles(dir, files); err != nil {
		l.t.Fatalf("write inventory: %v", err)
	}
	env := map[string]string{"SNMP_COMMUNITY": Community}
	for variable, name := range map[string]string{
		"FQDN_TO_SSH_FILE": "ssh.json", "FQDN_TO_IPMI_FILE": "ipmi.json",
		"FQDN_TO_PDU_FILE": "pdus.json", "SSH_KNOWN_HOSTS_FILE": "known_hosts",
	} {
		env[variable] = filepath.Join(dir, name)
	}
	return env
}
