package bare

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Tool is one call of a binary that people use.
type Tool struct {
	Name string
	Args []string
	Env  []string // beside PATH
}

// Call runs the binary once; one that fails is an error.
func (t Tool) Call(ctx context.Context, _ int) error {
	cmd := exec.CommandContext(ctx, t.Name, t.Args...) //nolint:gosec // the tools that are compared
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, t.Env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", t.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

// IPMIStatus reads a machine's power. The cipher suite is named: ipmitool loses ten
// seconds on some BMCs by asking for it.
func IPMIStatus(host string, port int, user, password string) Tool {
	return Tool{
		Name: "ipmitool",
		Args: []string{"-I", "lanplus", "-C", "17", "-L", "OPERATOR", "-H", host, "-p", fmt.Sprint(port), "-U", user, "-E", "chassis", "power", "status"},
		Env:  []string{"IPMI_PASSWORD=" + password},
	}
}

// SNMPConfig writes net-snmp's configuration, which holds the community, to a folder
// of its own.
func SNMPConfig(dir, community string) error {
	return os.WriteFile(filepath.Join(dir, "snmp.conf"), []byte("defVersion 2c\ndefCommunity "+community+"\n"), 0o600)
}

// snmp is one of net-snmp's programs. It parses no MIBs, which would cost it most.
func snmp(name, dir, address string, args ...string) Tool {
	return Tool{Name: name, Args: append([]string{"-On", "-r", "0", address}, args...), Env: []string{"SNMPCONFPATH=" + dir, "SNMP_PERSISTENT_DIR=" + dir, "MIBS="}}
}

// SNMPGet reads one number.
func SNMPGet(dir, address, oid string) Tool { return snmp("snmpget", dir, address, oid) }

// SNMPSet sets one number.
func SNMPSet(dir, address, oid string, to int) Tool {
	return snmp("snmpset", dir, address, oid, "i", fmt.Sprint(to))
}

// SSH runs one command on a machine whose key is known.
func SSH(host string, port int, user, key, knownHosts, command string) Tool {
	return Tool{Name: "ssh", Args: []string{
		"-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + knownHosts,
		"-i", key, "-p", fmt.Sprint(port), user + "@" + host, command,
	}}
}
