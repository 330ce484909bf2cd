package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// Promise 4: an attempt at "on" that vanished is followed by another "on": a
// machine that roller powered off must not stay dark because one reply was lost.
func TestOnIsSentAgainAfterALostAttempt(t *testing.T) {
	t.Parallel()
	for name, phase := range map[string]Phase{"sending": Sending, "watching": Watching} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, ".")
			f := &fakeDevice{powers: []string{"off", "on"}}
			res, err := execute(t, r.fake(f), r.command(On, 0), call{details: Progress{Phase: phase}})
			require.NoError(t, err)
			require.Equal(t, 1, f.sent)
			require.Equal(t, "on", res.Power)
		})
	}
}

// Off inside a ladder is read back from the device, and a machine that was dark
// already is not watched for going down.
func TestOffIsReadBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		record  string
		powers  []string
		power   string
		unknown bool
		down    bool
	}{
		"up, and goes down":       {record: ".xxx", powers: []string{"on", "off"}, power: "off", down: true},
		"dark before":             {record: "x", powers: []string{"off"}, power: "off"},
		"the outlet does not act": {record: "x", powers: []string{"on"}, power: "on", unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, c.record)
			f := &fakeDevice{powers: c.powers}
			res, err := execute(t, r.fake(f), r.command(Off, config.Duration(2*time.Second)), call{})
			require.NoError(t, err)
			require.Equal(t, 1, f.sent)
			require.Equal(t, c.power, res.Power)
			require.Equal(t, c.unknown, res.Unknown != "", "%q", res.Unknown)
			require.True(t, res.Watch.Done)
			require.Equal(t, c.down, res.Watch.Down)
		})
	}
}

// Dark before the first command and up now: it has come back, and must not be
// hit again.
func TestDarkThenUpIsBack(t *testing.T) {
	t.Parallel()
	a := &Activities{}
	require.NotEmpty(t, a.back(t.Context(), config.Machine{}, &Baseline{}, Baseline{Up: true}))
}
