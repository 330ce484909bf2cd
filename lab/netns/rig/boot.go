//go:build lab && linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// sshPort is TCP (RFC 4253, section 4).
const sshPort = "22"

// bannerLimit is how long sshd may take from its start to its banner.
const bannerLimit = 20 * time.Second

// Boot brings the machine up after power action gen: first its network, sshd
// later. It stops as soon as another power action overtakes it.
func (r *Rig) Boot(gen int) error {
	s, err := r.State()
	if err != nil {
		return err
	}
	wait := r.Spec.Boot
	if s.Faults.Boot > 0 {
		wait = s.Faults.Boot
	}
	<-time.After(wait)
	if err := r.during(gen, r.heedBootDevice); err != nil {
		return err
	}
	if err := r.during(gen, r.linkUp); err != nil {
		return err
	}
	<-time.After(r.SSHDelay)
	if s, err = r.State(); err != nil {
		return err
	}
	if s.Installing {
		return r.during(gen, r.installed)
	}
	if err := r.during(gen, r.startSSHD); err != nil {
		return err
	}
	if err := r.awaitBanner(gen); err != nil {
		return err
	}
	return r.during(gen, func(s *State) error {
		s.SSH = true
		return r.edge(Banner, s)
	})
}

// linkUp plugs the cable in. The machine's own side goes down and up before, which
// drops what the old boot's connections left to be sent when the neighbour answers.
func (r *Rig) linkUp(s *State) error {
	if r.NewKernel {
		if err := r.newKernel(); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"-n", r.Space, "link", "set", "eth0", "down"},
		{"-n", r.Space, "link", "set", "eth0", "up"},
		{"-n", r.Lab, "link", "set", r.Link, "up"},
	} {
		if _, err := Run("ip", args...); err != nil {
			return err
		}
	}
	s.Up = true
	return r.edge(Up, s)
}

var etherForm = regexp.MustCompile(`link/ether ([0-9a-f:]+)`)

// newKernel gives the machine a network namespace that has never heard of the old
// one's connections, with the old one's Ethernet address, as after a real reboot.
func (r *Rig) newKernel() error {
	link, err := Run("ip", "-n", r.Space, "-o", "link", "show", "eth0")
	if err != nil {
		return err
	}
	ether := etherForm.FindStringSubmatch(link)
	if ether == nil {
		return fmt.Errorf("no Ethernet address in %q", link)
	}
	for _, args := range [][]string{
		{"-n", r.Lab, "link", "delete", r.Link}, // with its other end, which the namespace would keep for a while
		{"netns", "delete", r.Space},
		{"netns", "add", r.Space},
		{"-n", r.Lab, "link", "add", r.Link, "type", "veth", "peer", "name", "eth0", "address", ether[1], "netns", r.Space},
		{"-n", r.Lab, "link", "set", r.Link, "master", r.Bridge},
		{"-n", r.Space, "address", "add", r.Addr + "/24", "dev", "eth0"},
		{"-n", r.Space, "link", "set", "lo", "up"},
	} {
		if _, err := Run("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// startSSHD returns when the process is inside the machine's namespace: before
// that, a power off that follows at once would not find and kill it.
func (r *Rig) startSSHD(*State) error {
	cmd := Command(context.Background(), r.Space, "/bin/sh", r.path("sshd.sh"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start sshd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		pids, err := Pids(r.Space)
		if err != nil || slices.Contains(pids, cmd.Process.Pid) {
			return err
		}
		select {
		case err := <-ended:
			return fmt.Errorf("sshd of %s ended at once: %w", r.ID, err)
		case <-time.After(pollInterval):
		}
	}
}

// awaitBanner returns when sshd has shown its banner, or when another power
// action came after gen.
func (r *Rig) awaitBanner(gen int) error {
	for deadline := time.Now().Add(bannerLimit); time.Now().Before(deadline); <-time.After(10 * pollInterval) {
		if s, err := r.State(); err != nil || s.Gen != gen {
			return err
		}
		if banner(net.JoinHostPort(r.Addr, sshPort)) {
			return nil
		}
	}
	return fmt.Errorf("sshd of %s shows no banner", r.ID)
}

func banner(addr string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	start := make([]byte, 4)
	_, err = conn.Read(start)
	return err == nil && string(start) == "SSH-"
}

// heedBootDevice is the firmware: it boots from the network for once.
func (r *Rig) heedBootDevice(s *State) error {
	if s.Faults.IgnoreBoot {
		return nil
	}
	s.Installing = s.BootDevice == "pxe"
	s.BootDevice = ""
	return nil
}

// installed ends an installer, which has answered pings and had no sshd: it
// restarts into a system with a host key of its own.
func (r *Rig) installed(s *State) error {
	s.Installing = false
	s.Installed++
	for _, name := range []string{"host_key", "host_key.pub"} {
		if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("install: %w", err)
		}
	}
	if _, err := Run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", r.path("host_key")); err != nil {
		return err
	}
	return r.restart(s)
}
