package activities

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// inNamespace is set for the copy of this test that runs in namespaces of its own.
const inNamespace = "ROLLER_TEST_NETWORK_NAMESPACE"

// TestICMP runs itself again as root of a user and network namespace, where it
// may take addresses away and forbid sockets without privileges outside.
func TestICMP(t *testing.T) {
	t.Parallel()
	if os.Getenv(inNamespace) != "" {
		icmpInNamespace(t)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestICMP$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Skipf("no ICMP test: this system lets nobody make a user and network namespace (%v); user.max_user_namespaces or kernel.unprivileged_userns_clone forbids it", err)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestICMP", "%s", out)
	t.Logf("%s", out)
}

func icmpInNamespace(t *testing.T) {
	t.Helper()
	icmp := func(host string) config.Machine {
		return config.Machine{Addr: host, Probe: config.Probe{Network: "icmp"}}
	}
	// probe asks in both ways.
	probe := func(p *prober, host string) (bool, error) {
		t.Helper()
		answered, err := p.Probe(t.Context(), icmp(host))
		told := make(chan bool, 1)
		if p.Ask(icmp(host), func(also bool, same error) {
			told <- also == answered && fmt.Sprint(same) == fmt.Sprint(err)
		}) {
			require.True(t, <-told, "%s: told otherwise than %v, %v", host, answered, err)
		}
		return answered, err
	}
	newProber := func() *prober { return NewProber(500 * time.Millisecond).(*prober) }
	requireNo := func(p *prober, host string) {
		t.Helper()
		answered, err := probe(p, host)
		require.NoError(t, err)
		require.False(t, answered)
	}
	requireYes := func(p *prober, host string) {
		t.Helper()
		answered, err := probe(p, host)
		require.NoError(t, err)
		require.True(t, answered)
	}

	// Without any address the network is unreachable: nothing is sent, and
	// pro-bing reports no loss.
	raw, single := newProber(), NewSingleProber(500*time.Millisecond).(*prober)
	requireNo(raw, "127.0.0.1")
	requireNo(single, "127.0.0.1")

	setLoopback(t, true)
	requireYes(raw, "127.0.0.1")
	requireRaw(t, true) // ping_group_range of a new namespace lets nobody open the other kind
	requireYes(single, "127.0.0.1")
	requireYes(raw, "localhost")
	for _, p := range []*prober{raw, single} {
		e, err := p.Echo(t.Context(), icmp("127.0.0.1"))
		require.NoError(t, err)
		require.Equal(t, Echo{Answered: true, From: "127.0.0.1", Bytes: 64, TTL: 64, RTT: e.RTT}, e, "as ping(8) has it")
		require.Positive(t, e.RTT)
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		e, err := raw.Echo(t.Context(), icmp("::1"))
		require.NoError(t, err)
		require.Equal(t, Echo{Answered: true, From: "::1", Bytes: 64, TTL: 64, RTT: e.RTT}, e)
		requireYes(raw, "::1%lo")
	} else {
		t.Log("no IPv6 probe: this kernel has no IPv6")
	}

	// A machine that is there and does not answer.
	write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")
	requireNo(raw, "127.0.0.1")
	write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "0")
	manyMachines(t)

	_, err := probe(raw, "machine.invalid")
	require.ErrorContains(t, err, "look up machine.invalid in DNS")

	// Answers that are none.
	strangeReplies(t, raw, icmpSocket(t, "127.0.0.1"), icmpSocket(t, "127.0.0.9"))
	strangeReplies(t, single, icmpSocket(t, "127.0.0.1"), icmpSocket(t, "127.0.0.9"))

	// Neither kind of socket: an error, and not "down".
	runWithoutRaw(t, func() {
		for _, p := range []*prober{newProber(), NewSingleProber(time.Minute).(*prober)} {
			_, err := probe(p, "127.0.0.1")
			require.ErrorContains(t, err, "net.ipv4.ping_group_range")
			require.ErrorContains(t, err, "CAP_NET_RAW")
		}
	})

	// The unprivileged kind is preferred where the kernel allows it.
	write(t, "/proc/sys/net/ipv4/ping_group_range", "0 0")
	machine, stranger := icmpSocket(t, "127.0.0.1"), icmpSocket(t, "127.0.0.9")
	runWithoutRaw(t, func() {
		plain := newProber()
		strangeReplies(t, plain, machine, stranger)
		requireYes(plain, "127.0.0.1")
		requireRaw(t, false)
		manyMachines(t)
		write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")
		requireNo(plain, "127.0.0.1")
		write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "0")
	})

	setLoopback(t, false)
	requireNo(raw, "127.0.0.1")
	requireNo(newProber(), "127.0.0.1")
}

