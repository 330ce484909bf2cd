package activities

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

func allowed() error { return nil }

// bmc is the machine's entry with a BMC of its own, to be changed.
func (r *rig) bmc(t *testing.T) (config.Machine, *config.IPMI) {
	t.Helper()
	m := r.entry(t)
	b := *m.IPMI
	m.IPMI = &b
	return m, &b
}

func isControl(e lab.Entry) bool { return e.Control }

func TestIPMIPower(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action Action
		sent   string
	}{
		"reset": {Reset, "chassis power reset"},
		"cycle": {Cycle, "chassis power cycle"},
		"off":   {Off, "chassis power off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{})
			res, err := execute(t, r.IPMIPower, r.command(c.action, rigWatch), call{})
			require.NoError(t, err)
			require.Equal(t, c.sent, res.Sent)
			require.Empty(t, res.Unknown)
			require.True(t, res.Baseline.Up)
			require.True(t, res.Watch.Done)
			require.True(t, res.Watch.Down || res.Watch.Rebooted, "%+v", res.Watch)
			require.Equal(t, 1, r.lab.Count("", isControl))
		})
	}
}

func TestIPMIOffAndOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{})
	off, err := execute(t, r.IPMIPower, r.command(Off, 0), call{})
	require.NoError(t, err)
	require.Equal(t, "off", off.Power)
	require.Empty(t, off.Unknown)
	require.False(t, r.machine.State().Power)

	again, err := execute(t, r.IPMIPower, r.command(Off, 0), call{})
	require.NoError(t, err)
	require.Equal(t, "off", again.Power)
	require.Empty(t, again.Sent)

	// What a reset of a machine without power is told (D5h) is a clear no.
	_, err = execute(t, r.IPMIPower, r.command(Reset, rigWatch), call{})
	requireMeaning(t, err, Refused, false)

	on, err := execute(t, r.IPMIPower, r.command(On, 0), call{})
	require.NoError(t, err)
	require.Equal(t, "on", on.Power)
	require.Len(t, r.lab.Controls(""), 2)
}

// The reply to the command is lost: the device acted, nothing is sent again,
// and where there is a power state to be read, that tells.
func TestIPMILostReply(t *testing.T) {
	t.Parallel()
	t.Run("reset", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{Faults: lab.Faults{LoseCommandReply: true}})
		res, err := execute(t, r.IPMIPower, r.command(Reset, rigWatch), call{})
		require.NoError(t, err)
		require.Contains(t, res.Unknown, "chassis power reset")
		require.True(t, res.Watch.Done)
		require.Equal(t, 1, r.lab.Count("", isControl))
	})
	t.Run("off and on", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{Faults: lab.Faults{LoseCommandReply: true}})
		for _, action := range []Action{Off, On} {
			res, err := execute(t, r.IPMIPower, r.command(action, 0), call{})
			require.NoError(t, err)
			require.Equal(t, string(action), res.Power)
			require.Empty(t, res.Unknown)
		}
		require.Equal(t, 2, r.lab.Count("", isControl))
	})
}

func TestIPMIRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func(t *testing.T, r *rig, b *config.IPMI)
		meaning Meaning
		says    string
	}{
		"wrong password": {func(_ *testing.T, _ *rig, b *config.IPMI) {
			b.Password = config.NewSecret("s3cret-wrong")
		}, Refused, "the password is not accepted"},
		"unknown user": {func(_ *testing.T, _ *rig, b *config.IPMI) {
			b.User = "nobody"
		}, Refused, "not accepted"},
		"user's name too long": {func(_ *testing.T, _ *rig, b *config.IPMI) {
			b.User = strings.Repeat("x", 17)
		}, Refused, "too long"},
		"privilege above the user's": {func(_ *testing.T, _ *rig, b *config.IPMI) {
			b.User = lab.BMCReader
		}, Refused, "not accepted"},
		"privilege below the command's": {func(_ *testing.T, r *rig, _ *config.IPMI) {
			r.Config.Devices.IPMIPrivilege = "USER"
		}, Refused, "chassis power reset"},
		"no such privilege": {func(_ *testing.T, r *rig, _ *config.IPMI) {
			r.Config.Devices.IPMIPrivilege = "GOD"
		}, Refused, "GOD"},
		"name unknown to DNS": {func(_ *testing.T, _ *rig, b *config.IPMI) {
			b.Host = "no..bmc" // not even asked for
		}, NotSent, "no..bmc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoOutlet: true})
			m, b := r.bmc(t)
			c.spoil(t, r, b)
			_, err := r.ipmiControl(t.Context(), m, Reset, allowed)
			require.Error(t, err)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "s3cret")
			require.Empty(t, r.lab.Controls(""))
		})
	}
}

func garbage(n int) []byte {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, random.IntN(100))
	for i := range b {
		b[i] = byte(random.UintN(256))
	}
	return b
}

