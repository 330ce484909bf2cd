package activities

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
)

// network is a prober that knows, for each address, since when it answers and
// until when; it counts what it is asked.
type network struct {
	mu    sync.Mutex
	began time.Time
	up    map[string][]time.Duration // in turn: silent from, answers from, ...
	asked map[string]int
}

func newNetwork() *network {
	return &network{began: time.Now(), up: map[string][]time.Duration{}, asked: map[string]int{}}
}

func (n *network) Probe(ctx context.Context, m config.Machine) (bool, error) {
	n.mu.Lock()
	n.asked[m.Addr]++
	answers := true
	for _, d := range n.up[m.Addr] {
		if time.Since(n.began) >= d {
			answers = !answers
		}
	}
	n.mu.Unlock()
	if answers {
		pause(ctx, time.Millisecond)
	} else {
		pause(ctx, 2*time.Second)
	}
	return answers && ctx.Err() == nil, nil
}

func (n *network) count(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[addr]
}

var machineOne = config.Machine{
	Name: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: "ms1-10.example", Addr: "machine",
	Probe: config.Probe{Network: "icmp"},
}

// blindBench has a machine without SSH and two canaries; the probes' times are
// the defaults, 1 s and 2 s.
func blindBench(t *testing.T) (*Activities, *network) {
	t.Helper()
	cfg, err := config.Load([]string{"CANARIES=mdc1=canary1,canary2"})
	require.NoError(t, err)
	inventory := config.NewInventory(machineOne)
	a, n := New(cfg, func() *config.Inventory { return inventory }), newNetwork()
	a.Prober = n
	return a, n
}

// inBubble runs each case on a clock of its own.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { t.Parallel(); synctest.Test(t, f) })
}

func TestLookout(t *testing.T) {
	t.Parallel()
	inBubble(t, "one canary of two is enough", func(t *testing.T) {
		a, n := blindBench(t)
		n.up["canary1"] = []time.Duration{0}
		l := a.lookOut(t.Context(), machineOne)
		defer a.leave(l)
		require.False(t, l.decide(t.Context()))
		require.True(t, l.saw(t.Context(), time.Now()))
	})
	inBubble(t, "one lost round is not blind, three are", func(t *testing.T) {
		a, n := blindBench(t)
		n.up["canary1"] = []time.Duration{0}
		n.up["canary2"] = []time.Duration{5500 * time.Millisecond, 6500 * time.Millisecond, 10500 * time.Millisecond}
		l := a.lookOut(t.Context(), machineOne)
		defer a.leave(l)
		pause(t.Context(), 9*time.Second)
		require.False(t, l.blind())
		require.False(t, l.saw(t.Context(), n.began.Add(6*time.Second)))
		require.True(t, l.saw(t.Context(), n.began.Add(7*time.Second)))
		pause(t.Context(), 4*time.Second) // 13 s: the round of 11 s has just ended
		require.False(t, l.blind())
		require.True(t, l.decide(t.Context()))
		require.GreaterOrEqual(t, time.Since(n.began), 15*time.Second)
		require.True(t, l.blind())
	})
	inBubble(t, "a thousand machines ask each canary once a second", func(t *testing.T) {
		a, n := blindBench(t)
		var waiting sync.WaitGroup
		for range 1000 {
			waiting.Go(func() {
				l := a.lookOut(t.Context(), machineOne)
				defer a.leave(l)
				for range 60 {
					l.saw(t.Context(), time.Now())
					pause(t.Context(), time.Second)
				}
			})
		}
		waiting.Wait()
		require.InDelta(t, 60, n.count("canary1"), 2)
		require.InDelta(t, 60, n.count("canary2"), 2)
		pause(t.Context(), time.Minute)
		require.InDelta(t, 60, n.count("canary1"), 2, "nobody looks out any more")
	})
	inBubble(t, "another group has none", func(t *testing.T) {
		a, n := blindBench(t)
		m := machineOne
		m.WorkerGroup = "mdc2"
		l := a.lookOut(t.Context(), m)
		defer a.leave(l)
		require.Nil(t, l)
		require.False(t, l.decide(t.Context()) || l.blind())
		require.True(t, l.saw(t.Context(), time.Now()))
		require.Zero(t, n.count("canary1"))
	})
}

