//go:build lab && linux

package netns

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

func TestWedgedMachineIsCuredByAReset(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	require.NoError(t, m.Wedge())
	require.False(t, pings(t, l, m))
	_, err := sshTo(t, l, m, "reboot")
	require.Error(t, err)
	require.Equal(t, "Chassis Power is on", mustIPMI(t, l, m, "power", "status"))
	_, err = ipmitool(t, l, m, "power", "soft")
	require.Error(t, err, "nothing runs that could listen to the power button")

	began := rig.Now()
	mustIPMI(t, l, m, "power", "reset")
	edgeAfter(t, l, m, rig.Banner, began)
	require.True(t, pings(t, l, m))
	require.False(t, state(t, m).Wedged)
}

func TestSSHIsTakenAndIgnored(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	require.NoError(t, m.SetFaults(Faults{IgnoreSSH: true}))
	_, err := sshTo(t, l, m, "reboot")
	require.NoError(t, err)
	commands := l.Commands(m.ID)
	require.Len(t, commands, 1)
	require.True(t, commands[0].Control)
	require.False(t, commands[0].Executed)

	// What comes later is done before: had the reboot begun, this would be the second.
	require.NoError(t, m.SetFaults(Faults{}))
	began := rig.Now()
	_, err = sshTo(t, l, m, "shutdown -f -t 3 -r")
	require.NoError(t, err)
	edgeAfter(t, l, m, rig.Banner, began)
	require.Equal(t, []string{rig.PowerOn, rig.Up, rig.Banner, rig.Down, rig.Up, rig.Banner}, events(l, m))
}

func TestMachineHangsAfterSSH(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	require.NoError(t, m.SetFaults(Faults{HangSSH: true}))
	began := rig.Now()
	_, err := sshTo(t, l, m, "reboot")
	require.NoError(t, err)
	edgeAfter(t, l, m, rig.Down, began)
	edgeAfter(t, l, m, rig.Wedged, began)
	require.Equal(t, "Chassis Power is on", mustIPMI(t, l, m, "power", "status"))
	mustIPMI(t, l, m, "power", "reset")
	edgeAfter(t, l, m, rig.Banner, began)
}

func TestMachineNeverReturns(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2"))
	m, other := l.Machines()[0], l.Machines()[1]
	require.NoError(t, m.SetFaults(Faults{NoReturn: true}))
	began := rig.Now()
	mustIPMI(t, l, m, "power", "reset")
	mustIPMI(t, l, other, "power", "reset")
	edgeAfter(t, l, other, rig.Banner, began) // which began to boot later, and is back
	edgeAfter(t, l, m, rig.Down, began)
	require.False(t, state(t, m).Up)
	require.False(t, pings(t, l, m))
	require.True(t, state(t, m).Power)
}

func TestSlowBoot(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	slow := 3 * time.Second
	require.NoError(t, m.SetFaults(Faults{Boot: slow}))
	began := rig.Now()
	mustIPMI(t, l, m, "power", "reset")
	down, up := edgeAfter(t, l, m, rig.Down, began), edgeAfter(t, l, m, rig.Up, began)
	require.GreaterOrEqual(t, up.At.Sub(down.At), slow-time.Millisecond)
}

func TestLostRepliesOfAPDU(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	require.NoError(t, l.PDU().LoseReplies(100))
	out, err := tool(t, l, "snmpset", "-v2c", "-c", Community, "-r", "2", "-t", "1", l.PDU().Addr, object(m, 11), "i", "1")
	require.Error(t, err)
	require.Contains(t, out, "Timeout")
	require.Len(t, l.Controls(m.ID), 3, "a client that resends is obeyed three times, and told nothing")
	lost, err := l.PDU().Lost()
	require.NoError(t, err)
	require.Equal(t, 3, lost)

	require.NoError(t, l.PDU().LoseReplies(0))
	outlet(t, l, m, 5, 1)
}

// TestLostRepliesOfABMC lets one session be set up and drops every answer from
// then on: while it sets one up, ipmitool survives hardly any loss.
func TestLostRepliesOfABMC(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2"))
	m, other := l.Machines()[0], l.Machines()[1]
	say, end := ipmiShell(t, l, m)
	say("chassis power status")
	eventually(t, l, "the session is set up", func() bool { return len(l.Commands(m.ID)) == 1 })
	require.NoError(t, m.BMC().LoseReplies(100))
	say("chassis power reset")
	eventually(t, l, "ipmitool resends", func() bool { return len(l.Controls(m.ID)) > 1 })
	lost, err := m.BMC().Lost()
	require.NoError(t, err)
	require.Positive(t, lost)
	require.NoError(t, m.BMC().LoseReplies(0))
	end()
	for _, c := range l.Controls(m.ID) {
		require.Equal(t, "chassis power reset", c.Command)
	}
	require.Equal(t, "Chassis Power is on", mustIPMI(t, l, m, "power", "status"))
	_, err = other.BMC().Lost()
	require.Error(t, err, "the neighbour has no such rule")
}

// TestShareOfReplies asks until both have happened, so that only a rule that
// drops all or none fails it: 0.7^200 and 0.3^200 otherwise.
func TestShareOfReplies(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	require.NoError(t, l.PDU().LoseReplies(30))
	answered, unanswered := 0, 0
	for range 200 {
		_, err := tool(t, l, "snmpget", "-v2c", "-c", Community, "-r", "0", "-t", "0.5", l.PDU().Addr, object(m, 5))
		if err == nil {
			answered++
		} else {
			unanswered++
		}
		if answered > 0 && unanswered > 0 {
			break
		}
	}
	require.Positive(t, answered)
	require.Positive(t, unanswered)
	lost, err := l.PDU().Lost()
	require.NoError(t, err)
	require.Equal(t, unanswered, lost)
}
