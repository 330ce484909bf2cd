package activities

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// socketBuffer is asked for in both directions; net.core.rmem_max and wmem_max of
// socket(7) may give less. The kernel accounts some 800 bytes for a packet of ours, and
// all who wait are answered at once when a switch comes back.
const socketBuffer = 4 << 20

// ipFamily is IPv4 or IPv6, as far as pings differ.
type ipFamily struct {
	domain         int // of socket(2)
	protocol       int // its ICMP (IANA's protocol numbers)
	request, reply icmp.Type
	control        func(net.PacketConn) ttlReader
	header         bpf.Instruction // loads the length of what a filter sees before the ICMP message
}

var (
	ipv4Family = ipFamily{
		domain: unix.AF_INET, protocol: unix.IPPROTO_ICMP,
		request: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply,
		control: func(c net.PacketConn) ttlReader { return ttlReader4{ipv4.NewPacketConn(c)} },
		header:  bpf.LoadMemShift{Off: 0},
	}
	ipv6Family = ipFamily{
		domain: unix.AF_INET6, protocol: unix.IPPROTO_ICMPV6,
		request: ipv6.ICMPTypeEchoRequest, reply: ipv6.ICMPTypeEchoReply,
		control: func(c net.PacketConn) ttlReader { return ttlReader6{ipv6.NewPacketConn(c)} },
		header:  bpf.LoadConstant{Dst: bpf.RegX, Val: 0},
	}
)

// ttlReader reads packets with their time to live.
type ttlReader interface {
	setUp() error
	read(b []byte) (n, ttl int, from net.Addr, err error)
	SetBPF(filter []bpf.RawInstruction) error
}

type ttlReader4 struct{ *ipv4.PacketConn }

func (r ttlReader4) setUp() error { return r.SetControlMessage(ipv4.FlagTTL, true) }

func (r ttlReader4) read(b []byte) (n, ttl int, from net.Addr, err error) {
	n, c, from, err := r.ReadFrom(b)
	if c != nil {
		ttl = c.TTL
	}
	return n, ttl, from, err
}

type ttlReader6 struct{ *ipv6.PacketConn }

func (r ttlReader6) setUp() error { return r.SetControlMessage(ipv6.FlagHopLimit, true) }

func (r ttlReader6) read(b []byte) (n, ttl int, from net.Addr, err error) {
	n, c, from, err := r.ReadFrom(b)
	if c != nil {
		ttl = c.HopLimit
	}
	return n, ttl, from, err
}

// pingSocket is an ICMP socket of the kernel.
type pingSocket struct {
	family ipFamily
	conn   net.PacketConn
	reader ttlReader
	out    syscall.RawConn
	id     int // of a raw socket; 0 where the kernel gives it, and keeps other replies away
}

// newPings returns pings over the kernel's sockets.
func newPings() icmpEchoer {
	return &pings{names: newNames(), v4: ipv4Family.pinger(), v6: ipv6Family.pinger()}
}

func (f ipFamily) pinger() *pinger {
	return newPinger(func() (echoConn, error) { return f.open() })
}

// open opens the kind of socket that needs no privilege, or else a raw one.
func (f ipFamily) open() (*pingSocket, error) {
	conn, err := f.listen(unix.SOCK_DGRAM)
	if err == nil {
		return f.newSocket(conn, 0)
	}
	raw, rawErr := f.listen(unix.SOCK_RAW)
	if rawErr == nil {
		return f.newSocket(raw, identifier())
	}
	if errors.Is(rawErr, os.ErrPermission) && errors.Is(err, os.ErrPermission) {
		return nil, noPingSocket(err, rawErr)
	}
	return nil, fmt.Errorf("open an ICMP socket: %w, %w", err, rawErr)
}

// identifier is what tells a raw socket's requests from those of other programs:
// the kernel hands every raw socket all replies (raw(7)).
func identifier() int {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return int(binary.BigEndian.Uint16(b[:]))
}

func (f ipFamily) listen(kind int) (net.PacketConn, error) {
	fd, err := unix.Socket(f.domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, f.protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "icmp") //nolint:gosec // a descriptor is small
	defer func() { _ = file.Close() }()     // the connection has a copy
	return net.FilePacketConn(file)
}