// Nothing is sent to a machine that cannot be seen, and what could not be sent
// because nothing can be reached is no reason for the next rung.
func TestBlindCommand(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, c := range map[string]struct {
		machine, canaries []time.Duration
		device            error
		retry             config.Duration
		meaning           Meaning
		final             bool
		sent              int
		deaf              bool
	}{
		"sees":                            {sent: 1},
		"the machine is down":             {machine: []time.Duration{0}, sent: 1},
		"cut off":                         {machine: []time.Duration{0}, canaries: []time.Duration{0}, meaning: Blind, final: true},
		"sight comes and goes":            {machine: []time.Duration{0}, canaries: []time.Duration{0, 1500 * time.Millisecond, 2500 * time.Millisecond}, meaning: Blind, final: true},
		"only the canaries are down":      {canaries: []time.Duration{0}, sent: 1, deaf: true},
		"the device cannot be reached":    {device: notSent("no route"), meaning: NotSent, final: true},
		"nothing can be reached, retried": {machine: []time.Duration{s / 2}, canaries: []time.Duration{s / 2}, device: notSent("no route"), retry: config.Duration(time.Minute), meaning: NotSent},
		"nothing can be reached any more": {machine: []time.Duration{s / 2}, canaries: []time.Duration{s / 2}, device: notSent("no route"), meaning: Blind, final: true},
	} {
		inBubble(t, name, func(t *testing.T) {
			a, n := blindBench(t)
			n.up["machine"], n.up["canary1"], n.up["canary2"] = c.machine, c.canaries, c.canaries
			sent := 0
			res, err := a.command(t.Context(), Command{Machine: machineOne.Name, Action: Reboot, DownTimeout: config.Duration(10 * s), RungRetry: c.retry}, deed{
				actions: []Action{Reboot},
				missing: func(config.Machine) string { return "" },
				send: func(ctx context.Context, _ config.Machine, _ Action, _ func() error) (string, error) {
					if c.device != nil {
						pause(ctx, s) // the device's own time-out
						return "", c.device
					}
					sent++
					return "reboot", nil
				},
			})
			require.Equal(t, c.sent, sent)
			require.Equal(t, c.deaf, res.Baseline.DeafCanaries)
			if c.meaning == "" {
				require.NoError(t, err)
				require.False(t, res.Watch.Blind)
				return
			}
			e := (*temporal.ApplicationError)(nil)
			require.ErrorAs(t, fail(err), &e)
			require.Equal(t, string(c.meaning), e.Type(), "%v", err)
			require.Equal(t, c.final, e.NonRetryable())
		})
	}
}

// On is never held back: what roller took it gives back, seen or not.
func TestBlindOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, n := blindBench(t)
		for _, addr := range []string{"machine", "canary1", "canary2"} {
			n.up[addr] = []time.Duration{0}
		}
		f := &fakeDevice{powers: []string{"off", "on"}}
		target := Target{VM: &TargetVM{UUID: "u"}}
		inventory := config.NewInventory(func() config.Machine { m := machineOne; m.Xen = &config.Xen{UUID: "u"}; return m }())
		a.Inventory = func() *config.Inventory { return inventory }
		res, err := a.command(t.Context(), Command{Machine: machineOne.Name, Action: On, Target: target}, f.deed())
		require.NoError(t, err)
		require.Equal(t, 1, f.sent)
		require.Equal(t, "on", res.Power)
		require.Zero(t, n.count("canary1"))
	})
}

func TestAwaitUpBlind(t *testing.T) {
	t.Parallel()
	inBubble(t, "cut off while it boots", func(t *testing.T) {
		a, n := blindBench(t)
		n.up["machine"], n.up["canary1"], n.up["canary2"] = []time.Duration{0}, []time.Duration{30 * time.Second}, []time.Duration{30 * time.Second}
		sight, err := a.AwaitUp(t.Context(), Watch{Machine: machineOne.Name, Timeout: config.Duration(5 * time.Minute)})
		require.NoError(t, err)
		require.Equal(t, Sight{Done: true, Blind: true, Evidence: "none of mdc1's canaries answers"}, sight)
		require.WithinDuration(t, n.began.Add(36*time.Second), time.Now(), 3*time.Second, "it says so as soon as it is known")
	})
	inBubble(t, "a machine that answers is up", func(t *testing.T) {
		a, n := blindBench(t)
		n.up["canary1"], n.up["canary2"] = []time.Duration{0}, []time.Duration{0}
		sight, err := a.AwaitUp(t.Context(), Watch{Machine: machineOne.Name, Timeout: config.Duration(5 * time.Minute)})
		require.NoError(t, err)
		require.True(t, sight.Up)
	})
	inBubble(t, "cut off in the last seconds", func(t *testing.T) {
		a, n := blindBench(t)
		n.up["machine"], n.up["canary1"], n.up["canary2"] = []time.Duration{0}, []time.Duration{29 * time.Second}, []time.Duration{29 * time.Second}
		sight, err := a.AwaitUp(t.Context(), Watch{Machine: machineOne.Name, Timeout: config.Duration(30 * time.Second)})
		require.NoError(t, err)
		require.True(t, sight.Blind)
	})
}

