package activities

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

func newVM(t *testing.T, faults lab.Faults) *rig {
	t.Helper()
	r := newRig(t, lab.Spec{VM: true, NoBMC: true, NoOutlet: true, Faults: faults})
	r.Config.Devices.XenTimeout = config.Duration(5 * time.Second)
	r.Config.Devices.XenShutdown = config.Duration(3 * time.Second)
	return r
}

// commands is what the pool was told for the machine.
func (r *rig) commands() []string {
	var out []string
	for _, e := range r.lab.Entries("", isControl) {
		out = append(out, e.Command)
	}
	return out
}

const (
	clean = "VM.clean_shutdown"
	hard  = "VM.hard_shutdown"
	start = "VM.start"
)

func TestXenOffAndOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults lab.Faults
		pool   lab.XAPIFaults
		told   []string
	}{
		"clean":             {lab.Faults{}, lab.XAPIFaults{}, []string{clean, start}},
		"guest refuses":     {lab.Faults{RefuseShutdown: true}, lab.XAPIFaults{}, []string{clean, hard, start}},
		"guest hangs":       {lab.Faults{Hung: true}, lab.XAPIFaults{}, []string{clean, hard, start}},
		"pool member":       {lab.Faults{}, lab.XAPIFaults{Slave: true, Master: "127.0.0.1"}, []string{clean, start}},
		"clean's reply":     {lab.Faults{}, lab.XAPIFaults{DropAfter: clean}, []string{clean, start}},
		"hard's reply":      {lab.Faults{RefuseShutdown: true}, lab.XAPIFaults{DropAfter: hard}, []string{clean, hard, start}},
		"start's reply":     {lab.Faults{}, lab.XAPIFaults{DropAfter: start}, []string{clean, start}},
		"garbage for clean": {lab.Faults{}, lab.XAPIFaults{GarbageFor: clean, Garbage: "<html>"}, []string{clean, start}},
		"garbage for start": {lab.Faults{}, lab.XAPIFaults{GarbageFor: start, Garbage: `{"id":1}`}, []string{clean, start}},
		"logout refused":    {lab.Faults{}, lab.XAPIFaults{GarbageFor: "session.logout", Garbage: "x"}, []string{clean, start}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newVM(t, c.faults)
			r.lab.XAPI().SetFaults(c.pool)
			for _, action := range []Action{Off, Off, On, On} {
				res, err := execute(t, r.XenPower, r.command(action, 0), call{})
				require.NoError(t, err)
				require.Equal(t, string(action), res.Power)
				require.Empty(t, res.Unknown)
				require.Equal(t, action == On, r.machine.State().Power)
			}
			require.Equal(t, c.told, r.commands(), "each once, and what is as wanted is left alone")
			open, logins := r.lab.XAPI().Sessions()
			require.Zero(t, open, "every session is closed")
			require.NotZero(t, logins)
		})
	}
}

