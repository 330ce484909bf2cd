package activities

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// ipmiRebooting is a rig whose waits for a soft off are short.
func ipmiRebooting(t *testing.T, faults lab.Faults) *rig {
	t.Helper()
	r := newRig(t, lab.Spec{NoOutlet: true, Faults: faults})
	r.Config.Devices.IPMIStatusWait = config.Duration(600 * time.Millisecond)
	r.Config.Devices.IPMIStatusPoll = config.Duration(50 * time.Millisecond)
	return r
}

// controls is what the BMC was told to do, in order.
func (r *rig) controls() []string {
	var words []string
	for _, e := range r.lab.Entries("", isControl) {
		words = append(words, strings.TrimPrefix(e.Command, "chassis power "))
	}
	return words
}

// The off of ipmi_reboot: soft where the operating system listens, hard after
// it where it does not, each once, and the machine reads off in the end.
func TestIPMIReboot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults lab.Faults
		want   []string
	}{
		"soft is enough":            {lab.Faults{}, []string{"soft"}},
		"soft is ignored":           {lab.Faults{Hung: true}, []string{"soft", "off"}},
		"soft, reply lost":          {lab.Faults{LoseCommandReply: true}, []string{"soft"}},
		"both ignored replies lost": {lab.Faults{LoseCommandReply: true, Hung: true}, []string{"soft", "off"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ipmiRebooting(t, c.faults)
			off, err := execute(t, r.IPMIReboot, r.command(Off, rigWatch), call{})
			require.NoError(t, err)
			require.Equal(t, c.want, r.controls())
			require.Equal(t, "chassis power "+strings.Join(c.want, ", chassis power "), off.Sent)
			require.Equal(t, "off", off.Power)
			require.Empty(t, off.Unknown, "the state was read")
			require.True(t, off.Watch.Done)
			require.False(t, r.machine.State().Power)

			on, err := execute(t, r.IPMIReboot, r.command(On, 0), call{})
			require.NoError(t, err)
			require.Equal(t, "on", on.Power)
			require.Equal(t, append(c.want, "on"), r.controls())
		})
	}
}

// A machine that is off already is sent nothing: what follows powers it on.
func TestIPMIRebootOfADarkMachine(t *testing.T) {
	t.Parallel()
	r := ipmiRebooting(t, lab.Faults{})
	_, err := execute(t, r.IPMIPower, r.command(Off, 0), call{})
	require.NoError(t, err)
	res, err := execute(t, r.IPMIReboot, r.command(Off, rigWatch), call{})
	require.NoError(t, err)
	require.Empty(t, res.Sent)
	require.Equal(t, "off", res.Power)
	require.Equal(t, []string{"off"}, r.controls())
}

// mc info comes first, and the state is read between soft and hard.
func TestIPMIRebootLooksBeforeItActs(t *testing.T) {
	t.Parallel()
	r := ipmiRebooting(t, lab.Faults{Hung: true})
	_, err := execute(t, r.IPMIReboot, r.command(Off, rigWatch), call{})
	require.NoError(t, err)
	var words []string
	for _, e := range r.lab.Entries("", func(e lab.Entry) bool {
		return e.Control || strings.HasPrefix(e.Command, "mc ") || e.Command == "chassis power status"
	}) {
		if n := len(words); n == 0 || words[n-1] != e.Command {
			words = append(words, e.Command)
		}
	}
	require.Equal(t, []string{
		"mc info", "chassis power status", "chassis power soft", "chassis power status", "chassis power off", "chassis power status",
	}, words)
}

// A state that cannot be read after soft is no reason for a hard off.
func TestIPMIRebootNeverHardOffBlindly(t *testing.T) {
	t.Parallel()
	r := ipmiRebooting(t, lab.Faults{Hung: true})
	r.Config.Devices.IPMITimeout = config.Duration(400 * time.Millisecond)
	r.Config.Devices.IPMIStatusWait = config.Duration(100 * time.Millisecond)
	m, b := r.bmc(t)
	front := newRelay(t, b.Addr(), func(_ int, reply []byte) []byte {
		if r.lab.Count("", isControl) > 0 {
			return nil // the BMC is silent from the command on
		}
		return reply
	})
	b.Host, b.Port = front.host, front.port
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	what, err := r.ipmiShutdown(ctx, m, allowed)
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	require.Equal(t, "chassis power soft", what)
	require.Equal(t, []string{"soft"}, r.controls())

	m, b = r.bmc(t)
	b.Password = config.NewSecret("s3cret-wrong") // fails at once
	off, err := r.ipmiAwaitOff(t.Context(), m)
	require.False(t, off)
	require.ErrorContains(t, err, "cannot be read", "no error would lead to the hard off")
}

