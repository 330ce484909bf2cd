package activities

import (
	"net"

	"golang.org/x/sys/unix"
)

// unackedOf returns what counts the bytes of a TCP connection's send queue, which
// keeps them until they are acknowledged (tcp(7), SIOCOUTQ).
func unackedOf(conn net.Conn) func() (int, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	return func() (n int, err error) {
		raw, err := tcp.SyscallConn()
		if err != nil {
			return 0, err
		}
		cerr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) //nolint:gosec // a descriptor is small
		if cerr != nil {
			return 0, cerr
		}
		return n, err
	}
}