func TestXenMeanings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func(r *rig, m *config.Machine)
		action  Action
		meaning Meaning
		says    string
		told    int
	}{
		"wrong password": {func(r *rig, _ *config.Machine) {
			r.Config.Devices.XenPassword = config.NewSecret("s3cret-wrong")
		}, Off, Refused, "SESSION_AUTHENTICATION_FAILED", 0},
		"nobody there":       {func(r *rig, _ *config.Machine) { r.Config.Devices.XenURL = "https://127.0.0.1:1" }, Off, NotSent, "refused", 0},
		"silent":             {pool(lab.XAPIFaults{NeverAnswers: true}), Off, NotSent, "Timeout", 0},
		"unknown VM":         {func(_ *rig, m *config.Machine) { m.Xen = &config.Xen{UUID: "x"} }, Off, Refused, "UUID_INVALID", 0},
		"garbage at login":   {pool(lab.XAPIFaults{GarbageFor: "session.login_with_password", Garbage: "<html>"}), Off, NotSent, "not JSON-RPC", 0},
		"garbage for a read": {pool(lab.XAPIFaults{GarbageFor: "VM.get_by_uuid", Garbage: `{"id":1,"result":7}`}), Off, NotSent, "not a text", 0},
		"error of no code":   {pool(lab.XAPIFaults{GarbageFor: "VM.get_by_uuid", Garbage: `{"id":1,"error":{"message":"s3cret"}}`}), Off, NotSent, "none of XAPI's", 0},
		"not found":          {func(r *rig, _ *config.Machine) { r.Config.Devices.XenURL += "/elsewhere" }, Off, NotSent, "status 500", 0},
		"unknown CA":         {func(r *rig, _ *config.Machine) { r.Config.Devices.XenCAFile = "" }, Off, Refused, "certificate", 0},
		"another's name":     {pool(lab.XAPIFaults{Slave: true, Master: "localhost"}), Off, Refused, "certificate", 0},
		"master with a path": {pool(lab.XAPIFaults{Slave: true, Master: "evil.example/x"}), Off, Refused, "no host", 0},
		"busy":               {pool(lab.XAPIFaults{RefuseFor: start, Refuse: "OTHER_OPERATION_IN_PROGRESS"}), On, NotSent, "OTHER_OPERATION", 0},
		"start refused":      {pool(lab.XAPIFaults{RefuseFor: start, Refuse: "HOST_NOT_ENOUGH_FREE_MEMORY"}), On, Refused, "FREE_MEMORY", 0},
		"start failed":       {pool(lab.XAPIFaults{RefuseFor: start, Refuse: "INTERNAL_ERROR"}), On, Unknown, "INTERNAL_ERROR", 0},
		"both refused": {func(r *rig, _ *config.Machine) {
			r.machine.SetFaults(lab.Faults{RefuseShutdown: true})
			r.lab.XAPI().SetFaults(lab.XAPIFaults{RefuseFor: hard, Refuse: "RBAC_PERMISSION_DENIED"})
		}, Off, Refused, "RBAC", 1},
		"hard refused after a clean one that hangs": {func(r *rig, _ *config.Machine) {
			r.machine.SetFaults(lab.Faults{Hung: true})
			r.lab.XAPI().SetFaults(lab.XAPIFaults{RefuseFor: hard, Refuse: "RBAC_PERMISSION_DENIED"})
		}, Off, Unknown, "RBAC", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newVM(t, lab.Faults{})
			r.Config.Devices.XenTimeout = config.Duration(5 * time.Second)
			r.Config.Devices.XenShutdown = config.Duration(time.Second)
			if c.action == On {
				r.machine.Kill()
			}
			m := r.entry(t)
			c.spoil(r, &m)
			_, err := r.xenSend(t.Context(), m, c.action, allowed)
			require.Error(t, err)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "s3cret")
			require.NotContains(t, err.Error(), lab.XenUser)
			require.Len(t, r.commands(), c.told)
			if open, _ := r.lab.XAPI().Sessions(); name != "garbage at login" { // a session whose reference was lost ends by itself
				require.Zero(t, open)
			}
		})
	}
}

func pool(f lab.XAPIFaults) func(*rig, *config.Machine) {
	return func(r *rig, _ *config.Machine) { r.lab.XAPI().SetFaults(f) }
}

// The fence is asked before each of the two commands: a hard shutdown must not
// follow another attempt's start.
func TestXenFence(t *testing.T) {
	t.Parallel()
	for asked, told := range map[int]int{1: 0, 2: 1} {
		r := newVM(t, lab.Faults{RefuseShutdown: true})
		n := 0
		_, err := r.xenSend(t.Context(), r.entry(t), Off, func() error {
			if n++; n == asked {
				return notSent("too late")
			}
			return nil
		})
		require.Equal(t, map[int]Meaning{1: NotSent, 2: Unknown}[asked], MeaningOf(err), "%v", err)
		require.Len(t, r.commands(), told)
		require.True(t, r.machine.State().Power)
	}
}

