//go:build lab && linux

package netns

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// roller check --probe asks ICMP, OpenSSH, OpenIPMI's BMC and net-snmp's agent, and
// none of them does anything for it.
func TestCheckProbesRealPeers(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2", "ms1-3"))
	s := newTerminal(t, l)
	out, status := s.say(nil, "check", "--probe")
	require.Zero(t, status, out)
	for _, says := range []string{
		"3 machines, probed by icmp: ", "  pdu/pdu1.mdc1.example", "mdc1/ms1-[1-3]", "probed 3 machines in ",
		"  ping  answers           3", "  ssh   shows its banner  3", "  ipmi  on                3", "  pdu   on                3",
	} {
		require.Contains(t, out, says)
	}
	broken := l.Machines()[1]
	require.NoError(t, broken.BMC().LoseReplies(100))
	out, status = s.say(nil, "check", "--probe")
	require.Equal(t, 1, status)
	require.Contains(t, out, "  ipmi  cannot be asked   1  mdc1/ms1-2")
	require.Contains(t, out, "probe: 1 machine did not answer in every way that the inventory has")
	for _, m := range l.Machines() {
		require.Empty(t, controls(l, m))
	}
}
