package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// echoes answers probes as it is told: "." is an answer, "x" none, "e" no probe,
// "c" Ctrl-C.
type echoes struct {
	record string
	from   string
	cancel context.CancelFunc
}

func (e *echoes) Probe(ctx context.Context, m config.Machine) (bool, error) {
	echo, err := e.Echo(ctx, m)
	return echo.Answered, err
}

func (e *echoes) Echo(ctx context.Context, _ config.Machine) (activities.Echo, error) {
	next := e.record[0]
	e.record = e.record[1:]
	echo := activities.Echo{From: e.from}
	switch next {
	case '.':
		echo.Answered, echo.Bytes, echo.TTL, echo.RTT = true, 64, 63, time.Duration(1+len(e.record))*time.Millisecond
	case 'e':
		return echo, errors.New("no socket")
	case 'c':
		e.cancel()
		return echo, ctx.Err()
	}
	return echo, nil
}

// TestPingOutput is the output people and their scripts know.
func TestPingOutput(t *testing.T) {
	t.Parallel()
	tcp := config.Probe{Network: "tcp", Port: 22}
	for name, c := range map[string]struct {
		record string
		from   string
		probe  config.Probe
		count  int
		status int
		want   string
	}{
		"all": {record: "..", from: "10.1.2.3", count: 2, want: `PING host (10.1.2.3) 56(84) bytes of data.
64 bytes from host (10.1.2.3): icmp_seq=1 ttl=63 time=2.000 ms
64 bytes from host (10.1.2.3): icmp_seq=2 ttl=63 time=1.000 ms

--- host ping statistics ---
2 packets transmitted, 2 received, 0% packet loss, time TIME
rtt min/avg/max/mdev = 1.000/1.500/2.000/0.500 ms
`},
		"one lost": {record: "x.", from: "10.1.2.3", count: 2, status: 1, want: `PING host (10.1.2.3) 56(84) bytes of data.
no answer to icmp_seq=1
64 bytes from host (10.1.2.3): icmp_seq=2 ttl=63 time=1.000 ms

--- host ping statistics ---
2 packets transmitted, 1 received, 50% packet loss, time TIME
rtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms
`},
		"none": {record: "x", count: 1, status: 1, want: `PING host 56(84) bytes of data.
no answer to icmp_seq=1

--- host ping statistics ---
1 packets transmitted, 0 received, 100% packet loss, time TIME
`},
		"IPv6": {record: ".", from: "2001:db8::1", count: 1, want: `PING host (2001:db8::1) 56 data bytes
64 bytes from host (2001:db8::1): icmp_seq=1 ttl=63 time=1.000 ms

--- host ping statistics ---
1 packets transmitted, 1 received, 0% packet loss, time TIME
rtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms
`},
		"by tcp": {record: ".", from: "10.1.2.3", probe: tcp, count: 1, want: `PING host (10.1.2.3) by its tcp:22
connected to host (10.1.2.3): tcp_seq=1 time=1.000 ms

--- host ping statistics ---
1 packets transmitted, 1 received, 0% packet loss, time TIME
rtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms
`},
		"no probe": {record: "e", count: 1, status: 2},
		"Ctrl-C after a reply": {record: ".c", from: "10.1.2.3", count: 9, want: `PING host (10.1.2.3) 56(84) bytes of data.
64 bytes from host (10.1.2.3): icmp_seq=1 ttl=63 time=2.000 ms

--- host ping statistics ---
1 packets transmitted, 1 received, 0% packet loss, time TIME
rtt min/avg/max/mdev = 2.000/2.000/2.000/0.000 ms
`},
		"Ctrl-C before any": {record: "c", count: 9, status: 1, want: `
--- host ping statistics ---
0 packets transmitted, 0 received, 0% packet loss, time TIME
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out bytes.Buffer
			d := &direct{
				Activities: &activities.Activities{Prober: &echoes{c.record, c.from, cancel}},
				options:    &options{count: c.count, deadline: seconds(time.Minute)},
				machine:    config.Machine{FQDN: "host", Probe: c.probe}, out: &out, errOut: &out,
			}
			_, err := ping(ctx, d)
			require.Equal(t, c.status, status(err, &bytes.Buffer{}), "%v", err)
			require.Equal(t, c.want, timeless(out.String()))
		})
	}
}

// timeless puts a word in the place of the one time that is not told to the test.
func timeless(text string) string {
	before, after, found := strings.Cut(text, "loss, time ")
	if !found {
		return text
	}
	_, rest, _ := strings.Cut(after, "\n")
	return before + "loss, time TIME\n" + rest
}

// TestPingMachine pings a machine of the inventory as its entry says.
func TestPingMachine(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Spec{})
	for _, line := range [][]string{
		{"ping", "-c", "1", "ms1-10", "mdc1"}, {"ping", "-c", "1", s.machine.FQDN()}, {"ping", "-c", "1", "MS1-10", "none"},
	} {
		r := carry(t, s.env, "", line...)
		require.Equal(t, 0, r.status, "%+v", r)
		require.Contains(t, r.out, "connected to "+s.machine.FQDN()+" ("+s.machine.Addr()+"): tcp_seq=1")
	}
	s.machine.Kill()
	r := carry(t, s.env, "", "ping", "-c", "1", "-w", "2", "ms1-10", "mdc1")
	require.Equal(t, 1, r.status)
	require.Empty(t, r.err, "the statistics say it all, as ping's do")
	require.Contains(t, r.out, "1 packets transmitted, 0 received, 100% packet loss")
	r = carry(t, s.env, "", "ping", "-c", "1", "ms1-11", "mdc1")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.err, "not in worker group")
}

// TestPingStatus looks at the real program's exit status, on loopback.
func TestPingStatus(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"IPv4":          {[]string{"-c", "2", "-w", "5", "127.0.0.1"}, 0, "2 packets transmitted, 2 received, 0% packet loss"},
		"IPv6":          {[]string{"-c", "1", "::1"}, 0, "PING ::1 56 data bytes"},
		"a name":        {[]string{"-c", "1", "localhost"}, 0, "bytes from localhost ("},
		"too late":      {[]string{"-c", "9", "-w", "1", "127.0.0.1"}, 1, "1 packets transmitted, 1 received, 0% packet loss"},
		"no such name":  {[]string{"no..name"}, 2, "look up no..name in DNS"},
		"no such flag":  {[]string{"-Q", "localhost"}, 2, "unknown shorthand flag"},
		"nobody":        {nil, 2, "which machine?"},
		"no time":       {[]string{"-w", "0", "localhost"}, 2, "more than 0"},
		"not a address": {[]string{"a b"}, 2, "is not a host name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), rollerBinary, append([]string{"ping"}, c.args...)...)
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "this process may open no ICMP socket") {
				t.Skipf("no ICMP from here: neither net.ipv4.ping_group_range nor CAP_NET_RAW lets this process")
			}
			if name == "IPv6" && c.status != cmd.ProcessState.ExitCode() && strings.Contains(string(out), "0 received") {
				t.Skipf("no IPv6 loopback here: %s", out)
			}
			if c.status == 0 {
				require.NoError(t, err, "%s", out)
			}
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), "%s", out)
			require.Contains(t, string(out), c.says)
		})
	}
}
