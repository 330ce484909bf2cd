package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inOwnNetwork has a command run as root of a user and network namespace of its own,
// which needs no privilege where the system allows such namespaces.
func inOwnNetwork(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
}

// machineNet are the addresses of the machines, all of which this kernel answers for:
// pings as any machine's would, and whatever listens on all addresses. None of their
// packets leaves the loopback device.
var machineNet = netip.MustParsePrefix("10.64.0.0/10")

// kernelNet makes machines of the kernel's own addresses.
type kernelNet struct{ fd int }

// newKernelNet sets up a namespace that has nothing yet.
func newKernelNet() (*kernelNet, error) {
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	// The kind of socket that production has is off in new namespaces (icmp(7)).
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0o600); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	n := &kernelNet{fd: fd}
	if err := n.route(unix.RTM_NEWROUTE, unix.RTN_LOCAL, machineNet); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return n, nil
}

func (n *kernelNet) close() error { return unix.Close(n.fd) }

// down takes a machine off the network: what is sent to it is lost, and nobody says so.
func (n *kernelNet) down(addr netip.Addr) error {
	return n.route(unix.RTM_NEWROUTE, unix.RTN_UNICAST, netip.PrefixFrom(addr, 32))
}

// up brings it back.
func (n *kernelNet) up(addr netip.Addr) error {
	return n.route(unix.RTM_DELROUTE, unix.RTN_UNICAST, netip.PrefixFrom(addr, 32))
}

// route adds a route over the loopback device to the table of local addresses, or takes
// it away (rtnetlink(7)). A packet that a unicast one sends there comes back as one for
// somebody else, and is dropped, because nothing is forwarded.
func (n *kernelNet) route(what uint16, kind uint8, to netip.Prefix) error {
	scope := uint8(unix.RT_SCOPE_LINK)
	if kind == unix.RTN_LOCAL {
		scope = unix.RT_SCOPE_HOST
	}
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if what == unix.RTM_NEWROUTE {
		flags |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	const loopback = 1 // the index of lo
	m := binary.NativeEndian.AppendUint32(nil, 44)
	m = binary.NativeEndian.AppendUint16(m, what)
	m = binary.NativeEndian.AppendUint16(m, flags)
	m = append(m, make([]byte, 8)...)                                                                                     // sequence and port: one question at a time
	m = append(m, unix.AF_INET, uint8(to.Bits()), 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_STATIC, scope, kind, 0, 0, 0, 0) //nolint:gosec // 32 bits at most
	m = binary.NativeEndian.AppendUint16(m, 8)
	m = binary.NativeEndian.AppendUint16(m, unix.RTA_DST)
	m = append(m, to.Addr().AsSlice()...)
	m = binary.NativeEndian.AppendUint16(m, 8)
	m = binary.NativeEndian.AppendUint16(m, unix.RTA_OIF)
	m = binary.NativeEndian.AppendUint32(m, loopback)
	if err := unix.Sendto(n.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	return n.acknowledged(to)
}

func (n *kernelNet) acknowledged(to netip.Prefix) error {
	buffer := make([]byte, 4096)
	size, _, err := unix.Recvfrom(n.fd, buffer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if size < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(buffer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("route to %s: unexpected answer of %d bytes", to, size)
	}
	if code := int32(binary.NativeEndian.Uint32(buffer[unix.NLMSG_HDRLEN:])); code != 0 { //nolint:gosec // an errno
		return fmt.Errorf("route to %s: %w", to, syscall.Errno(-code)) //nolint:gosec // as the kernel has it
	}
	return nil
}

// loopbackUp is `ip link set lo up`; it brings the address, too (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var request struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	request.flags = unix.IFF_UP | unix.IFF_RUNNING
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 { //nolint:gosec // as netdevice(7) has it
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
