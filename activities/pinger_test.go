package activities

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fullConn is a kernel's socket with room for so many packets, none of which is ever
// answered.
type fullConn struct {
	room   int
	closed chan struct{}
	once   sync.Once
}

func (c *fullConn) send(echoMessage, netip.Addr) error {
	if c.room == 0 {
		return &net.OpError{Op: "sendto", Err: syscall.EAGAIN}
	}
	c.room--
	return nil
}

func (c *fullConn) receive([]byte) ([]byte, int, netip.Addr, error) {
	<-c.closed
	return nil, 0, netip.Addr{}, net.ErrClosed
}

func (c *fullConn) parse([]byte) (echoMessage, bool) { return echoMessage{}, false }

func (c *fullConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// The kernel keeps packets to silent neighbours on the account of their socket, so
// that a socket of many machines may have no room for one more: that one goes over
// another socket, and where there is no room at all it has not been asked, which is
// not "down".
func TestPingsToSilentNeighbours(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rooms   []int // of each socket that is opened; none is left for the next
		asked   int
		sockets int
		says    string
	}{
		"one socket":           {rooms: []int{2}, asked: 2, sockets: 1},
		"a second one":         {rooms: []int{2, 2}, asked: 3, sockets: 2},
		"no room in a new one": {rooms: []int{1, 0}, asked: 2, sockets: 2, says: "no room to send: sendto: resource temporarily unavailable"},
		"no room at all":       {rooms: []int{0}, asked: 1, sockets: 1, says: "no room to send"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				opened := 0 // read while all others wait
				p := newPinger(func() (echoConn, error) {
					opened++
					return &fullConn{room: c.rooms[opened-1], closed: make(chan struct{})}, nil
				})
				shared := &pings{names: newNames(), v4: p}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				ends := make(chan error, c.asked)
				for i := range c.asked {
					go func() {
						_, err := shared.ping(ctx, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String())
						ends <- err
					}()
					synctest.Wait()
				}
				require.Equal(t, c.sockets, opened)
				var last error
				for range c.asked {
					if err := <-ends; err != nil {
						require.NoError(t, last, "one is too many, and not two")
						last = err
					}
				}
				if c.says == "" {
					require.NoError(t, last, "silence")
				} else {
					require.ErrorContains(t, last, c.says)
				}
				require.Equal(t, c.sockets, opened)
				synctest.Wait() // for the readers
				require.Empty(t, p.sockets)
			})
		})
	}
}

// Whoever asks without waiting is told once, of a silent machine when the time is over;
// where nothing can be sent now, nothing is told.
func TestAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rooms := []int{2, 0}
		p := newPinger(func() (echoConn, error) {
			room := rooms[0]
			rooms = rooms[1:]
			return &fullConn{room: room, closed: make(chan struct{})}, nil
		})
		shared := &pings{names: newNames(), v4: p}
		began := time.Now()
		var told atomic.Int32
		ask := func(host string) bool {
			return shared.ask(host, 2*time.Second, func(e Echo, err error) {
				require.NoError(t, err)
				require.Equal(t, Echo{From: host}, e)
				require.Equal(t, 2*time.Second, time.Since(began))
				told.Add(1)
			})
		}
		require.True(t, ask("10.0.0.1"))
		require.True(t, ask("10.0.0.2"))
		require.False(t, ask("10.0.0.3"), "there is no room")
		require.False(t, ask("machine.example"), "DNS must be asked")
		p.mu.Lock()
		require.Len(t, p.asked, 2)
		p.mu.Unlock()
		pause(t.Context(), time.Minute)
		synctest.Wait()
		require.EqualValues(t, 2, told.Load())
		require.Empty(t, p.asked)
		require.Empty(t, p.sockets)
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPinger(func() (echoConn, error) { return nil, syscall.EPERM })
		var said error
		require.True(t, (&pings{names: newNames(), v4: p}).ask("10.0.0.1", time.Second, func(_ Echo, err error) { said = err }))
		require.ErrorIs(t, said, syscall.EPERM)
		pause(t.Context(), time.Minute) // it is told once
	})
}

// A name is looked up again when its addresses may have changed, and at once where
// there was no answer.
func TestNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, refused := 0, false
		n := newNames()
		n.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			asked++
			if refused {
				return nil, &net.DNSError{Err: "server misbehaving", Name: host}
			}
			ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(asked)})
			return []netip.Addr{netip.AddrFrom16(ip.As16()), ip}, nil
		}
		require10 := func(host string, last byte) {
			t.Helper()
			ips, err := n.addresses(t.Context(), host)
			require.NoError(t, err)
			require.Equal(t, []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, last})}, ips)
		}
		require10("a.example", 1)
		require10("b.example", 2)
		pause(t.Context(), nameLife-time.Second)
		require10("a.example", 1)
		require10("10.0.0.77", 77)
		pause(t.Context(), time.Second)
		refused = true
		_, err := n.addresses(t.Context(), "a.example")
		require.ErrorContains(t, err, "server misbehaving")
		refused = false
		require10("a.example", 4)
		require.Len(t, n.hosts, 1, "b.example is forgotten")
	})
}
