//go:build lab && linux

// Power is what the lab's devices call to change a machine's power: ipmi_sim's
// chassis hook, snmpd's pass_persist program and OpenSSH's ForceCommand; and
// what they leave running behind them, the boot and the shutdown.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

func main() {
	if err := keepFromChildren(); err != nil {
		fmt.Fprintln(os.Stderr, "power:", err)
		os.Exit(1)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "power:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: power VERB DIR [ARG...]")
	}
	verb, dir, args := args[0], args[1], args[2:]
	if verb == "pdu" || verb == "apc" {
		p, err := openPDU(dir)
		if err != nil {
			return err
		}
		if verb == "apc" {
			return servePDU(apc{p}, os.Stdin, os.Stdout)
		}
		return servePDU(p, os.Stdin, os.Stdout)
	}
	r, err := rig.Open(dir)
	if err != nil {
		return err
	}
	switch verb {
	case "bmc":
		return chassis(r, args)
	case "ssh":
		return session(r)
	default:
		return background(r, verb, args)
	}
}

// background is what Rig.Detach runs; its argument is the number of the action
// that it belongs to.
func background(r *rig.Rig, verb string, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s: no number", verb)
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	switch verb {
	case "boot":
		return r.Boot(n)
	case "reboot":
		return r.LeaveSoon(n, false)
	case "shutdown":
		return r.LeaveSoon(n, true)
	case "outlet":
		return r.ActOutlet(n)
	}
	return fmt.Errorf("no such verb: %s", verb)
}

// keepFromChildren marks all that was inherited to be closed in children:
// ipmi_sim leaves its sockets open in the hook, and a boot that held the BMC's
// port would outlive it.
func keepFromChildren() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list descriptors: %w", err)
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin") // sshd and ipmi_sim give what they like
}