func TestAwaitSight(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, c := range map[string]struct {
		machine, canaries []time.Duration
		settle            time.Duration
		blind             bool
		after             time.Duration
		evidence          string
	}{
		"a canary is back":          {machine: []time.Duration{0}, canaries: []time.Duration{0, 20 * s}, after: 22 * s, evidence: "one of mdc1's canaries answers"},
		"the machine itself":        {machine: []time.Duration{0, 20 * s}, canaries: []time.Duration{0}, after: 22 * s, evidence: "the machine itself answers"},
		"for a moment only":         {machine: []time.Duration{0}, canaries: []time.Duration{0, 20 * s, 21 * s, 40 * s}, after: 42 * s, evidence: "one of mdc1's canaries answers"},
		"it must last for a minute": {machine: []time.Duration{0}, canaries: []time.Duration{0, 20 * s, 50 * s, 60 * s}, settle: time.Minute, after: 120 * s, evidence: "one of mdc1's canaries answers"},
		"never":                     {machine: []time.Duration{0}, canaries: []time.Duration{0}, blind: true, after: 10 * time.Minute, evidence: "none of mdc1's canaries answers"},
	} {
		inBubble(t, name, func(t *testing.T) {
			a, n := blindBench(t)
			n.up["machine"], n.up["canary1"], n.up["canary2"] = c.machine, []time.Duration{0}, c.canaries
			sight, err := a.AwaitSight(t.Context(), Pause{Machine: machineOne.Name, Timeout: config.Duration(10 * time.Minute), Settle: config.Duration(c.settle)})
			require.NoError(t, err)
			require.Equal(t, Sight{Done: true, Blind: c.blind, Evidence: c.evidence}, sight)
			require.WithinDuration(t, n.began.Add(c.after), time.Now(), 10*time.Second)
		})
	}
	inBubble(t, "without canaries", func(t *testing.T) {
		a, _ := blindBench(t)
		a.Config.Sight.Canaries = nil
		sight, err := a.AwaitSight(t.Context(), Pause{Machine: machineOne.Name, Timeout: config.Duration(time.Hour)})
		require.NoError(t, err)
		require.True(t, sight.Done && !sight.Blind)
	})
	inBubble(t, "cancelled", func(t *testing.T) {
		a, n := blindBench(t)
		for _, addr := range []string{"machine", "canary1", "canary2"} {
			n.up[addr] = []time.Duration{0}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := a.AwaitSight(ctx, Pause{Machine: machineOne.Name, Timeout: config.Duration(time.Hour)})
		require.Error(t, err)
		require.WithinDuration(t, n.began.Add(time.Minute), time.Now(), 3*time.Second)
	})
}

func TestCompareBoots(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(-5 * time.Minute)
	old := at.Add(-time.Hour)
	for name, c := range map[string]struct {
		base             Baseline
		now              boot
		restarted, known bool
		evidence         string
	}{
		"nothing is known":                 {base: Baseline{At: at}, now: boot{id: "b", at: at}},
		"nothing can be read":              {base: Baseline{At: at, BootID: "a", BootedAt: old}},
		"the same ID":                      {Baseline{At: at, BootID: "a", BootedAt: old}, boot{id: "a"}, false, true, "boot id unchanged"},
		"another ID":                       {Baseline{At: at, BootID: "a"}, boot{id: "b"}, true, true, "boot id changed"},
		"booted after the command":         {Baseline{At: at, BootedAt: old}, boot{at: at.Add(time.Minute)}, true, true, "uptime began anew"},
		"the same boot":                    {Baseline{At: at, BootedAt: old}, boot{at: old.Add(time.Second)}, false, true, "uptime goes on"},
		"clocks that are 10 minutes apart": {Baseline{At: at, BootedAt: old}, boot{at: old.Add(10 * time.Minute)}, false, true, "uptime goes on"},
		"and a restart by such a clock":    {Baseline{At: at, BootedAt: old}, boot{at: at.Add(-10 * time.Minute)}, true, true, "uptime began anew"},
		"booted a minute before":           {Baseline{At: at, BootedAt: at.Add(-time.Minute)}, boot{at: at.Add(-50 * time.Second)}, false, true, "uptime goes on"},
		"the counter may have wrapped":     {base: Baseline{At: at, BootedAt: at.Add(-uptimeWraps)}, now: boot{at: at}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restarted, known, evidence := c.base.compare(c.now)
			require.Equal(t, c.restarted, restarted)
			require.Equal(t, c.known, known)
			require.Equal(t, c.evidence, evidence)
		})
	}
}
