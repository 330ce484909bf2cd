package activities

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// pdu is the machine's entry with an outlet of its own, to be changed. Its PDU
// need not be asked what it is.
func (r *rig) pdu(t *testing.T) (config.Machine, *config.Outlet) {
	t.Helper()
	m := r.entry(t)
	m.Outlets = append([]config.Outlet(nil), m.Outlets...)
	m.Outlets[0].Profile = config.ProfileFor(".1.3.6.1.4.1.1718.3")
	return m, &m.Outlets[0]
}

func TestSNMPReboot(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{})
	res, err := execute(t, r.SNMPOutlet, r.command(Reboot, rigWatch), call{})
	require.NoError(t, err)
	require.Equal(t, r.entry(t).Outlets[0].String()+" reboot", res.Sent)
	require.Empty(t, res.Unknown)
	require.True(t, res.Watch.Done)
	require.True(t, res.Watch.Down || res.Watch.Rebooted, "%+v", res.Watch)
	require.Equal(t, 1, r.lab.Count("", isControl))
}

func TestSNMPOffAndOn(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]lab.Faults{
		"acknowledged": {},
		"replies lost": {LoseCommandReply: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{Faults: faults})
			r.Config.Devices.SNMPTimeout = config.Duration(time.Second)
			for _, action := range []Action{Off, Off, On, On} {
				res, err := execute(t, r.SNMPOutlet, r.command(action, 0), call{})
				require.NoError(t, err)
				require.Equal(t, string(action), res.Power)
				require.Empty(t, res.Unknown)
				require.Equal(t, action == On, r.machine.State().Outlet)
			}
			require.Equal(t, 2, r.lab.Count("", isControl), "what is as wanted is left alone")
		})
	}
}

// A PDU acknowledges a Set before the outlet acts: what counts is the status.
func TestSNMPStuckOutlet(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{Faults: lab.Faults{OutletStuck: true}})
	r.Config.Devices.SNMPVerify = config.Duration(500 * time.Millisecond)
	res, err := execute(t, r.SNMPOutlet, r.command(Off, 0), call{})
	require.NoError(t, err)
	require.Equal(t, "on", res.Power)
	require.Contains(t, res.Unknown, "not seen to be off")
}

func TestSNMPRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func(r *rig, m *config.Machine)
		meaning Meaning
		says    string
	}{
		"read-only community": {func(r *rig, _ *config.Machine) {
			r.Config.Devices.SNMPCommunity = config.NewSecret(lab.CommunityRead)
		}, Refused, "NoAccess"},
		"wrong community": {func(r *rig, _ *config.Machine) {
			r.Config.Devices.SNMPCommunity = config.NewSecret("s3cret-wrong")
		}, NotSent, "community is wrong"},
		"unknown outlet": {func(_ *rig, m *config.Machine) {
			m.Outlets[0].Number = 63
		}, Refused, "no such outlet"},
		"silent": {func(r *rig, _ *config.Machine) {
			r.machine.SetFaults(lab.Faults{PDUDead: true})
		}, NotSent, "no answer"},
		"nobody there": {func(_ *rig, m *config.Machine) {
			m.Outlets[0].Port = 1 // tcpmux
		}, NotSent, "no answer"},
		"name unknown to DNS": {func(_ *rig, m *config.Machine) {
			m.Outlets[0].Host = "no..pdu" // not even asked for
		}, NotSent, "no..pdu"},
		"two outlets": {func(_ *rig, m *config.Machine) {
			m.Outlets = append(m.Outlets, m.Outlets[0])
		}, Refused, "fed by 2 outlets: one command cannot reboot it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true})
			r.Config.Devices.SNMPTimeout = config.Duration(400 * time.Millisecond)
			m, _ := r.pdu(t)
			c.spoil(r, &m)
			_, err := r.snmpSet(t.Context(), m, Reboot, allowed)
			require.Error(t, err)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "s3cret")
			require.Empty(t, r.lab.Controls(""))
		})
	}
}

// answerTo makes the reply of a PDU that has its own mind about Sets.
func answerTo(t *testing.T, datagram []byte, set func(*gosnmp.SnmpPacket)) []byte {
	t.Helper()
	p, err := (&gosnmp.GoSNMP{Version: gosnmp.Version2c}).SnmpDecodePacket(datagram)
	if err != nil {
		return nil
	}
	isSet := p.PDUType == gosnmp.SetRequest
	p.PDUType = gosnmp.GetResponse
	for i := range p.Variables {
		p.Variables[i].Type, p.Variables[i].Value = gosnmp.Integer, 1
	}
	if isSet {
		set(p)
	}
	out, err := p.MarshalMsg()
	if err != nil {
		return nil
	}
	return out
}

func TestSNMPAnswersToASet(t *testing.T) {
	t.Parallel()
	status := func(e gosnmp.SNMPError) func(*gosnmp.SnmpPacket) {
		return func(p *gosnmp.SnmpPacket) { p.Error, p.ErrorIndex = e, 1 }
	}
	for name, c := range map[string]struct {
		set     func(*gosnmp.SnmpPacket)
		meaning Meaning
	}{
		"done":                 {func(*gosnmp.SnmpPacket) {}, ""},
		"no access":            {status(gosnmp.NoAccess), Refused},
		"not writable":         {status(gosnmp.NotWritable), Refused},
		"wrong value":          {status(gosnmp.WrongValue), Refused},
		"resource unavailable": {status(gosnmp.ResourceUnavailable), NotSent},
		"general error":        {status(gosnmp.GenErr), Unknown},
		"undo failed":          {status(gosnmp.UndoFailed), Unknown},
		"no variables":         {func(p *gosnmp.SnmpPacket) { p.Variables = nil }, Unknown},
		"not a response":       {func(p *gosnmp.SnmpPacket) { p.PDUType = gosnmp.GetRequest }, Unknown},
		"to another request":   {func(p *gosnmp.SnmpPacket) { p.RequestID++ }, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoBMC: true})
			r.Config.Devices.SNMPTimeout = config.Duration(time.Second)
			m, o := r.pdu(t)
			front := newRelay(t, "", func(_ int, b []byte) []byte { return answerTo(t, b, c.set) })
			o.Host, o.Port = front.host, front.port
			_, err := r.snmpSet(t.Context(), m, Reboot, allowed)
			require.EqualValues(t, 2, front.seen.Load(), "one Get, one Set")
			if c.meaning == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
		})
	}
}

