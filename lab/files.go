package lab

import (
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// inventory is one of the files of the seed, keyed by FQDN.
type inventory map[string]map[string]any

// WriteFiles writes what an operator would: the inventory files, the private
// key and known_hosts. It returns the environment variables that point there.
func (l *Lab) WriteFiles(dir string) (env map[string]string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	key := filepath.Join(dir, "ssh.key")
	inventories := map[string]inventory{
		"ssh.json": l.sshInventory(key), "ipmi.json": l.ipmiInventory(), "pdus.json": l.pduInventory(),
		"xen.json": l.xenInventory(),
		"ilo.json": l.iloInventory(), "moonshot.json": l.moonshotInventory(),
		"taskcluster.json": l.queueInventory(),
	}
	for name, inv := range inventories {
		if err := writeJSON(filepath.Join(dir, name), inv); err != nil {
			return nil, err
		}
	}
	if err := writeKey(key, l.key); err != nil {
		return nil, err
	}
	hosts := filepath.Join(dir, "known_hosts")
	if err := writeFile(hosts, []byte(l.knownHosts())); err != nil {
		return nil, err
	}
	env = map[string]string{
		"FQDN_TO_SSH_FILE":         filepath.Join(dir, "ssh.json"),
		"FQDN_TO_IPMI_FILE":        filepath.Join(dir, "ipmi.json"),
		"FQDN_TO_PDU_FILE":         filepath.Join(dir, "pdus.json"),
		"FQDN_TO_XEN_FILE":         filepath.Join(dir, "xen.json"),
		"FQDN_TO_ILO_FILE":         filepath.Join(dir, "ilo.json"),
		"FQDN_TO_MOONSHOT_FILE":    filepath.Join(dir, "moonshot.json"),
		"FQDN_TO_TASKCLUSTER_FILE": filepath.Join(dir, "taskcluster.json"),
		"SSH_KNOWN_HOSTS_FILE":     hosts,
		"SNMP_COMMUNITY":           CommunityWrite,
	}
	return env, l.xenFiles(dir, env)
}

func (l *Lab) xenInventory() inventory {
	inv := inventory{}
	for _, m := range l.machines {
		if m.spec.VM {
			inv[m.FQDN()] = map[string]any{"xen_uuid": m.VMUUID()}
		}
	}
	return inv
}

func (l *Lab) queueInventory() inventory {
	inv := inventory{}
	for _, m := range l.machines {
		if m.spec.Queue != "" {
			inv[m.FQDN()] = map[string]any{"taskcluster": map[string]any{"queue": m.spec.Queue, "drain": m.spec.Drain}}
		}
	}
	return inv
}

// xenFiles writes the pool's certificate and adds how it is reached.
func (l *Lab) xenFiles(dir string, env map[string]string) error {
	if l.xen == nil {
		return nil
	}
	ca := filepath.Join(dir, "xen.pem")
	env["XEN_URL"], env["XEN_CA_FILE"] = l.xen.URL(), ca
	env["XEN_USERNAME"], env["XEN_PASSWORD"] = XenUser, XenPassword
	return writeFile(ca, l.xen.CA())
}

func (l *Lab) sshInventory(key string) inventory {
	inv := inventory{}
	probe := "tcp:" + strconv.Itoa(SSHPort)
	for _, m := range l.machines {
		if m.spec.NoSSH { // how it is probed is all there is to say
			inv[m.FQDN()] = map[string]any{"addr": m.addr, "probe": probe}
			continue
		}
		account := map[string]any{"user": SSHUser, "key_file": key}
		if m.spec.SSHBootID {
			account["boot_id"] = true
		}
		inv[m.FQDN()] = map[string]any{
			"ssh": account, "addr": m.addr, "port": SSHPort, "probe": probe,
		}
	}
	return inv
}

func (l *Lab) ipmiInventory() inventory {
	inv := inventory{}
	for _, m := range l.machines {
		if m.spec.NoBMC {
			continue
		}
		account := map[string]any{"user": BMCUser, "password": BMCPassword}
		if m.spec.BMCKey {
			account["kg"] = BMCKey
		}
		inv[m.FQDN()] = map[string]any{"ipmi": account, "addr": m.addr, "port": BMCPort}
	}
	return inv
}

func (l *Lab) pduInventory() inventory {
	inv := inventory{}
	for _, m := range l.machines {
		if m.outlet == nil {
			continue
		}
		entry := map[string]any{"pdu": m.Outlet(), "addr": m.PDUAddr(), "port": PDUPort}
		if m.second != nil { // an entry has one address: two PDUs are named by theirs
			entry = map[string]any{"pdu": []string{m.outlet.dialled(), m.second.dialled()}, "port": PDUPort}
		}
		if m.spec.PDUModel == "poe" { // nothing in a switch's sysObjectID says that it powers machines
			entry["profile"] = "poe"
		}
		inv[m.FQDN()] = entry
	}
	return inv
}

// knownHosts has each machine by name and by address: a client may check either.
func (l *Lab) knownHosts() string {
	var lines strings.Builder
	for _, m := range l.machines {
		names := []string{
			knownhosts.Normalize(hostPort(m.FQDN(), SSHPort)),
			knownhosts.Normalize(hostPort(m.addr, SSHPort)),
		}
		lines.WriteString(knownhosts.Line(names, m.HostKey()) + "\n")
	}
	return lines.String()
}

func writeKey(path string, key ed25519.PrivateKey) error {
	block, err := ssh.MarshalPrivateKey(key, "roller lab")
	if err != nil {
		return fmt.Errorf("lab: private key: %w", err)
	}
	return writeFile(path, pem.EncodeToMemory(block))
}

func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("lab: %s: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

// writeFile writes a file that only its owner may read: most hold a secret.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
