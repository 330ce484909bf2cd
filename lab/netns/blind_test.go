//go:build lab && linux

package netns

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const blindText = "none of mdc1's canaries answers"

// newSighted is roller with the gateway as the site's canary.
func newSighted(t *testing.T, l *Lab, blindLimit string) *inside {
	t.Helper()
	gateway, err := l.Gateway()
	require.NoError(t, err)
	return newInside(t, l, map[string]string{
		"CANARIES": "mdc1=" + gateway, "BLIND_LIMIT": blindLimit, "PROBE_TIMEOUT": "1s", "UP_TIMEOUT": "60s",
		"REBOOT_METHODS": "ssh_reboot,ipmi_reset,file_bugzilla_bug",
	})
}

// rungs are the outcomes of a job's attempts, by rung.
func rungs(r *workflows.Result) map[string]workflows.Outcome {
	all := map[string]workflows.Outcome{}
	for _, at := range r.Attempts {
		all[at.Rung] = at.Outcome
	}
	return all
}

// TestBridgeIsCutInTheMiddleOfALadder takes the network away while one machine is
// watched for down, one boots and one has not been asked yet. No device hears
// anything, the jobs say why they wait, and go on when the bridge is back.
func TestBridgeIsCutInTheMiddleOfALadder(t *testing.T) {
	t.Parallel()
	opts := with(quick, "watched", "boots", "asked-later")
	l := Start(t, opts)
	watched, boots, later := l.Machines()[0], l.Machines()[1], l.Machines()[2]
	require.NoError(t, watched.SetFaults(Faults{IgnoreSSH: true}))
	require.NoError(t, boots.SetFaults(Faults{Boot: 20 * time.Second}))
	s := newSighted(t, l, "10m")

	began := rig.Now()
	s.start("reboot", "watched", "boots")
	edgeAfter(t, l, boots, rig.Down, began)
	s.shown("boots", "Now: waiting for the machine to come back")
	eventually(t, l, "the command that is ignored", func() bool { return len(controls(l, watched)) == 1 })
	require.NoError(t, l.Cut())
	s.start("reboot", "asked-later")
	for _, m := range []*Machine{watched, boots, later} {
		out := s.shown(m.ID, "Now: blind: "+blindText+"; paused since ", "goes on when they do, gives up at ")
		require.NotContains(t, out, "no_effect")
		require.NotContains(t, out, "not_back")
	}
	edgeAfter(t, l, boots, rig.Up, began) // unseen
	require.Equal(t, []string{"reboot"}, controls(l, watched), "no rung was spent")
	require.Equal(t, []string{"reboot"}, controls(l, boots), "no rung was spent")
	require.Empty(t, controls(l, later))

	mended := rig.Now()
	require.NoError(t, l.Mend())
	for _, m := range []*Machine{watched, boots, later} {
		v := s.ended(m.ID)
		require.Equal(t, workflows.Back, v.Result.Outcome, "%s", v.Result.Markdown())
		require.True(t, state(t, m).SSH)
	}
	require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.NoEffect, "ipmi_reset": workflows.Back}, rungs(s.ended("watched").Result))
	require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.Back}, rungs(s.ended("boots").Result))
	require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.Back}, rungs(s.ended("asked-later").Result))
	require.Equal(t, []string{"reboot", "chassis power reset"}, controls(l, watched), "the first not again after the cut")
	require.Equal(t, []string{"reboot"}, controls(l, boots))
	require.Equal(t, []string{"reboot"}, controls(l, later))
	for _, m := range []*Machine{watched, later} {
		at := l.Controls(m.ID)[0].At
		require.False(t, at.Before(mended), "%s got a command while nobody could see", m.ID)
	}
	require.Empty(t, s.close(), "no bug")
}

// TestBridgeStaysCut: after BLIND_LIMIT two jobs of one site end blind, with one
// bug; it is filed over loopback.
func TestBridgeStaysCut(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2"))
	for _, m := range l.Machines() {
		require.NoError(t, m.SetFaults(Faults{IgnoreSSH: true}))
	}
	s := newSighted(t, l, "8s")
	s.start("reboot", "ms1-1", "ms1-2")
	for _, m := range l.Machines() {
		eventually(t, l, "the command that is ignored", func() bool { return len(controls(l, m)) == 1 })
	}
	require.NoError(t, l.CutSilently())
	for _, m := range l.Machines() {
		r := s.ended(m.ID).Result
		require.Equal(t, workflows.Blind, r.Outcome, "%s", r.Markdown())
		require.Contains(t, r.Why, blindText+" since ")
		require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.Blind}, rungs(r))
		require.Equal(t, "bug/site/mdc1", r.Bug.WorkflowID)
	}
	require.NoError(t, l.Mend())
	for _, m := range l.Machines() {
		require.Equal(t, []string{"reboot"}, controls(l, m))
	}
	bugs := s.close()
	require.Len(t, bugs, 1, "one for the whole site")
	require.Equal(t, "[MDC1] roller cannot see this site", bugs[0].Summary)
	require.Len(t, bugs[0].Comments, 1)
}
