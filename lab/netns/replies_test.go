//go:build lab && linux

package netns

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// replies is how each machine's kernel answers pings, and whether its operating
// system heeds the command.
var replies = map[string]struct {
	arrange func(t *testing.T, m *Machine)
	ignores bool
}{
	"limited":           {arrange: limitReplies, ignores: true},
	"limited-restarts":  {arrange: limitReplies},
	"doubled":           {arrange: doubleReplies, ignores: true},
	"doubled-restarts":  {arrange: doubleReplies},
	"filtered":          {arrange: filterPings, ignores: true},
	"filtered-restarts": {arrange: filterPings},
}

// limitReplies has the kernel answer one ping a second, after a burst of six
// (icmp(7), icmp_ratelimit and icmp_ratemask: bit 0 is the echo reply).
func limitReplies(t *testing.T, m *Machine) {
	t.Helper()
	require.NoError(t, setting(m.rig.Space, "net/ipv4/icmp_ratelimit", "1000"))
	require.NoError(t, setting(m.rig.Space, "net/ipv4/icmp_ratemask", "1"))
}

// doubleReplies sends each echo reply again.
func doubleReplies(t *testing.T, m *Machine) {
	t.Helper()
	_, err := rig.RunIn(m.rig.Space, "nft",
		"table netdev double { chain out { type filter hook egress device eth0 priority 0; icmp type echo-reply dup to eth0; }; }")
	require.NoError(t, err)
}

// filterPings drops them before the machine; SSH goes through.
func filterPings(t *testing.T, m *Machine) {
	t.Helper()
	_, err := rig.RunIn(m.rig.Space, "nft", "table ip filter { chain in { type filter hook input priority 0; icmp type echo-request drop; }; }")
	require.NoError(t, err)
}

// TestStrangeRepliesDeceiveNothing reboots machines whose kernels limit their echo
// replies, send them twice, or never see a ping, with probes that come faster than
// the limit; and has others of the kind take the command and ignore it.
func TestStrangeRepliesDeceiveNothing(t *testing.T) {
	t.Parallel()
	opts := quick
	opts.Boot = 6 * time.Second // long enough for probes
	for id := range replies {
		opts.IDs = append(opts.IDs, id)
	}
	l := Start(t, opts)
	for _, m := range l.Machines() {
		require.NoError(t, m.SetFaults(Faults{IgnoreSSH: replies[m.ID].ignores}))
		replies[m.ID].arrange(t, m)
	}
	out, err := tool(t, l, "fping", "-c", "20", "-p", "100", "-t", "100", "-q", l.machine("limited").Addr)
	require.NoError(t, err)
	require.Regexp(t, `xmt/rcv/%loss = 20/([0-9]|1[0-5])/`, out, "the kernel does limit them")
	require.Greater(t, arrived(t, l, l.machine("doubled"), 2), 3, "replies to two pings")
	require.False(t, pings(t, l, l.machine("filtered")))

	s := newInside(t, l, map[string]string{"PROBE_INTERVAL": "0.3s", "DOWN_TIMEOUT": "10s", "UP_TIMEOUT": "40s"})
	s.start("ssh_reboot", opts.IDs...)
	for _, m := range l.Machines() {
		t.Run(m.ID, func(t *testing.T) {
			v := s.ended(m.ID)
			want := workflows.Back
			if replies[m.ID].ignores {
				want = workflows.NoEffect
			}
			require.Equal(t, want, v.Result.Outcome, "%s", v.Result.Markdown())
			require.Equal(t, []string{"reboot"}, controls(l, m))
		})
	}
	require.Empty(t, s.close())
}

// arrived counts the replies to so many pings, each of which is answered.
func arrived(t *testing.T, l *Lab, m *Machine, count int) int {
	t.Helper()
	lab := l.space("lab")
	_, err := rig.RunIn(lab, "nft", "table ip count { chain in { type filter hook input priority 0; ip saddr "+m.Addr+" icmp type echo-reply counter; }; }")
	require.NoError(t, err)
	_, err = tool(t, l, "fping", "-c", strconv.Itoa(count), "-p", "200", "-q", m.Addr)
	require.NoError(t, err)
	text, err := rig.RunIn(lab, "nft", "list", "table", "ip", "count")
	require.NoError(t, err)
	found := countedPackets.FindStringSubmatch(text)
	require.NotNil(t, found, text)
	n, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	return n
}

func (l *Lab) machine(id string) *Machine {
	for _, m := range l.machines {
		if m.ID == id {
			return m
		}
	}
	l.t.Fatalf("no machine %s", id)
	return nil
}
