package activities

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay stands between a client and a device. change may alter a reply, drop it
// (nil) or send something else; seen counts what the client has sent.
type relay struct {
	host string
	port int
	seen atomic.Int32
	// instead answers a request in the device's place, unless it returns nil.
	instead atomic.Pointer[func(request []byte) []byte]
}

// newRelay passes everything on to the device; without one, nobody answers but change.
func newRelay(t *testing.T, device string, change func(n int, reply []byte) []byte) *relay {
	t.Helper()
	front, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(front.LocalAddr().String())
	require.NoError(t, err)
	r := &relay{host: host}
	r.port, err = strconv.Atoi(port)
	require.NoError(t, err)
	var running sync.WaitGroup
	backs := map[string]net.Conn{}
	var mu sync.Mutex
	t.Cleanup(func() {
		_ = front.Close()
		mu.Lock()
		for _, b := range backs {
			_ = b.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	answer := func(client net.Addr, reply []byte) {
		if out := change(int(r.seen.Load()), reply); out != nil {
			_, _ = front.WriteTo(out, client)
		}
	}
	running.Go(func() {
		buf := make([]byte, 4<<10)
		for {
			n, client, err := front.ReadFrom(buf)
			if err != nil {
				return
			}
			r.seen.Add(1)
			if f := r.instead.Load(); f != nil {
				if out := (*f)(append([]byte(nil), buf[:n]...)); out != nil {
					_, _ = front.WriteTo(out, client)
					continue
				}
			}
			if device == "" {
				answer(client, append([]byte(nil), buf[:n]...))
				continue
			}
			mu.Lock()
			back := backs[client.String()]
			if back == nil {
				back, err = net.Dial("udp", device)
				if err != nil {
					mu.Unlock()
					return
				}
				backs[client.String()] = back
				running.Go(func() {
					buf := make([]byte, 4<<10)
					for {
						n, err := back.Read(buf)
						if err != nil {
							return
						}
						answer(client, append([]byte(nil), buf[:n]...))
					}
				})
			}
			mu.Unlock()
			_, _ = back.Write(buf[:n])
		}
	})
	return r
}