func TestSNMPGarbage(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true})
	r.Config.Devices.SNMPTimeout = config.Duration(500 * time.Millisecond)
	m, o := r.pdu(t)
	gets := newRelay(t, "", func(n int, _ []byte) []byte { return garbage(n) })
	o.Host, o.Port = gets.host, gets.port
	_, err := r.snmpSet(t.Context(), m, Reboot, allowed)
	require.Equal(t, NotSent, MeaningOf(err), "%v", err)

	sets := newRelay(t, "", func(n int, b []byte) []byte {
		if n == 1 {
			return answerTo(t, b, nil)
		}
		return b[:len(b)/2]
	})
	o.Host, o.Port = sets.host, sets.port
	_, err = r.snmpSet(t.Context(), m, Reboot, allowed)
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	require.NotContains(t, err.Error(), "goroutine")
}

// A machine with two supplies is off when both outlets are, and what was half
// done is not "not sent".
func TestSNMPTwoOutlets(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true})
	r.Config.Devices.SNMPTimeout = config.Duration(500 * time.Millisecond)
	m, _ := r.pdu(t)
	var mu sync.Mutex
	state, sets := map[string]int{}, 0
	refuse := ""
	front := newRelay(t, "", func(_ int, b []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		p, err := (&gosnmp.GoSNMP{Version: gosnmp.Version2c}).SnmpDecodePacket(b)
		if err != nil {
			return nil
		}
		v := &p.Variables[0]
		outlet := v.Name[strings.LastIndex(v.Name, ".")+1:]
		if p.PDUType == gosnmp.SetRequest {
			sets++
			if outlet == refuse {
				p.Error, p.ErrorIndex = gosnmp.NotWritable, 1
			} else {
				state[outlet] = v.Value.(int) // 1 on, 2 off
			}
		} else {
			v.Type, v.Value = gosnmp.Integer, map[int]int{0: 1, 1: 1, 2: 0}[state[outlet]]
		}
		p.PDUType = gosnmp.GetResponse
		out, _ := p.MarshalMsg()
		return out
	})
	m.Outlets[0].Host, m.Outlets[0].Port = front.host, front.port
	second := m.Outlets[0]
	second.Number++
	m.Outlets = append(m.Outlets, second)

	what, err := r.snmpSet(t.Context(), m, Off, allowed)
	require.NoError(t, err)
	mu.Lock()
	require.Equal(t, 2, sets)
	mu.Unlock()
	require.Contains(t, what, ", ")
	power, err := r.snmpPower(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, "off", power)

	_, err = r.snmpSet(t.Context(), m, On, allowed)
	require.NoError(t, err)
	mu.Lock()
	refuse = strconv.Itoa(second.Number)
	mu.Unlock()
	_, err = r.snmpSet(t.Context(), m, Off, allowed)
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	power, err = r.snmpPower(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, "off+on", power)

	// A cancel that comes between the two outlets does not undo the first.
	_, err = r.snmpSet(t.Context(), m, On, allowed)
	require.NoError(t, err)
	asked := 0
	_, err = r.snmpSet(t.Context(), m, Off, func() error {
		if asked++; asked == 2 {
			return temporal.NewCanceledError()
		}
		return nil
	})
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	require.False(t, temporal.IsCanceledError(err), "which would say that nothing was sent")
}

func TestSNMPFenceAndCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true, Faults: lab.Faults{LoseCommandReply: true}})
	r.Config.Devices.SNMPTimeout = config.Duration(time.Hour)
	m, _ := r.pdu(t)
	_, err := r.snmpSet(t.Context(), m, Reboot, func() error { return notSent("too late") })
	require.Equal(t, NotSent, MeaningOf(err))
	require.Empty(t, r.lab.Controls(""))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := r.snmpSet(ctx, m, Reboot, allowed)
		done <- err
	}()
	require.NoError(t, r.lab.Wait(t.Context(), func() bool { return len(r.lab.Controls("")) == 1 }))
	cancel()
	require.Equal(t, Unknown, MeaningOf(<-done))
}

// Promise 2: with replies lost, each Set is carried out once at most.
func TestSNMPAtMostOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoBMC: true, Faults: lab.Faults{LoseReplies: 0.3}})
	r.Config.Devices.SNMPTimeout = config.Duration(400 * time.Millisecond)
	m := r.entry(t)
	done := map[Meaning]int{}
	for n := 0; n < 20 || done[Unknown] == 0 && n < 200; n++ {
		before := r.lab.Count("", isControl)
		_, err := r.snmpSet(t.Context(), m, Reboot, allowed)
		meaning := Meaning("acknowledged")
		want := before + 1
		if err != nil {
			if meaning = MeaningOf(err); meaning == NotSent {
				want = before
			}
		}
		done[meaning]++
		require.Equal(t, want, r.lab.Count("", isControl), "%v", err)
	}
	require.NotZero(t, done["acknowledged"])
	require.NotZero(t, done[Unknown], "no reply was lost: the test shows nothing")
	require.Zero(t, done[Refused])
}
