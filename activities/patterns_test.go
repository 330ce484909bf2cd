package activities

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// TestRecordedPatterns plays each file of testdata/patterns to the real command,
// its watch and the wait behind it, on a clock of its own. A file begins with
// what happened, for people; then it has one line each of
//
//	before    the baseline's probes
//	probes    one mark a second, from the command on; the last one holds for ever
//	tcp       the same for its TCP port, as the kernel behind it answers: "." or "x"; else as probes
//	ssh       the same for the SSH banner; else as tcp
//	boot      the same for which boot it is, a letter each; else always a
//	canaries  the same for the site's canaries; else there are none
//	held      "no", or "reset 12": a firewall resets the held connection in that second
//	knows     what tells one boot from the next: "boot_id", "uptime", both, or nothing
//	verdict   what the ladder makes of it, a colon, and words of the evidence
//
// Marks of probes: "." is answered at once, "," after 1.9 of the 2 seconds that a
// probe may take, "d" twice, "l" too late, "x" never, "e" cannot be made, and
// "s" is one at which the process is stopped for 7 seconds.
func TestRecordedPatterns(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/patterns/*.txt")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 20)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			r := readRecord(t, file)
			synctest.Test(t, func(t *testing.T) {
				verdict, evidence := r.play(t)
				want, words, _ := strings.Cut(r.lines["verdict"], ":")
				require.Equal(t, want, verdict, evidence)
				require.Contains(t, evidence, strings.TrimSpace(words))
			})
		})
	}
}

// recording is one recorded pattern, and the world that it is played in.
type recording struct {
	lines map[string]string

	mu     sync.Mutex
	start  time.Time // when the command was sent; zero before
	before int       // probes of the baseline so far
}

var recordKeys = []string{"before", "probes", "tcp", "ssh", "boot", "canaries", "held", "knows", "verdict"}

func readRecord(t *testing.T, file string) *recording {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	r := &recording{lines: map[string]string{"boot": "a"}}
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if strings.TrimSpace(value) == "" || !slices.Contains(recordKeys, key) {
			require.NotContains(t, r.lines, "before", "%s: what is %q?", file, lines.Text())
			continue
		}
		r.lines[key] = strings.TrimSpace(value)
	}
	for _, key := range []string{"before", "probes", "verdict"} {
		require.NotEmpty(t, r.lines[key], "%s: %s", file, key)
	}
	return r
}

// play sends a command and judges as the ladder does.
func (r *recording) play(t *testing.T) (verdict, evidence string) {
	t.Helper()
	m := config.Machine{
		Name: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: "ms1-10.example", Addr: "machine",
		Probe: config.Probe{Network: "icmp"}, SSH: &config.SSH{Port: 22},
	}
	if r.lines["ssh"] == "no" {
		m.SSH = nil
	}
	environ := []string{}
	if r.lines["canaries"] != "" {
		environ = append(environ, "CANARIES=mdc1=canary")
	}
	cfg, err := config.Load(environ) // PROBE_INTERVAL 1s, PROBE_TIMEOUT 2s, DOWN_PROBES 3, DOWN_TIMEOUT 60s, UP_TIMEOUT 300s
	require.NoError(t, err)
	inventory := config.NewInventory(m)
	a := New(cfg, func() *config.Inventory { return inventory })
	a.Prober, a.witness = r, r
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res, err := a.command(ctx, Command{Machine: m.Name, Action: Reboot, DownTimeout: cfg.Ladder.DownTimeout}, deed{
		actions: []Action{Reboot},
		missing: func(config.Machine) string { return "" },
		send: func(context.Context, config.Machine, Action, func() error) (string, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.start = time.Now()
			return "reboot", nil
		},
	})
	if err != nil {
		return string(MeaningOf(err)), err.Error()
	}
	evidence = res.Watch.Evidence
	if v := res.Watch.AfterCommand(res.Baseline); v != Undecided {
		return string(v), evidence
	}
	up, err := a.AwaitUp(ctx, Watch{Machine: m.Name, Baseline: res.Baseline, Timeout: cfg.Ladder.UpTimeout})
	require.NoError(t, err)
	return string(up.AfterWait(res.Watch)), evidence + "; " + up.Evidence
}

// mark is what a line of the record says of now.
func (r *recording) mark(line string) byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	marks := r.lines[line]
	if r.start.IsZero() {
		return marks[0]
	}
	return marks[min(int(time.Since(r.start)/time.Second), len(marks)-1)]
}

// Probe implements Prober.
func (r *recording) Probe(ctx context.Context, m config.Machine) (bool, error) {
	if m.Probe.Network == "tcp" {
		return r.reachable(), nil
	}
	line := "probes"
	if m.Addr == "canary" {
		line = "canaries"
	}
	mark := r.mark(line)
	r.mu.Lock()
	if line == "probes" && r.start.IsZero() {
		mark = r.lines["before"][min(r.before, len(r.lines["before"])-1)]
		r.before++
	}
	r.mu.Unlock()
	wait := map[byte]time.Duration{'.': time.Millisecond, 'd': time.Millisecond, ',': 1900 * time.Millisecond, 's': 7 * time.Second, 'e': 0}
	after, known := wait[mark]
	if !known {
		after = 2 * time.Second // PROBE_TIMEOUT
	}
	pause(ctx, after)
	if mark == 'e' {
		return false, errNoSocket
	}
	return ctx.Err() == nil && strings.IndexByte(".,d", mark) >= 0, nil
}

// reachable reports whether the machine's kernel can be spoken to by TCP.
func (r *recording) reachable() bool {
	if r.lines["tcp"] != "" {
		return r.mark("tcp") == '.'
	}
	if r.start.IsZero() {
		return strings.ContainsAny(r.lines["before"], ".,d")
	}
	return strings.IndexByte(".,d", r.mark("probes")) >= 0
}

func (r *recording) sshBanner(context.Context, config.Machine) bool {
	if r.lines["ssh"] != "" {
		return r.mark("ssh") == '.'
	}
	return r.reachable()
}

func (r *recording) bootID(ctx context.Context, m config.Machine, _ func(*sshClient)) string {
	if !strings.Contains(r.lines["knows"], "boot_id") || !r.sshBanner(ctx, m) {
		return ""
	}
	return string(r.mark("boot"))
}

// bootedAt: boot a began an hour ago, and each other one as it comes.
func (r *recording) bootedAt(context.Context, config.Machine) time.Time {
	if !strings.Contains(r.lines["knows"], "uptime") || !r.reachable() {
		return time.Time{}
	}
	marks, b := r.lines["boot"], r.mark("boot")
	if b == marks[0] {
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Hour) // synctest's clock begins then
	}
	return r.start.Add(time.Duration(strings.IndexByte(marks, b)) * time.Second)
}

func (r *recording) hold(context.Context, config.Machine) *held {
	if r.lines["held"] == "no" || r.lines["ssh"] == "no" || !r.reachable() {
		return nil
	}
	c := &recordedConn{r: r, boot: r.mark("boot"), closed: make(chan struct{})}
	h := &held{conn: c, reset: make(chan struct{}), done: make(chan struct{}), unacked: c.unacked}
	go h.read()
	return h
}

// recordedConn is the held connection: its other end is a kernel that lives for
// one boot, as the record has it.
type recordedConn struct {
	net.Conn
	r      *recording
	boot   byte
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	pending int
}

// Read looks for a reset every 200 ms: TCP's least retransmission time-out, with
// keepalives in the place of data (which come more rarely, but that is no matter).
func (c *recordedConn) Read([]byte) (int, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.closed:
			return 0, io.EOF
		case <-tick.C:
			if c.isReset() {
				return 0, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
			}
		}
	}
}

func (c *recordedConn) isReset() bool {
	if at, ok := strings.CutPrefix(c.r.lines["held"], "reset "); ok && !c.r.start.IsZero() {
		second, err := strconv.Atoi(at)
		if err != nil {
			panic(fmt.Sprintf("held %q", c.r.lines["held"]))
		}
		if time.Since(c.r.start) >= time.Duration(second)*time.Second {
			return true
		}
	}
	return c.r.reachable() && c.r.mark("boot") != c.boot
}

func (c *recordedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending += len(b)
	return len(b), nil
}

func (c *recordedConn) unacked() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.r.reachable() && c.r.mark("boot") == c.boot {
		c.pending = 0
	}
	return c.pending, nil
}

func (c *recordedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}
