package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

func (r *rig) awaitInstall(limit, settle time.Duration) Watch {
	return Watch{
		Machine: r.name, Baseline: Baseline{Up: true, Down: true, At: time.Now()},
		Timeout: config.Duration(limit), Settle: config.Duration(settle),
	}
}

// An installer that answers probes is not the machine yet: only what shows an SSH
// banner is, and the evidence says whose host key it is.
func TestAwaitInstalled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults    lab.Faults
		installed int
		says      string
	}{
		"installed":      {installed: 1, says: "answers probes and ssh, with another ssh host key: put it into "},
		"its old system": {faults: lab.Faults{IgnoreNetboot: true}, says: "with the ssh host key it had before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, m, _ := netRig(t, "ipmi", c.faults)
			_, _, err := r.netbooterOf(Target{}).boot(t.Context(), *m, allowed)
			require.NoError(t, err)
			sight, err := execute(t, r.AwaitInstalled, r.awaitInstall(time.Minute, 300*time.Millisecond), call{})
			require.NoError(t, err)
			require.True(t, sight.Done && sight.Up)
			require.Contains(t, sight.Evidence, c.says)
			require.Equal(t, c.installed, r.machine.State().Installed)
		})
	}
}

// What goes down again within the time it must stay up was not installed yet,
// and each attempt goes on counting where the one before it ended.
func TestAwaitInstalledThatRestarts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		record  string
		details any
		says    string
	}{
		"at once":          {record: ".", says: "answers probes"},
		"once":             {record: "......xxxxxx.", says: "was up and restarted, 1 times, then answers probes"},
		"on a new attempt": {record: "......xxxxxx.", details: waitProgress{Until: time.Now().Add(time.Hour), Downs: 2}, says: "was up and restarted, 3 times, then answers probes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, c.record)
			sight, err := execute(t, r.AwaitInstalled, r.awaitInstall(time.Minute, 2*time.Second), call{details: c.details})
			require.NoError(t, err)
			require.True(t, sight.Done && sight.Up)
			require.Equal(t, c.says, sight.Evidence)
		})
	}
}

func TestAwaitInstalledEnds(t *testing.T) {
	t.Parallel()
	t.Run("not up", func(t *testing.T) {
		t.Parallel()
		r := bench(t, "......xxxxxx")
		sight, err := execute(t, r.AwaitInstalled, r.awaitInstall(2*time.Second, time.Second), call{})
		require.NoError(t, err)
		require.True(t, sight.Done)
		require.False(t, sight.Up)
		require.Regexp(t, `^was up and restarted, 1 times, then [0-9]+ of [0-9]+ probes unanswered$`, sight.Evidence)
	})
	t.Run("the worker stops", func(t *testing.T) {
		t.Parallel()
		for _, record := range []string{"x", "."} { // waiting for it, and for it to stay
			stop := make(chan struct{})
			close(stop)
			_, err := execute(t, bench(t, record).AwaitInstalled, (&rig{name: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}}).awaitInstall(time.Minute, time.Minute), call{stop: stop})
			requireMeaning(t, err, Handover, true)
		}
	})
	t.Run("the same boot", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{SSHBootID: true})
		in := r.awaitInstall(time.Minute, time.Minute)
		in.Baseline.BootID = r.machine.State().BootID
		sight, err := execute(t, r.AwaitInstalled, in, call{})
		require.NoError(t, err)
		require.True(t, sight.SameBoot)
	})
}
