package main

import (
	"bytes"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
)

func TestSeed(t *testing.T) {
	t.Parallel()
	const machines = 300
	first, again, other := fleet(random(1, "fleet"), machines), fleet(random(1, "fleet"), machines), fleet(random(2, "fleet"), machines)
	require.Equal(t, first, again, "a seed makes one fleet")
	require.NotEqual(t, first, other)
	plan := func(seed uint64) []string { return (&strikes{site: &site{}, rand: random(seed, "strikes")}).plan(20) }
	kills := plan(1)
	require.Equal(t, kills, plan(1))
	require.NotEqual(t, kills, plan(2))
	require.NotEqual(t, random(1, "fleet").Uint64(), random(1, "clicks").Uint64(), "each part draws for itself")

	for what, is := range map[string]func(lab.Spec) bool{
		"healthy":    func(s lab.Spec) bool { return s.Faults == (lab.Faults{}) && !s.NoBMC },
		"wedged":     func(s lab.Spec) bool { return s.Faults.Hung },
		"refusing":   func(s lab.Spec) bool { return s.Faults.RefuseControl },
		"acts late":  func(s lab.Spec) bool { return s.Timing.PDULag > time.Second },
		"lossy":      func(s lab.Spec) bool { return s.Faults.LoseReplies > 0 },
		"with iLO":   func(s lab.Spec) bool { return s.ILO },
		"virtual":    func(s lab.Spec) bool { return s.VM },
		"never back": func(s lab.Spec) bool { return s.Faults.NeverReturns },
	} {
		require.True(t, slices.ContainsFunc(first, is), what)
	}
}

// The measure of a full run is 20 kills of each kind.
func TestWanted(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, wanted(8*time.Minute), 20)
	require.Equal(t, 1, wanted(time.Second))
	kinds := (&strikes{site: &site{}, rand: random(1, "strikes")}).plan(20)
	for _, kind := range []string{check.Worker, check.API, check.Server} {
		require.Len(t, slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return k != kind }), 20)
	}
}

// A strike hits one command at its moment, and only while it is aimed.
func TestStriker(t *testing.T) {
	t.Parallel()
	var s striker
	var hit []int
	strike := func(e lab.Entry) bool { hit = append(hit, e.Seq); return true }
	control := func(seq int) lab.Entry { return lab.Entry{Seq: seq, Control: true} }
	s.during(lab.Arrived, control(1))
	a := s.aim(lab.Acted, strike)
	s.during(lab.Arrived, control(2))
	s.during(lab.Acted, lab.Entry{Seq: 3})
	s.during(lab.Acted, control(4))
	s.during(lab.Acted, control(5))
	<-a.done
	require.Equal(t, []int{4}, hit)
	require.False(t, s.drop(a), "it has hit")

	b := s.aim(lab.Acted, strike)
	require.True(t, s.drop(b))
	s.during(lab.Acted, control(6))
	refusing := s.aim(lab.Arrived, func(lab.Entry) bool { return false })
	s.during(lab.Arrived, control(7))
	require.True(t, s.drop(refusing), "it has let the command go by")
	require.Equal(t, []int{4}, hit)
	require.Zero(t, s.armed.Load())
}

func TestSender(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, udp.Close()) })
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tcp.Close()) })
	require.True(t, sender(os.Getpid(), udp.LocalAddr().String()))
	require.True(t, sender(os.Getpid(), tcp.Addr().String()))
	require.False(t, sender(1<<22+1, udp.LocalAddr().String()), "no such process")
	require.False(t, sender(os.Getpid(), "127.0.0.1:1"))
	require.False(t, sender(os.Getpid(), "nowhere"))
	require.False(t, sender(0, udp.LocalAddr().String()))
}

// A machine that was healed is its own self again, and hangs on if it hung.
func TestHeal(t *testing.T) {
	t.Parallel()
	l, err := lab.Start(lab.Options{Machines: []lab.Spec{{WorkerID: "a", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	m := l.Machines()[0]
	m.SetFaults(lab.Faults{PDUDead: true, Hung: true})
	heal(m)
	require.Equal(t, lab.Faults{IgnoreSSH: true, Hung: true}, m.Faults())
}

// What broke is told, with the line that makes it happen again, and is the exit
// status.
func TestReport(t *testing.T) {
	t.Parallel()
	f := &check.Facts{Runs: []check.Run{{WorkflowID: "machine/mdc1/a", RunID: "run-1", Type: "reboot", Status: "Running"}}}
	var out bytes.Buffer
	err := report(&out, f, options{seed: 7, machines: 3, duration: time.Minute, dir: "d"})
	require.ErrorIs(t, err, errBroken)
	require.ErrorContains(t, err, "make chaos MACHINES=3 DURATION=1m0s SEED=7")
	require.Contains(t, out.String(), "BROKEN  every run has ended")
	require.Contains(t, out.String(), "run run-1 of reboot, is open still")

	out.Reset()
	require.NoError(t, report(&out, &check.Facts{}, options{}))
	require.Contains(t, out.String(), "every promise was kept")
	require.NotContains(t, out.String(), "BROKEN")
}