// Before soft every error says that nothing was sent.
func TestIPMIRebootErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func(r *rig, b *config.IPMI)
		ready   func() error
		within  time.Duration // 0: long enough for every answer
		meaning Meaning
	}{
		"wrong password": {spoil: func(_ *rig, b *config.IPMI) { b.Password = config.NewSecret("s3cret-wrong") }, meaning: Refused},
		"unreachable":    {spoil: func(_ *rig, b *config.IPMI) { b.Host, b.Port = "127.0.0.1", 1 }, within: time.Second, meaning: NotSent},
		// USER may ask for the state, and neither for soft nor for off.
		"no privilege":     {spoil: func(r *rig, _ *config.IPMI) { r.Config.Devices.IPMIPrivilege = "USER" }, meaning: Refused},
		"the fence closed": {ready: func() error { return notSent("too late") }, meaning: NotSent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ipmiRebooting(t, lab.Faults{})
			m, b := r.bmc(t)
			if c.spoil != nil {
				c.spoil(r, b)
			}
			ready := allowed
			if c.ready != nil {
				ready = c.ready
			}
			ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.within, time.Minute))
			defer cancel()
			what, err := r.ipmiShutdown(ctx, m, ready)
			require.Empty(t, what)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.Empty(t, r.lab.Controls(""))
			require.True(t, r.machine.State().Power)
		})
	}
}

// The fence closes between soft and hard: soft was sent, so it is not "not sent".
func TestIPMIRebootFenceBeforeHard(t *testing.T) {
	t.Parallel()
	r := ipmiRebooting(t, lab.Faults{Hung: true})
	asked := 0
	what, err := r.ipmiShutdown(t.Context(), r.entry(t), func() error {
		if asked++; asked > 1 {
			return temporal.NewCanceledError()
		}
		return nil
	})
	require.Equal(t, "chassis power soft", what)
	require.Equal(t, Unknown, MeaningOf(err))
	require.False(t, temporal.IsCanceledError(err), "it would hide that soft was sent")
	require.Equal(t, []string{"soft"}, r.controls())
}

// Promises 4 and 10: cancelled while the operating system shuts down, the
// result says that soft was sent, and no hard off follows.
func TestIPMIRebootCancelled(t *testing.T) {
	t.Parallel()
	r := ipmiRebooting(t, lab.Faults{Hung: true})
	r.Config.Devices.IPMIStatusWait = config.Duration(time.Hour)
	stop := make(chan struct{})
	cancelled := func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancelCause(ctx)
		go func() {
			_ = r.lab.Wait(t.Context(), func() bool { return len(r.lab.Controls("")) == 1 })
			cancel(temporal.NewCanceledError())
		}()
		return ctx
	}
	_, err := execute(t, r.IPMIReboot, r.command(Off, rigWatch), call{wrap: cancelled, stop: stop})
	c, ok := errors.AsType[*temporal.CanceledError](err)
	require.True(t, ok, "%v", err)
	var res CommandResult
	require.NoError(t, c.Details(&res))
	require.Equal(t, "chassis power soft", res.Sent)
	require.NotEmpty(t, res.Unknown)
	require.NotEqual(t, "off", res.Power)
	require.Equal(t, []string{"soft"}, r.controls())
}

// Promise 4: an On that follows a soft off whose worker was lost waits until
// that off has acted: read as on at once, the machine would go dark behind it.
func TestPendingOffIsAwaitedBeforeOn(t *testing.T) {
	t.Parallel()
	t.Run("it acts", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{NoOutlet: true, Timing: lab.Timing{Shutdown: 700 * time.Millisecond, Boot: rigBoot, SSHDelay: time.Millisecond}})
		r.Config.Devices.IPMIStatusWait = config.Duration(time.Minute)
		r.Config.Devices.IPMIStatusPoll = config.Duration(50 * time.Millisecond)
		_, err := r.ipmiControl(t.Context(), r.entry(t), softOff, allowed)
		require.NoError(t, err)
		in := r.command(On, 0)
		in.Pending = true
		res, err := execute(t, r.IPMIReboot, in, call{})
		require.NoError(t, err)
		require.Equal(t, "on", res.Power)
		require.Equal(t, []string{"soft", "on"}, r.controls())
		require.True(t, r.machine.State().Power)
	})
	t.Run("it never does", func(t *testing.T) {
		t.Parallel()
		r := ipmiRebooting(t, lab.Faults{Hung: true})
		in := r.command(On, 0)
		in.Pending = true
		began := time.Now()
		res, err := execute(t, r.IPMIReboot, in, call{})
		require.NoError(t, err)
		require.Equal(t, "on", res.Power)
		require.GreaterOrEqual(t, time.Since(began), r.Config.Devices.IPMIStatusWait.D())
		require.Empty(t, r.controls())
	})
	t.Run("the worker stops meanwhile", func(t *testing.T) {
		t.Parallel()
		r := ipmiRebooting(t, lab.Faults{Hung: true})
		r.Config.Devices.IPMIStatusWait = config.Duration(time.Hour)
		in := r.command(On, 0)
		in.Pending = true
		stop := make(chan struct{})
		close(stop)
		_, err := execute(t, r.IPMIReboot, in, call{stop: stop})
		requireMeaning(t, err, Handover, true)
	})
}