func (f ipFamily) newSocket(conn net.PacketConn, id int) (*pingSocket, error) {
	s := &pingSocket{family: f, conn: conn, reader: f.control(conn), id: id}
	err := s.setUp()
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("set an ICMP socket up: %w", err)
	}
	return s, nil
}

func (s *pingSocket) setUp() error {
	buffered, ok := s.conn.(interface {
		syscall.Conn
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	})
	if !ok {
		return fmt.Errorf("unexpected kind %T", s.conn)
	}
	var err error
	if s.out, err = buffered.SyscallConn(); err != nil {
		return err
	}
	if s.id != 0 {
		err = s.filter()
	}
	return errors.Join(err, s.reader.setUp(), buffered.SetReadBuffer(socketBuffer), buffered.SetWriteBuffer(socketBuffer))
}

// filter keeps what is not for a raw socket out of its buffer.
func (s *pingSocket) filter() error {
	f, err := bpf.Assemble([]bpf.Instruction{
		s.family.header,
		bpf.LoadIndirect{Off: 0, Size: 1}, // the type
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeNumber(s.family.reply), SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},                                  // the identifier
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(s.id), SkipTrue: 1}, //nolint:gosec // 16 bits
		bpf.RetConstant{Val: ^uint32(0)},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	return s.reader.SetBPF(f)
}

func typeNumber(t icmp.Type) uint32 {
	if v4, ok := t.(ipv4.ICMPType); ok {
		return uint32(v4) //nolint:gosec // 8 bits
	}
	return uint32(t.(ipv6.ICMPType)) //nolint:gosec // 8 bits
}

// send implements echoConn.
func (s *pingSocket) send(m echoMessage, to netip.Addr) error {
	// The kernel puts its own identifier in where it has one, and ICMPv6's checksum.
	b, err := (&icmp.Message{Type: s.family.request, Body: &icmp.Echo{ID: s.id, Seq: int(m.seq), Data: m.data}}).Marshal(nil)
	if err != nil {
		return err
	}
	dest, err := socketAddress(to)
	if err != nil {
		return err
	}
	var sent error
	// Not Write, which lets one after the other in: the kernel does that better, and a
	// thread that the kernel puts to sleep in between would hold all others up.
	err = s.out.Control(func(fd uintptr) {
		sent = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, dest) //nolint:gosec // a descriptor is small
	})
	if err == nil {
		err = os.NewSyscallError("sendto", sent)
	}
	return err
}

func socketAddress(to netip.Addr) (unix.Sockaddr, error) {
	if to.Is4() {
		return &unix.SockaddrInet4{Addr: to.As4()}, nil
	}
	a := &unix.SockaddrInet6{Addr: to.As16()}
	if to.Zone() != "" {
		link, err := net.InterfaceByName(to.Zone())
		if err != nil {
			return nil, fmt.Errorf("address %s: %w", to, err)
		}
		a.ZoneId = uint32(link.Index) //nolint:gosec // an index is small
	}
	return a, nil
}

// receive implements echoConn.
func (s *pingSocket) receive(buffer []byte) (m []byte, ttl int, from netip.Addr, err error) {
	n, ttl, addr, err := s.reader.read(buffer)
	if err != nil {
		return nil, 0, netip.Addr{}, err
	}
	switch a := addr.(type) {
	case *net.UDPAddr:
		from = a.AddrPort().Addr()
	case *net.IPAddr:
		from, _ = netip.AddrFromSlice(a.IP)
	}
	return buffer[:n], ttl, from.Unmap(), nil
}

// parse implements echoConn.
func (s *pingSocket) parse(m []byte) (echoMessage, bool) {
	parsed, err := icmp.ParseMessage(s.family.protocol, m)
	if err != nil || parsed.Type != s.family.reply {
		return echoMessage{}, false
	}
	e, ok := parsed.Body.(*icmp.Echo)
	if !ok || s.id != 0 && e.ID != s.id {
		return echoMessage{}, false
	}
	return echoMessage{seq: uint16(e.Seq), data: e.Data}, true //nolint:gosec // 16 bits
}

// Close implements echoConn.
func (s *pingSocket) Close() error { return s.conn.Close() }
