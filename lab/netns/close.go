//go:build lab && linux

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// prefix marks what labs leave in /run/netns and in the temporary directory.
// After it come the owner's pid and start time, and a number:
// rollerlab-4711-1234567-1.
const prefix = "rollerlab-"

// needed are the programs of the lab and the Debian packages that have them.
var needed = map[string]string{
	"/usr/sbin/sshd": "openssh-server", "ssh": "openssh-client", "ipmi_sim": "openipmi", "ipmitool": "ipmitool",
	"snmpd": "snmpd", "snmpget": "snmp", "fping": "fping", "ip": "iproute2", "nft": "nftables",
	"nsenter": "util-linux", "unshare": "util-linux", "go": "golang",
}

var labs atomic.Int64

// Close ends everything that runs in the lab, what Command started too, and
// removes its namespaces and its directory. It is safe to call twice.
func (l *Lab) Close() {
	l.once.Do(func() {
		if l.t.Failed() && l.dir != "" {
			l.t.Log(l.logs())
		}
		if err := remove(l.name, l.spaces); err != nil {
			l.t.Errorf("close lab: %v", err)
		}
		for _, cmd := range l.daemons {
			_ = cmd.Wait() // it was killed
		}
	})
}

// remove kills before it deletes: a namespace whose name is gone lives on for as
// long as a process is inside, and nobody would find it again.
func remove(name string, spaces []string) error {
	if err := rig.Kill(spaces...); err != nil {
		return err
	}
	var errs []error
	for _, space := range spaces {
		_, err := rig.Run("ip", "netns", "delete", space)
		if _, gone := os.Stat(filepath.Join(rig.SpaceDir, space)); errors.Is(gone, fs.ErrNotExist) {
			continue // never made, or removed by another test's sweep meanwhile
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(os.TempDir(), name)))...)
}

func (l *Lab) logs() string {
	var text strings.Builder
	for _, pattern := range []string{"*.log", "*/*/*.log"} {
		files, _ := filepath.Glob(filepath.Join(l.dir, pattern)) // the patterns are well formed
		for _, file := range files {
			content, _ := os.ReadFile(file) //nolint:gosec // the lab's own; what cannot be read is shown empty
			fmt.Fprintf(&text, "== %s\n%s", strings.TrimPrefix(file, l.dir), content)
		}
	}
	return text.String()
}

// requirements says all that is missing at once, to the user euid whose programs
// find looks up.
func requirements(euid int, find func(string) (string, error)) error {
	var errs []error
	if euid != 0 {
		errs = append(errs, errors.New("lab: needs root, for network namespaces"))
	}
	for _, program := range slices.Sorted(maps.Keys(needed)) {
		if _, err := find(program); err != nil {
			errs = append(errs, fmt.Errorf("lab: needs %s (Debian package %s)", program, needed[program]))
		}
	}
	return errors.Join(errs...)
}

func newName() string {
	pid := os.Getpid()
	started, _ := startTime(pid) // one's own is always there
	return fmt.Sprintf("%s%d-%s-%d", prefix, pid, started, labs.Add(1))
}

// sweep removes what labs of processes that are no more have left: a killed test
// cleans nothing up.
func sweep() error {
	dead := map[string][]string{} // a lab's namespaces and, harmlessly, its directory
	for _, dir := range []string{rig.SpaceDir, os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep: %w", err)
		}
		for _, entry := range entries {
			if name, ok := orphan(entry.Name()); ok {
				dead[name] = append(dead[name], entry.Name())
			}
		}
	}
	var errs []error
	for name, spaces := range dead {
		errs = append(errs, remove(name, spaces))
	}
	return errors.Join(errs...)
}

// orphan returns the lab that a namespace or directory belongs to, and whether
// its owner has died.
func orphan(name string) (lab string, dead bool) {
	if !strings.HasPrefix(name, prefix) {
		return "", false
	}
	parts := strings.Split(strings.TrimPrefix(name, prefix), "-")
	if len(parts) < 3 {
		return "", false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil {
		return "", false
	}
	started, err := startTime(pid)
	return prefix + strings.Join(parts[:3], "-"), err != nil || started != parts[1]
}

// startTime tells a process from a later one with the same pid: field 22 of
// /proc/PID/stat (proc_pid_stat(5)), the 20th behind the name, which may hold
// anything and ends at the last parenthesis.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fs.ErrNotExist // a zombie owns nothing any more
	}
	return fields[19], nil
}
