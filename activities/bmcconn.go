package activities

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// bmcConn is the one socket of a session. It counts what goes out, so that it
// is known whether a command did; it can be cut; and it drops datagrams that do
// not answer the newest message, some of which would make the library panic.
type bmcConn struct {
	net.Conn

	mu     sync.Mutex
	isCut  bool
	writes int
	asked  byte // payload type of the newest message
}

func dialBMC(ctx context.Context, b config.IPMI) (*bmcConn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", b.Addr())
	if err != nil {
		return nil, errors.Join(errNoDial, err)
	}
	return &bmcConn{Conn: conn}, nil
}

// Dial hands the socket to the library, which asks for one as if of a proxy.
func (c *bmcConn) Dial(string, string) (net.Conn, error) { return c, nil }

// Write implements net.Conn.
func (c *bmcConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	if len(p) >= rmcpHeaderBytes {
		c.asked = p[5]
	}
	return c.Conn.Write(p)
}

// Read implements net.Conn.
func (c *bmcConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		asked, cut := c.state()
		if cut {
			return 0, errCut
		}
		if err != nil || plausible(asked, p[:n]) {
			return lengthened(asked, p, n), err
		}
	}
}

// SetReadDeadline implements net.Conn.
func (c *bmcConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isCut {
		return nil // the past that cut has set
	}
	return c.Conn.SetReadDeadline(t)
}

// cut ends the reading that is going on, and every later one.
func (c *bmcConn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *bmcConn) state() (asked byte, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.isCut
}

func (c *bmcConn) written() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// RMCP and RMCP+ headers (IPMI v2.0, tables 13-1 and 13-8).
const (
	rmcpVersion1    = 0x06
	rmcpClassIPMI   = 0x07
	rmcpPlusFormat  = 0x06
	rmcpHeaderBytes = 16   // RMCP's 4, RMCP+'s 12 up to and with the payload's length
	rmcpCommand     = 0xc0 // payload type IPMI message, encrypted and authenticated
	aesBlockBytes   = 16
)

// setupReplies are the payload types that answer those of a session's set-up
// (table 13-16): Open Session, RAKP 1 and RAKP 3.
var setupReplies = map[byte]byte{0x10: 0x11, 0x12: 0x13, 0x14: 0x15}

// shortestStatus is the payload of a set-up response that refuses: tag, status,
// two reserved bytes, the console's session (IPMI v2.0, tables 13-10 to 13-14).
const shortestStatus = 8

// lengthened fills up a refusal that ends after its status, as OpenIPMI's
// simulator sends it: the library would take it for a broken answer, and a
// cipher suite that is not accepted for a BMC that cannot be reached.
func lengthened(asked byte, b []byte, n int) int {
	if _, setup := setupReplies[asked]; !setup || n < rmcpHeaderBytes+2 {
		return n
	}
	length := int(binary.LittleEndian.Uint16(b[14:16]))
	if refuses := b[rmcpHeaderBytes+1] != 0; !refuses || length < 2 || length >= shortestStatus || len(b) < rmcpHeaderBytes+shortestStatus {
		return n
	}
	clear(b[rmcpHeaderBytes+length : rmcpHeaderBytes+shortestStatus])
	binary.LittleEndian.PutUint16(b[14:16], shortestStatus)
	return max(n, rmcpHeaderBytes+shortestStatus)
}

// plausible reports whether a datagram is whole and answers the message that
// was asked: the next message of the set-up or, encrypted as both suites ask
// for, a command's response.
func plausible(asked byte, b []byte) bool {
	if len(b) < rmcpHeaderBytes || b[0] != rmcpVersion1 || b[3] != rmcpClassIPMI || b[4] != rmcpPlusFormat {
		return false
	}
	length := int(binary.LittleEndian.Uint16(b[14:16]))
	if len(b) < rmcpHeaderBytes+length {
		return false
	}
	if want, ok := setupReplies[asked]; ok {
		return b[5] == want
	}
	// An initialisation vector and at least one block (13.29).
	return b[5] == rmcpCommand && binary.LittleEndian.Uint32(b[6:10]) != 0 &&
		length >= 2*aesBlockBytes && length%aesBlockBytes == 0
}
