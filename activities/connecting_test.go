package activities

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// detour is the way to a device, on which one connection can be held before its
// handshake.
type detour struct {
	addr, to string
	listener net.Listener

	mu   sync.Mutex
	made int
	hold int           // the number of the connection that is held; 0: none
	held chan net.Conn // has room for it
}

func newDetour(t *testing.T, to string) *detour {
	t.Helper()
	var listen net.ListenConfig
	ln, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &detour{addr: ln.Addr().String(), to: to, listener: ln, held: make(chan net.Conn, 1)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { d.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	return d
}

func (d *detour) serve(conn net.Conn) {
	d.mu.Lock()
	d.made++
	hold := d.made == d.hold
	d.mu.Unlock()
	if hold {
		d.held <- conn
		return
	}
	defer func() { _ = conn.Close() }()
	var dialer net.Dialer
	device, err := dialer.DialContext(context.Background(), "tcp", d.to)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(conn, device); _ = conn.Close() })
	_, _ = io.Copy(device, conn)
	_ = device.Close()
	back.Wait()
}

// again begins to count anew, and returns how many connections there were.
func (d *detour) again(hold int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	made := d.made
	d.made, d.hold = 0, hold
	return made
}

// connecting is a command on its way to a device.
type connecting struct {
	rig   *rig
	way   *detour
	send  func(ctx context.Context, ready func() error) (string, error)
	asks  int     // ready is asked for the command that is looked at, in the place of an earlier one
	want  Meaning // of a command that was not begun
	told  int     // commands before it
	after int     // connections that are made after the command's own
}

func connectingWeb(t *testing.T, after int, send func(*rig, config.Machine) func(context.Context, func() error) (string, error)) connecting {
	t.Helper()
	r, m := webRig(t, lab.Faults{})
	d := newDetour(t, m.Moonshot.Addr())
	host, port := "127.0.0.1", d.listener.Addr().(*net.TCPAddr).Port
	m.ILO.Host, m.ILO.Port, m.Moonshot.Host, m.Moonshot.Port = host, port, host, port
	return connecting{rig: r, way: d, send: send(r, m), asks: 1, want: NotSent, after: after}
}

func connectingXen(t *testing.T, faults lab.Faults, action Action) connecting {
	t.Helper()
	r := newVM(t, faults)
	d := newDetour(t, strings.TrimPrefix(r.Config.Devices.XenURL, "https://"))
	r.Config.Devices.XenURL = "https://" + d.addr
	m := r.entry(t)
	return connecting{rig: r, way: d, asks: 1, want: NotSent, after: 2, send: func(ctx context.Context, ready func() error) (string, error) {
		return r.xenSend(ctx, m, action, ready)
	}}
}

// Promise 2: a command over HTTPS has not been sent while its connection is being
// made, and Temporal is not told that it is about to be. Then neither a device that
// hangs up, nor a cancel, nor a worker that is lost makes it one that may have been.
func TestConnectingIsNotSending(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(t *testing.T) connecting{
		"redfish": func(t *testing.T) connecting {
			t.Helper()
			return connectingWeb(t, 1, func(r *rig, m config.Machine) func(context.Context, func() error) (string, error) {
				return func(ctx context.Context, ready func() error) (string, error) {
					return r.redfishSend(ctx, m, Reset, ready)
				}
			})
		},
		"moonshot": func(t *testing.T) connecting {
			t.Helper()
			return connectingWeb(t, 0, func(r *rig, m config.Machine) func(context.Context, func() error) (string, error) {
				return func(ctx context.Context, ready func() error) (string, error) {
					return r.moonshotSend(ctx, m, Reset, ready)
				}
			})
		},
		"xen clean": func(t *testing.T) connecting { t.Helper(); return connectingXen(t, lab.Faults{}, Off) },
		"xen hard, after a clean one that was refused": func(t *testing.T) connecting {
			t.Helper()
			c := connectingXen(t, lab.Faults{RefuseShutdown: true}, Off)
			c.asks, c.told = 3, 1 // for clean, before hard, and when its connection stands
			return c
		},
		"xen start": func(t *testing.T) connecting {
			t.Helper()
			c := connectingXen(t, lab.Faults{}, On)
			c.rig.machine.Kill()
			c.after = 3 // of a VM that runs the operations are read, too
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := of(t)
			number := 0
			_, err := c.asked(t.Context(), t, func(n int) error {
				if n < c.asks {
					return nil
				}
				number = c.way.again(0)
				return notSent("that far")
			})
			require.ErrorContains(t, err, "that far")
			for end, do := range map[string]func(net.Conn, context.CancelFunc){
				"the device hangs up": func(held net.Conn, _ context.CancelFunc) { _ = held.Close() },
				"a cancel":            func(_ net.Conn, cancel context.CancelFunc) { cancel() },
			} {
				before := len(c.rig.lab.Entries("", isControl))
				c.way.again(number)
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					held := <-c.way.held
					do(held, cancel)
					<-ctx.Done()
					_ = held.Close()
				}()
				asked, err := c.asked(ctx, t, func(int) error { return nil })
				cancel()
				require.Equal(t, c.want, MeaningOf(err), "%s: %v", end, err)
				require.Equal(t, c.asks-1, asked, "%s: Temporal was told that it is about to be sent", end)
				require.Len(t, c.rig.lab.Entries("", isControl), before+c.told, end)
			}
			c.way.again(0)
			_, err = c.asked(t.Context(), t, func(n int) error {
				if n == c.asks {
					number = c.way.again(0)
				}
				return nil
			})
			require.NoError(t, err, "with nothing in its way it is sent")
			require.Equal(t, c.after, c.way.again(0), "the command's own connection stood before ready was asked")
		})
	}
}

// asked sends, and returns how often ready was asked.
func (c *connecting) asked(ctx context.Context, t *testing.T, ready func(n int) error) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	n := 0
	_, err := c.send(ctx, func() error { n++; return ready(n) })
	return n, err
}
