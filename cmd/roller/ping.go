package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/activities"
)

// statistics are what iputils' ping prints at its end.
type statistics struct {
	sent, received      int
	least, most         float64 // ms
	sum, sumSquares     float64
	from                string
	began, lastProbeEnd time.Time
}

// ping pings by the activity's own code and prints as ping(8) of iputils does.
// Its exit statuses are that program's, too.
func ping(ctx context.Context, d *direct) (string, error) {
	if d.count < 1 || d.deadline <= 0 {
		return "", usage("-c and -w must be more than 0")
	}
	s := &statistics{began: time.Now(), least: math.Inf(1)}
	_, err := d.PingEach(ctx, d.machine, d.count, time.Duration(d.deadline), func(e activities.Echo) { s.add(d, e) })
	_, lost := errors.AsType[*activities.Unanswered](err)
	if err != nil && !lost && ctx.Err() == nil {
		return "", &exit{status: 2, err: err}
	}
	s.print(d)
	if s.received == 0 || lost && ctx.Err() == nil {
		return "", &exit{status: 1}
	}
	return "", nil // all, or a part before Ctrl-C
}

// add prints one probe's end.
func (s *statistics) add(d *direct, e activities.Echo) {
	if s.sent == 0 {
		s.from = e.From
		s.title(d)
	}
	s.sent++
	s.lastProbeEnd = time.Now()
	if !e.Answered {
		fmt.Fprintf(d.out, "no answer to %s=%d\n", s.what(d), e.Seq)
		return
	}
	ms := float64(e.RTT) / float64(time.Millisecond)
	s.received++
	s.sum, s.sumSquares = s.sum+ms, s.sumSquares+ms*ms
	s.least, s.most = min(s.least, ms), max(s.most, ms)
	if d.machine.Probe.Network == "tcp" {
		fmt.Fprintf(d.out, "connected to %s: %s=%d time=%.3f ms\n", s.peer(d), s.what(d), e.Seq, ms)
		return
	}
	fmt.Fprintf(d.out, "%d bytes from %s: %s=%d ttl=%d time=%.3f ms\n", e.Bytes, s.peer(d), s.what(d), e.Seq, e.TTL, ms)
}

func (s *statistics) title(d *direct) {
	if d.machine.Probe.Network == "tcp" {
		fmt.Fprintf(d.out, "PING %s by its %s\n", s.peer(d), d.machine.Probe)
		return
	}
	if strings.Contains(s.from, ":") {
		fmt.Fprintf(d.out, "PING %s 56 data bytes\n", s.peer(d))
		return
	}
	// 56 bytes after 8 of ICMP and, as ping(8) counts, 20 of IPv4.
	fmt.Fprintf(d.out, "PING %s 56(84) bytes of data.\n", s.peer(d))
}

func (s *statistics) what(d *direct) string {
	if d.machine.Probe.Network == "tcp" {
		return "tcp_seq"
	}
	return "icmp_seq"
}

// peer is the name and, where it is another, the address.
func (s *statistics) peer(d *direct) string {
	if s.from == "" || s.from == d.machine.FQDN {
		return d.machine.FQDN
	}
	return fmt.Sprintf("%s (%s)", d.machine.FQDN, s.from)
}

func (s *statistics) print(d *direct) {
	loss := 0.0
	if s.sent > 0 {
		loss = 100 * float64(s.sent-s.received) / float64(s.sent)
	}
	took := s.lastProbeEnd.Sub(s.began)
	if s.sent == 0 {
		took = 0
	}
	fmt.Fprintf(d.out, "\n--- %s ping statistics ---\n%d packets transmitted, %d received, %.6g%% packet loss, time %dms\n",
		d.machine.FQDN, s.sent, s.received, loss, took.Milliseconds())
	if s.received == 0 {
		return
	}
	n := float64(s.received)
	mean := s.sum / n
	deviation := math.Sqrt(max(0, s.sumSquares/n-mean*mean))
	fmt.Fprintf(d.out, "rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n", s.least, mean, s.most, deviation)
}
