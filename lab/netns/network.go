//go:build lab && linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// The lab's addresses: 10.77.0.0/24, or 10.77.SITE.0/24, which no packet leaves.
const (
	bridge      = "br0"
	network     = "10.77.0."
	bridgeAddr  = network + "1"
	firstAddr   = 10 // machine 1 is .11
	firstBMC    = 100
	bridgeHost  = 1
	pduHost     = 201
	gatewayHost = 254
	ipmiPort    = 623 // UDP, RMCP (IPMI v2.0, section 13.1.2)
	snmpPort    = 161 // UDP (RFC 3417, section 3.1)
	lossTable   = "loss"
	everyPacket = 100 // percent
)

// Device is a BMC or a PDU: a server in a namespace of its own.
type Device struct {
	Addr  string
	Port  int // UDP
	space string
	cmd   *exec.Cmd
}

// addr is the address of a host by its number.
func (l *Lab) addr(host int) string { return fmt.Sprintf("10.77.%d.%d", l.site, host) }

func (l *Lab) addBridge() error {
	if err := l.addSpace("lab"); err != nil {
		return err
	}
	lab := l.space("lab")
	if err := ip(
		[]string{"-n", lab, "link", "add", bridge, "type", "bridge"},
		[]string{"-n", lab, "address", "add", l.addr(bridgeHost) + "/24", "dev", bridge},
		[]string{"-n", lab, "link", "set", bridge, "up"},
	); err != nil {
		return err
	}
	// Unprivileged ICMP sockets are off in new namespaces (icmp(7)).
	return setting(lab, "net/ipv4/ping_group_range", "0 2147483647")
}

// addSpace makes a namespace; it is remembered first, so that a failed start is
// torn down too.
func (l *Lab) addSpace(what string) error {
	space := l.space(what)
	l.spaces = append(l.spaces, space)
	if _, err := rig.Run("ip", "netns", "add", space); err != nil {
		return err
	}
	return ip([]string{"-n", space, "link", "set", "lo", "up"})
}

// plug makes a namespace with a cable to the bridge and returns the name of the
// cable's bridge side, which is left down.
func (l *Lab) plug(what, addr string) (link string, err error) {
	if err := l.addSpace(what); err != nil {
		return "", err
	}
	lab, space, link := l.space("lab"), l.space(what), "lv"+what
	return link, ip(
		[]string{"-n", lab, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space},
		[]string{"-n", lab, "link", "set", link, "master", bridge},
		[]string{"-n", space, "address", "add", addr + "/24", "dev", "eth0"},
		[]string{"-n", space, "link", "set", "eth0", "up"},
	)
}

// plugDevice is plug with the link up.
func (l *Lab) plugDevice(what, addr string, port int) (*Device, error) {
	link, err := l.plug(what, addr)
	if err != nil {
		return nil, err
	}
	d := &Device{Addr: addr, Port: port, space: l.space(what)}
	return d, ip([]string{"-n", l.space("lab"), "link", "set", link, "up"})
}

// Gateway plugs in a host that has nothing to do with the machines' power and
// answers pings, and returns its address.
func (l *Lab) Gateway() (string, error) {
	d, err := l.plugDevice("gw", l.addr(gatewayHost), 0)
	if err != nil {
		return "", err
	}
	return d.Addr, nil
}

// Cut takes the bridge's link away: where roller and its clients are there is no
// network any more. Mend gives it back.
func (l *Lab) Cut() error { return ip([]string{"-n", l.space("lab"), "link", "set", bridge, "down"}) }

// CutSilently loses everything that crosses the bridge; no error tells of it.
func (l *Lab) CutSilently() error {
	_, err := rig.RunIn(l.space("lab"), "nft", fmt.Sprintf(
		"table bridge %s { chain in { type filter hook input priority 0; drop; }; chain out { type filter hook output priority 0; drop; }; }", lossTable))
	return err
}

// Mend ends Cut and CutSilently.
func (l *Lab) Mend() error {
	_, err := rig.RunIn(l.space("lab"), "nft", fmt.Sprintf("add table bridge %[1]s; delete table bridge %[1]s", lossTable))
	return errors.Join(err, ip([]string{"-n", l.space("lab"), "link", "set", bridge, "up"}))
}

func ip(commands ...[]string) error {
	for _, args := range commands {
		if _, err := rig.Run("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// setting writes a sysctl of a namespace.
func setting(space, name, value string) error {
	_, err := rig.RunIn(space, "/bin/sh", "-c", `echo "$2" >"/proc/sys/$1"`, "sh", name, value)
	return err
}

// daemon runs a server inside the device's namespace until the lab is closed.
func (l *Lab) daemon(d *Device, log string, env []string, name string, args ...string) error {
	out, err := os.Create(log) //nolint:gosec // in the lab's own directory
	if err != nil {
		return err
	}
	d.cmd = rig.Command(context.Background(), d.space, name, args...)
	d.cmd.Dir, d.cmd.Env = filepath.Dir(log), append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	l.daemons = append(l.daemons, d.cmd)
	return out.Close()
}

// listening reads the sockets of the daemon's own namespace, so that waiting for
// a device sends it nothing.
func (d *Device) listening() bool {
	sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", d.cmd.Process.Pid))
	return err == nil && strings.Contains(string(sockets), fmt.Sprintf(":%04X ", d.Port))
}

// LoseReplies drops that share of the device's answers from now on; what it is
// asked still arrives and is done. Zero ends it.
func (d *Device) LoseReplies(percent int) error {
	chance := fmt.Sprintf("numgen random mod %d < %d", everyPacket, percent)
	rule := fmt.Sprintf("add table ip %[1]s; delete table ip %[1]s;", lossTable)
	if percent >= everyPacket {
		chance = ""
	}
	if percent > 0 {
		rule += fmt.Sprintf(" table ip %s { chain out { type filter hook output priority 0; udp sport %d %s counter drop; }; }",
			lossTable, d.Port, chance)
	}
	_, err := rig.RunIn(d.space, "nft", rule)
	return err
}

var countedPackets = regexp.MustCompile(`counter packets (\d+)`)

// Lost returns how many answers were dropped since LoseReplies.
func (d *Device) Lost() (int, error) {
	text, err := rig.RunIn(d.space, "nft", "list", "table", "ip", lossTable)
	if err != nil {
		return 0, err
	}
	found := countedPackets.FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no counter in %s", text)
	}
	return strconv.Atoi(found[1])
}