// strangeReplies has somebody else than the kernel answer echo requests: late, again,
// and from another address. The sockets must be new: they keep what came before.
func strangeReplies(t *testing.T, p *prober, machine, stranger net.PacketConn) {
	t.Helper()
	write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")
	defer write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "0")
	// probe lets answer do something about the request, and returns what came of it.
	probe := func(answer func(request []byte)) (Echo, []byte) {
		t.Helper()
		ended := make(chan Echo, 1)
		go func() {
			e, err := p.Echo(t.Context(), config.Machine{Addr: "127.0.0.1", Probe: config.Probe{Network: "icmp"}})
			if err != nil {
				t.Errorf("probe: %v", err)
			}
			ended <- e
		}()
		request := echoRequest(t, machine)
		answer(request)
		return <-ended, request
	}
	reply := func(from net.PacketConn, request []byte) {
		t.Helper()
		_, err := from.WriteTo(echoReply(request), &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
	}

	e, first := probe(func([]byte) {})
	require.False(t, e.Answered)
	e, second := probe(func([]byte) { reply(machine, first) })
	require.False(t, e.Answered, "a late reply is one to its own probe")
	e, _ = probe(func(request []byte) { reply(machine, request); reply(machine, request) })
	require.True(t, e.Answered)
	e, _ = probe(func([]byte) { reply(machine, second); reply(machine, second) })
	require.False(t, e.Answered, "a duplicate, too")
	if _, shared := p.icmp.(*pings); shared {
		e, _ = probe(func(request []byte) {
			for _, at := range []int{sequenceAt, keyAt, numberAt} {
				reply(machine, changed(request, at))
			}
		})
		require.False(t, e.Answered, "a reply to another probe, or to another process")
	}
	e, _ = probe(func(request []byte) { reply(stranger, request) })
	require.False(t, e.Answered, "another host has answered")
	e, _ = probe(func(request []byte) { reply(stranger, request); reply(machine, request) })
	require.True(t, e.Answered, "and does not hide the answer")
	require.Equal(t, "127.0.0.1", e.From)
}

// manyMachines asks a thousand machines at once: all requests and all replies go over
// one socket. When the kernel takes that away, nothing is known of those that were
// asked over it, and the next probe has another.
func manyMachines(t *testing.T) {
	t.Helper()
	const machines = 1000
	p := ipv4Family.pinger()
	// ask asks them all, and calls asked when they are.
	ask := func(asked func()) (answered, failed int) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		type end struct {
			e   Echo
			err error
		}
		ends := make(chan end, machines)
		for i := range machines {
			go func() {
				e, err := p.Echo(ctx, netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}))
				ends <- end{e, err}
			}()
		}
		if asked != nil {
			require.Eventually(t, func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				sent := 0
				for _, q := range p.asked {
					if q.socket != nil {
						sent++
					}
				}
				return sent == machines
			}, time.Minute, time.Millisecond)
			asked()
		}
		for range machines {
			if got := <-ends; got.e.Answered {
				answered++
			} else if got.err != nil && !errors.Is(got.err, context.DeadlineExceeded) {
				failed++
			}
		}
		return answered, failed
	}
	answered, _ := ask(nil)
	require.Equal(t, machines, answered)
	require.Empty(t, socketsOf(p), "nobody waits any more")

	write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")
	_, failed := ask(func() {
		sockets := socketsOf(p)
		require.Len(t, sockets, 1)
		_ = sockets[0].conn.Close()
	})
	write(t, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "0")
	require.Equal(t, machines, failed)
	answered, _ = ask(nil)
	require.Equal(t, machines, answered)
}

func socketsOf(p *pinger) []*echoSocket {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sockets)
}

// requireRaw says which kind of socket this thread gets.
func requireRaw(t *testing.T, raw bool) {
	t.Helper()
	s, err := ipv4Family.open()
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, raw, s.id != 0)
}

// icmpSocket is a raw socket that sends from an address.
func icmpSocket(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "ip4:icmp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Where an echo message has what (RFC 792), and a pinger's payload.
const (
	sequenceAt = 7 // its low byte
	keyAt      = 8
	numberAt   = 23 // its low byte
)

// changed is a request with another byte.
func changed(request []byte, at int) []byte {
	other := slices.Clone(request)
	other[at]++
	return other
}

// Types of ICMP messages (RFC 792).
const (
	echoReplyType   = 0
	echoRequestType = 8
)

// echoRequest returns the next request that arrives.
func echoRequest(t *testing.T, conn net.PacketConn) []byte {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	for {
		buffer := make([]byte, 1500)
		n, _, err := conn.ReadFrom(buffer)
		require.NoError(t, err)
		if n > 0 && buffer[0] == echoRequestType {
			return buffer[:n]
		}
	}
}

// echoReply answers a request: the same with another type, and so another checksum
// (RFC 1071).
func echoReply(request []byte) []byte {
	reply := slices.Clone(request)
	reply[0], reply[2], reply[3] = echoReplyType, 0, 0
	sum := uint32(0)
	for i := 0; i+1 < len(reply); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(reply[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(reply[2:], ^uint16(sum))
	return reply
}

func write(t *testing.T, path, value string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(value), 0o600))
}

// setLoopback is `ip link set lo up|down`; up brings its addresses (netdevice(7)).
func setLoopback(t *testing.T, up bool) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	require.NoError(t, err)
	defer func() { _ = syscall.Close(fd) }()
	var request struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	if up {
		request.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)))
	require.Zero(t, errno)
}

// capNetRaw is CAP_NET_RAW, and capVersion3 _LINUX_CAPABILITY_VERSION_3
// (linux/capability.h).
const (
	capNetRaw   = 13
	capVersion3 = 0x20080522
)

// runWithoutRaw runs f on a thread that may not open raw sockets. The thread
// ends with its goroutine, because it is never unlocked.
func runWithoutRaw(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		header := struct {
			version uint32
			pid     int32
		}{version: capVersion3}
		var data [2]struct{ effective, permitted, inheritable uint32 }
		_, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
		if errno == 0 {
			data[0].effective &^= 1 << capNetRaw
			_, _, errno = syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
		}
		if errno != 0 {
			t.Errorf("give CAP_NET_RAW up: %v", errno)
			return
		}
		f()
	}()
	<-done
}
