//go:build lab && linux

package netns

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// The real program in the lab's network: power by OpenIPMI's BMC and net-snmp's
// PDU, ICMP by the kernel, the banner by OpenSSH; then with the machine off, and
// with a BMC whose answers are all lost.
func TestStatusOfRealPeers(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	roller := t.TempDir() + "/roller"
	out, err := rig.Run("go", "build", "-o", roller, "github.com/mozilla-platform-ops/roller/cmd/roller")
	require.NoError(t, err, "%s", out)
	env := append(os.Environ(), "TEMPORAL_ADDRESS=127.0.0.1:1", "START_TIMEOUT=1s", "STATUS_TIMEOUT=10s")
	for k, v := range l.WriteFiles(t.TempDir()) {
		env = append(env, k+"="+v)
	}
	status := func() []string {
		cmd := l.Command(t.Context(), roller, "status", m.ID, "mdc1")
		cmd.Env = env
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", text)
		require.NotContains(t, string(text), "s3cret")
		return strings.Split(string(text), "\n")
	}
	says := func(got []string, want ...string) {
		t.Helper()
		require.Equal(t, m.FQDN, got[0])
		for i, w := range want {
			require.Regexp(t, w, got[i+1], "%s", strings.Join(got, "\n"))
		}
	}
	says(status(), `^power  ipmi +on$`, `^ +pdu pdu1\.mdc1\.example:AA1  on$`, `^ping   icmp +answers, `, `^ssh +SSH-2\.0-OpenSSH_`, `^job +not known: Temporal`)

	mustIPMI(t, l, m, "power", "off")
	says(status(), `^power  ipmi +off$`, `^ +pdu pdu1\.mdc1\.example:AA1  on$`, `^ping   icmp +no answer$`, `^ssh +no banner: `)

	require.NoError(t, m.BMC().LoseReplies(100))
	says(status(), `^power  ipmi +cannot be asked: ipmi .*no session`, `^ +pdu pdu1\.mdc1\.example:AA1  on$`)
}
