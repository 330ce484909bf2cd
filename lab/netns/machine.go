//go:build lab && linux

package netns

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// domain is what the machines' full names end in, behind the worker ID.
func (l *Lab) domain() string { return ".test.releng." + l.Group() + ".mozilla.com" }

// Group is the machines' worker group: mdc1, or mdc2 at the second site.
func (l *Lab) Group() string { return fmt.Sprintf("mdc%d", 1+l.site) }

// Machine is one machine with its BMC and its outlet.
type Machine struct {
	ID     string
	FQDN   string
	Addr   string // IPv4, TCP port 22
	Outlet string // "pdu1.mdc1.example:AA1"
	rig    *rig.Rig
	bmc    *Device
	host   hostKey
}

// BMC returns the machine's BMC.
func (m *Machine) BMC() *Device { return m.bmc }

// OutletIndex returns the outlet's index in Sentry3-MIB, "1.1.3".
func (m *Machine) OutletIndex() string { return m.rig.Outlet }

// State returns what the machine is now.
func (m *Machine) State() (State, error) { return m.rig.State() }

// SetFaults replaces the faults from now on.
func (m *Machine) SetFaults(f Faults) error {
	return m.rig.Update(func(s *State) error {
		s.Faults = f
		return nil
	})
}

// Wedge makes the machine do nothing at all, neither ping nor SSH, with its
// power on, until something resets it.
func (m *Machine) Wedge() error { return m.rig.Wedge() }

// addMachine makes machine number n, switched off, and starts its BMC.
func (l *Lab) addMachine(n int, id, program string, opts Options) error {
	m := &Machine{
		ID: id, FQDN: id + l.domain(), Addr: l.addr(firstAddr + n),
		Outlet: fmt.Sprintf(pduName+":AA%d", 1+l.site, n),
	}
	link, err := l.plug(fmt.Sprintf("m%d", n), m.Addr)
	if err != nil {
		return err
	}
	m.rig, err = rig.Create(filepath.Join(l.machinesDir(), fmt.Sprintf("%03d", n)), rig.Spec{
		ID: id, FQDN: m.FQDN, Program: program, Logs: l.dir, Addr: m.Addr,
		Lab: l.space("lab"), Space: l.space(fmt.Sprintf("m%d", n)), Link: link, Bridge: bridge,
		Outlet: fmt.Sprintf("1.1.%d", n), OutletName: fmt.Sprintf("AA%d", n),
		Boot: opts.Boot, SSHDelay: opts.SSHDelay, Shutdown: opts.Shutdown,
		OutletDelay: opts.OutletDelay, OutletOff: opts.OutletOff, NewKernel: opts.NewKernel,
	})
	if err != nil {
		return err
	}
	// A reboot takes the kernel's connections with it. Here the kernel stays, and
	// would end those of the killed sshd itself once the link is back; with one
	// retry it forgets them within a second (boots that are faster end them), and
	// an old connection is answered by a reset.
	if err := setting(m.rig.Space, "net/ipv4/tcp_orphan_retries", "1"); err != nil {
		return err
	}
	if err := l.writeSSHD(m); err != nil {
		return err
	}
	if err := l.addBMC(n, m); err != nil {
		return err
	}
	l.machines = append(l.machines, m)
	return nil
}

// sshdScript gives sshd accounts of its own, so that it does not matter whether
// the host's root is locked: sshd refuses locked accounts. The account has root's
// number because its ForceCommand takes the machine's power.
const sshdScript = `exec unshare --mount /bin/sh -c '
mount --bind passwd /etc/passwd &&
mount --bind shadow /etc/shadow &&
exec /usr/sbin/sshd -D -f "$PWD/sshd_config" -E "$PWD/sshd.log"'
`

const sshdConfig = `ListenAddress %[1]s
Port 22
HostKey %[2]s/host_key
AuthorizedKeysFile %[2]s/authorized_keys
ForceCommand %[3]s ssh %[2]s
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
`

const (
	passwd = "root:x:0:0:root:/:/bin/sh\n" + SSHUser + ":x:0:0::/:/bin/sh\nsshd:x:65533:65533::/run/sshd:/usr/sbin/nologin\n"
	shadow = "root:*:::::::\n" + SSHUser + ":*:::::::\nsshd:*:::::::\n"
)

func (l *Lab) writeSSHD(m *Machine) error {
	var err error
	if m.host, err = newHostKey(); err != nil {
		return err
	}
	// sshd wants its empty directory (sshd(8), FILES), which a boot makes where
	// there is one.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { //nolint:gosec // as Debian makes it
		return err
	}
	dir := m.rig.Dir
	return writeFiles(dir, map[string]string{
		"sshd.sh":         "cd " + dir + " || exit 1\n" + sshdScript,
		"sshd_config":     fmt.Sprintf(sshdConfig, m.Addr, dir, m.rig.Program),
		"passwd":          passwd,
		"shadow":          shadow,
		"host_key":        m.host.private,
		"authorized_keys": l.keys.public,
	})
}

// writeFiles writes files that only their owner may read.
func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