// What a BMC says after the command that is no answer to it is Unknown, and
// nothing that comes over the network brings the worker down.
func TestIPMIGarbageAfterTheCommand(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func([]byte) []byte{
		"shorter than it says":      func(b []byte) []byte { return b[:len(b)-17] },
		"too short to be decrypted": func(b []byte) []byte { return append(append(b[:14:14], 4, 0), b[16:20]...) },
		"noise":                     func([]byte) []byte { return garbage(1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoOutlet: true})
			r.Config.Devices.IPMITimeout = config.Duration(time.Second)
			m, b := r.bmc(t)
			var sent atomic.Bool
			front := newRelay(t, b.Addr(), func(_ int, reply []byte) []byte {
				if !sent.Load() {
					return reply
				}
				return spoil(reply)
			})
			b.Host, b.Port = front.host, front.port
			what, err := r.ipmiControl(t.Context(), m, Reset, func() error { sent.Store(true); return nil })
			require.Equal(t, Unknown, MeaningOf(err), "%v", err)
			require.Equal(t, "chassis power reset", what)
			require.Len(t, r.lab.Controls(""), 1)
		})
	}
}

// The fence is asked once the session is there, just before the command; a
// cancel after it does not wait for the reply.
func TestIPMIFenceAndCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoOutlet: true, Faults: lab.Faults{LoseCommandReply: true}})
	r.Config.Devices.IPMITimeout = config.Duration(time.Hour)
	m, _ := r.bmc(t)
	_, err := r.ipmiControl(t.Context(), m, Reset, func() error { return notSent("too late") })
	require.Equal(t, NotSent, MeaningOf(err))
	require.Empty(t, r.lab.Controls(""))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := r.ipmiControl(ctx, m, Reset, allowed)
		done <- err
	}()
	require.NoError(t, r.lab.Wait(t.Context(), func() bool { return len(r.lab.Controls("")) == 1 }))
	cancel()
	require.Equal(t, Unknown, MeaningOf(<-done))
}

// Promise 2: with replies lost, each command is carried out once at most. What
// the lab logged is compared with what the activity said.
func TestIPMIAtMostOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoOutlet: true, Timing: lab.Timing{Boot: time.Millisecond, SSHDelay: time.Millisecond}, Faults: lab.Faults{LoseReplies: 0.3}})
	r.Config.Devices.IPMITimeout = config.Duration(400 * time.Millisecond)
	m := r.entry(t)
	var mu sync.Mutex
	meanings, total := map[Meaning]int{}, 0
	for total < 20 || meanings[Unknown] == 0 && total < 200 {
		var wait sync.WaitGroup
		for range 20 {
			wait.Go(func() {
				_, err := r.ipmiControl(t.Context(), m, Reset, allowed)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					meanings["acknowledged"]++
				} else {
					meanings[MeaningOf(err)]++
				}
			})
		}
		wait.Wait()
		total += 20
	}
	received := r.lab.Count("", isControl)
	require.Zero(t, meanings[Refused], "%v", meanings)
	require.Equal(t, total, meanings["acknowledged"]+meanings[Unknown]+meanings[NotSent])
	require.Equal(t, meanings["acknowledged"]+meanings[Unknown], received, "%v", meanings)
	require.NotZero(t, meanings["acknowledged"])
	require.NotZero(t, meanings[Unknown], "no reply was lost: the test shows nothing")
	from := map[string]int{}
	for _, e := range r.lab.Entries("", isControl) {
		from[e.From]++
		require.Equal(t, 1, from[e.From], "a session sent its command twice")
	}
}

func TestIPMIMeaning(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want Meaning
	}{
		"node busy":            {types.NewResponseError(0xc0, ""), NotSent},
		"timeout inside":       {types.NewResponseError(0xc3, ""), Unknown},
		"no response possible": {types.NewResponseError(0xce, ""), Unknown},
		"unspecified":          {types.NewResponseError(0xff, ""), Unknown},
		"unreadable":           {types.NewResponseError(0x00, ""), Unknown},
		"no privilege":         {types.NewResponseError(0xd4, ""), Refused},
		"not in this state":    {types.NewResponseError(0xd5, ""), Refused},
		"invalid command":      {types.NewResponseError(0xc1, ""), Refused},
		"no answer":            {net.ErrClosed, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, ipmiMeaning(c.err))
		})
	}
}

func TestIPMIReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{Faults: lab.Faults{LoseReplies: 0.1}})
	in := Read{Machine: r.name}
	status, err := execute(t, r.IPMIStatus, in, call{})
	require.NoError(t, err)
	require.Equal(t, "Chassis Power is on", status.Text)
	list, err := execute(t, r.IPMIList, in, call{})
	require.NoError(t, err)
	lines := strings.Split(list.Text, "\n")
	require.LessOrEqual(t, len(lines), selLast)
	require.Contains(t, list.Text, "|", list.Text)
	require.Empty(t, r.lab.Controls(""))

	bare := newRig(t, lab.Spec{NoBMC: true})
	_, err = execute(t, bare.IPMIStatus, Read{Machine: bare.name}, call{})
	requireMeaning(t, err, NoRung, false)
	_, err = execute(t, bare.IPMIList, Read{Machine: bare.name}, call{})
	requireMeaning(t, err, NoRung, false)
}
