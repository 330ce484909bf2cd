package lab

import (
	"fmt"
	"net"
	"sync"
)

// boardConn is a BMC's socket, which a dead BMC does not read and on which
// replies get lost.
type boardConn struct {
	*net.UDPConn
	m *Machine

	mu   sync.Mutex
	lost map[string]bool // by remote address: the next reply is lost
}

// loseNext loses the next reply to an address. A session's commands are
// answered one at a time, so that is the reply to the command in hand.
func (c *boardConn) loseNext(remote string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost[remote] = true
}

func (c *boardConn) loses(remote string) bool {
	c.mu.Lock()
	lost := c.lost[remote]
	delete(c.lost, remote)
	c.mu.Unlock()
	return lost || c.m.Faults().DeadBMC || c.m.losesReply()
}

// ReadFrom implements transport.PacketConn.
func (c *boardConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.ReadFromUDP(b)
		if err != nil {
			return 0, nil, err
		}
		if !c.m.Faults().DeadBMC {
			return n, from, nil
		}
	}
}

// WriteTo implements transport.PacketConn. A lost reply is no error: nobody
// but the client can know.
func (c *boardConn) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("bmc: %T is not a UDP address", to)
	}
	if c.loses(udp.String()) {
		return len(b), nil
	}
	return c.WriteToUDP(b, udp)
}
