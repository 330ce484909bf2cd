package e2e

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// canary is a host that answers while it is open, by accepting connections.
type canary struct {
	t    *testing.T
	addr string
	l    net.Listener
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	port, err := stack.Port(0)
	require.NoError(t, err)
	c := &canary{t: t, addr: "127.0.0.1:" + strconv.Itoa(port)}
	t.Cleanup(c.close)
	return c
}

func (c *canary) open() {
	c.t.Helper()
	var err error
	c.l, err = (&net.ListenConfig{}).Listen(c.t.Context(), "tcp", c.addr) // the kernel accepts
	require.NoError(c.t, err)
}

func (c *canary) close() {
	if c.l != nil {
		_ = c.l.Close()
		c.l = nil
	}
}

// TestBlindJobPausesAndGoesOn: a machine and its site's canary are silent, which is
// no machine that is down. Nothing is sent, the job says so, and goes on with the
// same rung when the canary answers again.
func TestBlindJobPausesAndGoesOn(t *testing.T) {
	t.Parallel()
	c := newCanary(t)
	s := newSite(t, map[string]string{"CANARIES": "mdc1=" + c.addr, "BLIND_LIMIT": "10m", "REBOOT_METHODS": ladder},
		lab.Spec{WorkerID: "hung", WorkerGroup: "mdc1", Faults: lab.Faults{Hung: true}})
	m := s.lab.Machine("hung")
	job := s.job(t, "reboot", m)
	s.until(t, job, "the job pauses", func(r workflows.Result) bool {
		return strings.HasPrefix(r.Now, "blind: none of mdc1's canaries answers; paused since ")
	})
	require.Empty(t, s.lab.Entries(m.FQDN(), func(lab.Entry) bool { return true }), "no device was told anything")
	c.open()
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome, pretty(r))
	require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.Skipped, "ipmi_reset": workflows.Back}, tried(r))
	require.Equal(t, []string{"bmc chassis power reset"}, s.executed(m))
	require.Empty(t, s.bugs.Bugs())
}

// TestOnlyTheCanaryIsDown: a machine that answers is judged without its canaries;
// two that do not answer either end blind after BLIND_LIMIT, with one bug.
func TestOnlyTheCanaryIsDown(t *testing.T) {
	t.Parallel()
	c := newCanary(t)
	s := newSite(t, map[string]string{"CANARIES": "mdc1=" + c.addr, "BLIND_LIMIT": "3s", "REBOOT_METHODS": ladder},
		lab.Spec{WorkerID: "answers", WorkerGroup: "mdc1"},
		lab.Spec{WorkerID: "silent-1", WorkerGroup: "mdc1", Faults: lab.Faults{Hung: true}},
		lab.Spec{WorkerID: "silent-2", WorkerGroup: "mdc1", Faults: lab.Faults{Hung: true}})
	jobs := map[string]starter.Job{}
	for _, m := range s.lab.Machines() {
		jobs[m.Spec().WorkerID] = s.job(t, "reboot", m)
	}
	r, _ := s.end(t, jobs["answers"])
	require.Equal(t, workflows.Back, r.Outcome, pretty(r))
	require.Equal(t, []string{"ssh reboot"}, s.executed(s.lab.Machine("answers")))
	for _, id := range []string{"silent-1", "silent-2"} {
		r, _ := s.end(t, jobs[id])
		require.Equal(t, workflows.Blind, r.Outcome, pretty(r))
		require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.Blind}, tried(r))
		require.Equal(t, workflows.SiteBugID("mdc1"), r.Bug.WorkflowID)
		require.Empty(t, s.executed(s.lab.Machine(id)))
	}
	require.Eventually(t, func() bool { return len(s.bugs.Bugs()) > 0 }, enough, 100*time.Millisecond, "the bug is filed")
	bugs := s.bugs.Bugs()
	require.Len(t, bugs, 1, "one for the site")
	require.Equal(t, "[MDC1] roller cannot see this site", bugs[0].Summary)
	require.Len(t, bugs[0].Comments, 1)
}