// An attempt that was given up while it waited for a shutdown starts nothing.
func TestXenFenceBeforeStart(t *testing.T) {
	t.Parallel()
	r := newVM(t, lab.Faults{})
	_, err := r.xenSend(t.Context(), r.entry(t), On, func() error { return notSent("too late") })
	require.Equal(t, NotSent, MeaningOf(err), "%v", err)
	require.Empty(t, r.commands())
}

// Promise 4: a worker that was lost in mid-shutdown leaves a VM that still reads
// Running and will be dark in a moment. On waits for that, and starts it.
func TestXenOnAfterALostOff(t *testing.T) {
	t.Parallel()
	slow := newRig(t, lab.Spec{VM: true, NoBMC: true, NoOutlet: true, Timing: lab.Timing{Shutdown: 2 * time.Second, Boot: rigBoot}})
	slow.onAfterALostOff(t, clean, start)
}

// Such a shutdown that a hung guest never ends keeps the VM from being started for
// as long as Xen waits for the guest, 20 minutes say. On ends it, as Off would have.
func TestXenOnAfterALostOffOfAHungGuest(t *testing.T) {
	t.Parallel()
	hung := newVM(t, lab.Faults{Hung: true})
	hung.Config.Devices.XenShutdown = config.Duration(time.Second)
	hung.onAfterALostOff(t, clean, hard, start)
}

// onAfterALostOff powers on after a worker was lost in mid-shutdown.
func (r *rig) onAfterALostOff(t *testing.T, told ...string) {
	t.Helper()
	m := r.entry(t)
	v, err := r.xenVM(t.Context(), m)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = v.call(ctx, clean, v.xenSession.ref, v.ref)
	}()
	require.NoError(t, r.lab.Wait(t.Context(), func() bool { return len(r.commands()) == 1 }))
	cancel()
	<-gone
	v.close(t.Context())
	res, err := execute(t, r.XenPower, r.command(On, 0), call{})
	require.NoError(t, err)
	require.Equal(t, "on", res.Power)
	require.Equal(t, told, r.commands())
	require.True(t, r.machine.State().Power)
}

func FuzzXenAnswer(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"id":1,"result":"OpaqueRef:1"}`, `{"id":2,"result":"x"}`, `{"id":1,"result":null}`,
		`{"id":1,"error":{"message":"HOST_IS_SLAVE","data":["10.0.0.1"]}}`, `{"id":1,"error":{"message":"<html>"}}`,
		`{"id":1,"error":{"message":"HOST_IS_SLAVE","data":["a@b"]}}`, `{"id":1,"error":{"message":"HOST_IS_SLAVE","data":["::1%eth0"]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		result, err := parseXen(data)
		if err == nil {
			require.NotEmpty(t, result)
			return
		}
		e, ok := err.(*xenError) //nolint:errorlint // as parseXen returns it
		if !ok {
			return
		}
		require.Regexp(t, xenCode, e.code)
		if master, err := xenMaster("https://xen.example:8443", e.data); err == nil {
			require.Regexp(t, `\Ahttps://[^/@?#]+:8443\z`, master)
		}
	})
}

// What each of XAPI's codes says about the command that it answers.
func TestXenCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]Meaning{
		"OTHER_OPERATION_IN_PROGRESS": NotSent, "HOST_STILL_BOOTING": NotSent, "SESSION_INVALID": NotSent, "TOO_MANY_PENDING_TASKS": NotSent,
		"INTERNAL_ERROR": Unknown, "TASK_CANCELLED": Unknown, "VM_SHUTDOWN_TIMEOUT": Unknown, "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT": Unknown,
		"VM_CRASHED": Unknown, "VM_REBOOTED": Unknown, "VM_HALTED": Unknown, "CANNOT_CONTACT_HOST": Unknown, "OPERATION_PARTIALLY_FAILED": Unknown,
		"SESSION_AUTHENTICATION_FAILED": Refused, "UUID_INVALID": Refused, "VM_BAD_POWER_STATE": Refused, "VM_LACKS_FEATURE": Refused, "RBAC_PERMISSION_DENIED": Refused,
	} {
		require.Equal(t, want, xenMeaning(&xenError{code: code}), code)
	}
}
