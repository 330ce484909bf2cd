package activities

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// netRig is a machine that can be booted from the network by one kind of device.
func netRig(t *testing.T, device string, faults lab.Faults) (*rig, *config.Machine, Command) {
	t.Helper()
	r := newRig(t, lab.Spec{NoBMC: device == "ilo", ILO: device == "ilo", Faults: faults})
	r.Config.Devices.IPMITimeout = config.Duration(time.Second)
	r.Config.Devices.ILOVerify = config.Duration(time.Second)
	m := r.entry(t)
	if m.IPMI != nil {
		b := *m.IPMI
		m.IPMI = &b
	} else {
		b := *m.ILO
		m.ILO = &b
	}
	r.Inventory = func() *config.Inventory { return config.NewInventory(m) }
	return r, &m, Command{Machine: r.name, Action: Netboot, DownTimeout: rigWatch, Target: netbootTarget(r.Config.Devices, m)}
}

// netTold is what the device was told, in order, without what it was asked.
func (r *rig) netTold() []string {
	var all []string
	for _, e := range r.lab.Entries("", func(e lab.Entry) bool {
		return e.Control || e.Command == "chassis bootdev pxe" || e.Command == "chassis bootdev none" ||
			e.Command == "boot override Once" || e.Command == "boot override Disabled"
	}) {
		all = append(all, e.Command)
	}
	return all
}

var netWords = map[string]struct{ set, cycle, clear, on string }{
	"ipmi": {"chassis bootdev pxe", "chassis power cycle", "chassis bootdev none", "chassis power on"},
	"ilo":  {"boot override Once", "reset ForceRestart", "boot override Disabled", "reset On"},
}

func TestReimageSetsNetworkBootAndCycles(t *testing.T) {
	t.Parallel()
	for device, w := range netWords {
		for _, off := range []bool{false, true} {
			t.Run(device+map[bool]string{true: ", off"}[off], func(t *testing.T) {
				t.Parallel()
				r, _, command := netRig(t, device, lab.Faults{})
				power := w.cycle
				if off {
					r.machine.Kill()
					power = w.on
				}
				res, err := execute(t, r.Reimage, command, call{})
				require.NoError(t, err)
				require.Equal(t, []string{w.set, power}, r.netTold())
				require.Regexp(t, `^network boot once \(reads .*(PXE|Pxe)\), `+power+`$`, res.Sent)
				require.Empty(t, res.Unknown)
				require.Equal(t, !off, res.Watch.Down || res.Watch.Rebooted, "%+v", res.Watch)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				require.NoError(t, r.lab.Wait(ctx, func() bool { return r.machine.State().Installed == 1 && r.machine.State().SSH }))

				cleared, err := execute(t, r.ClearNetboot, command, call{})
				require.NoError(t, err)
				require.Equal(t, NetbootCleared{Was: NetbootUnset}, cleared, "it was used, once")
				require.Len(t, r.netTold(), 2)
			})
		}
	}
}

// Whatever goes wrong before the power-cycle leaves the machine as it was, and
// with its next boot from the disk.
func TestReimageMeanings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		device  string
		faults  lab.Faults
		spoil   func(r *rig, m *config.Machine)
		meaning Meaning
		says    string
		told    []string
	}{
		"ipmi, wrong password": {device: "ipmi", spoil: func(_ *rig, m *config.Machine) {
			m.IPMI.Password = config.NewSecret("s3cret-wrong")
		}, meaning: Refused, says: "the password is not accepted"},
		"ilo, wrong password": {device: "ilo", spoil: func(_ *rig, m *config.Machine) {
			m.ILO.Password = config.NewSecret("s3cret-wrong")
		}, meaning: Refused, says: "401"},
		"ipmi, unreachable":  {device: "ipmi", faults: lab.Faults{DeadBMC: true}, meaning: NotSent, says: "no session"},
		"ilo, silent":        {device: "ilo", faults: lab.Faults{Web: lab.WebFaults{SlowReads: true}}, meaning: NotSent, says: "log in"},
		"ilo, garbage":       {device: "ilo", faults: lab.Faults{Web: lab.WebFaults{GarbageReads: true}}, meaning: NotSent, says: "cannot be read"},
		"ipmi, not the boot": {device: "ipmi", faults: lab.Faults{RefuseNetboot: true}, meaning: Refused, says: "ipmi", told: []string{"chassis bootdev pxe"}},
		"ilo, not the boot":  {device: "ilo", faults: lab.Faults{RefuseNetboot: true}, meaning: Refused, says: "400", told: []string{"boot override Once"}},
		"ilo, not offered":   {device: "ilo", faults: lab.Faults{Web: lab.WebFaults{BootSource: "Hdd"}}, meaning: Refused, says: "offers no boot from Pxe"},
		"ipmi, not kept": {
			device: "ipmi", faults: lab.Faults{DropNetboot: true}, meaning: Refused, says: "taken, but it reads No override",
			told: []string{"chassis bootdev pxe"},
		},
		"ilo, not kept": {
			device: "ilo", faults: lab.Faults{DropNetboot: true}, meaning: Refused, says: "taken, but it reads Disabled None",
			told: []string{"boot override Once"},
		},
		"ipmi, not the cycle": {
			device: "ipmi", faults: lab.Faults{RefuseControl: true}, meaning: Refused, says: "network boot is not set",
			told: []string{"chassis bootdev pxe", "chassis power cycle", "chassis bootdev none"},
		},
		"ilo, not the cycle": {
			device: "ilo", faults: lab.Faults{Web: lab.WebFaults{Status: 403}}, meaning: Refused, says: "network boot is not set",
			told: []string{"boot override Once", "reset ForceRestart", "boot override Disabled"},
		},
		"ilo, busy": {
			device: "ilo", faults: lab.Faults{Web: lab.WebFaults{Busy: true}}, meaning: NotSent, says: "network boot is not set",
			told: []string{"boot override Once", "reset ForceRestart", "boot override Disabled"},
		},
		"another device": {device: "ipmi", spoil: func(_ *rig, m *config.Machine) { m.IPMI.Host = "127.0.0.9" }, meaning: NoRung, says: "no longer says"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, m, command := netRig(t, c.device, c.faults)
			r.Config.Devices.IPMISession, r.Config.Devices.ILOTimeout = config.Duration(3*time.Second), config.Duration(3*time.Second)
			if c.spoil != nil {
				c.spoil(r, m)
			}
			boots := r.machine.State().Boots
			command.DownTimeout, command.RungRetry = rigWatch, rigWatch
			_, err := execute(t, r.Reimage, command, call{})
			require.Contains(t, requireMeaning(t, err, c.meaning, c.meaning == NotSent), c.says)
			require.Equal(t, c.told, r.netTold())
			require.False(t, r.machine.State().Netboot)
			require.Equal(t, boots, r.machine.State().Boots, "nothing was cycled")
		})
	}
}

// The reply to the power-cycle is lost, or is garbage: it was sent, once, and
// network boot stays as it is.
func TestReimageLostReply(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		device string
		faults lab.Faults
	}{
		"ipmi":         {"ipmi", lab.Faults{LoseCommandReply: true}},
		"ilo":          {"ilo", lab.Faults{LoseCommandReply: true}},
		"ilo, garbage": {"ilo", lab.Faults{Web: lab.WebFaults{GarbageReply: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _, command := netRig(t, c.device, c.faults)
			res, err := execute(t, r.Reimage, command, call{})
			require.NoError(t, err)
			require.NotEmpty(t, res.Unknown)
			w := netWords[c.device]
			require.Equal(t, []string{w.set, w.cycle}, r.netTold())
			require.True(t, res.Watch.Down || res.Watch.Rebooted)
		})
	}
}

// parts is a device of which each part can fail.
type parts struct {
	netbooter
	did []string
}

func newParts(fail map[string]error, reads ...override) *parts {
	p := &parts{}
	note := func(what string) error {
		p.did = append(p.did, what)
		return fail[what]
	}
	p.netbooter = netbooter{
		set: func(_ context.Context, _ config.Machine, ready func() error) error {
			if err := ready(); err != nil {
				return notSent("wrapped: %w", err)
			}
			return note("set")
		},
		clear: func(context.Context, config.Machine) error { return note("clear") },
		read: func(context.Context, config.Machine) (override, error) {
			o := reads[0]
			reads = reads[min(1, len(reads)-1):]
			return o, note("read")
		},
		cycle: func(_ context.Context, _ config.Machine, ready func() error) (string, error) {
			if err := ready(); err != nil {
				return "", err
			}
			return "", note("cycle")
		},
	}
	return p
}

// A device that cannot tell its boot device is believed, and cleared blindly.
func TestNetbootOfADeviceThatDoesNotTell(t *testing.T) {
	t.Parallel()
	p := newParts(nil, override{})
	_, wrote, err := p.boot(t.Context(), config.Machine{}, allowed)
	require.NoError(t, err)
	require.True(t, wrote)
	require.Equal(t, []string{"read", "set", "read", "cycle"}, p.did)
	p.did = nil
	found, err := p.unset(t.Context(), config.Machine{})
	require.NoError(t, err)
	require.Equal(t, NetbootCleared{Was: NetbootUnknown, Cleared: true}, found)
	require.Equal(t, []string{"read", "clear"}, p.did)
}

// Network boot for ever is not what was asked for.
func TestNetbootThatPersistsIsRefused(t *testing.T) {
	t.Parallel()
	p := newParts(nil, override{}, override{Told: true, Network: true, Heeded: true})
	_, wrote, err := p.boot(t.Context(), config.Machine{}, allowed)
	require.Equal(t, Refused, MeaningOf(err))
	require.True(t, wrote)
	require.NotContains(t, p.did, "cycle")
}

// The fence is asked before each of the two writes.
func TestNetbootAsksBeforeEachWrite(t *testing.T) {
	t.Parallel()
	late := meaning(Handover, "late")
	set := override{Told: true, Network: true, Once: true, Heeded: true}
	for asked, did := range map[int][]string{0: {"read"}, 1: {"read", "set", "read"}} {
		p, n := newParts(nil, set), 0
		_, wrote, err := p.boot(t.Context(), config.Machine{}, func() error {
			if n++; n > asked {
				return late
			}
			return nil
		})
		require.ErrorIs(t, err, late)
		require.Equal(t, asked == 1, wrote)
		require.Equal(t, did, p.did)
	}
}

// A network boot that cannot be cleared again ends the attempts, and the
// workflow is told; so is it when the cause was a cancel.
func TestNetbootThatIsLeft(t *testing.T) {
	t.Parallel()
	set := override{Told: true, Network: true, Once: true, Heeded: true}
	p := newParts(map[string]error{"clear": notSent("silent")}, set)
	left, err := p.undo(t.Context(), config.Machine{}, notSent("busy"))
	require.True(t, left)
	require.Equal(t, NotSent, MeaningOf(err))
	require.False(t, mayTryAgain(err))
	require.ErrorContains(t, err, "cannot be cleared: silent")

	for name, cause := range map[string]error{"refused": refused("no"), "cancelled": temporal.NewCanceledError()} {
		var res CommandResult
		err := withLeft(fail(cause), CommandResult{})
		if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
			require.Equal(t, string(Refused), app.Type(), name)
			require.NoError(t, app.Details(&res))
		} else {
			canceled, ok := errors.AsType[*temporal.CanceledError](err)
			require.True(t, ok, name)
			require.NoError(t, canceled.Details(&res))
		}
		require.True(t, res.NetbootLeft, name)
	}
}

// On is the device's own: it powers on what a power-cycle left off.
func TestReimageOn(t *testing.T) {
	t.Parallel()
	for device, w := range netWords {
		t.Run(device, func(t *testing.T) {
			t.Parallel()
			r, _, command := netRig(t, device, lab.Faults{})
			r.Config.Devices.ILOVerify = config.Duration(10 * time.Second)
			r.machine.Kill()
			for range 2 {
				res, err := execute(t, r.Reimage, command.Undo(false, 0), call{})
				require.NoError(t, err)
				require.Equal(t, "on", res.Power)
			}
			require.Equal(t, []string{w.on}, r.netTold(), "once: the second time it is on")
		})
	}
}

// What takes a machine down drains its worker where the inventory says so; no other
// task does.
func TestPlanOfDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{})
	m := r.entry(t)
	for task, drains := range map[string]bool{
		"reboot": true, "reimage": true, "ssh_reboot": true, "ipmi_off": true,
		"ipmi_on": false, "file_bugzilla_bug": false, "ping": false, "status": false,
	} {
		r.Config.Bugzilla.URL, r.Config.Bugzilla.APIKey = "https://bugs.example", config.NewSecret("k")
		m.Queue = &config.Queue{ProvisionerID: "p", WorkerType: "w", Drain: true}
		plan, err := PlanFor(r.Config, m, task)
		require.NoError(t, err)
		require.Equal(t, drains, plan.Drain.Always, task)
		require.Equal(t, "p/w", plan.Drain.ProvisionerID+"/"+plan.Drain.WorkerType)
		m.Queue.Drain = false
		plan, err = PlanFor(r.Config, m, task)
		require.NoError(t, err)
		require.False(t, plan.Drain.Always, task)
	}
}

// Of two devices the plan takes the iLO; of none it says which is missing.
func TestPlanOfReimage(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{ILO: true})
	m := r.entry(t)
	plan, err := PlanFor(r.Config, m, "reimage")
	require.NoError(t, err)
	require.NotNil(t, plan.Rungs[0].Target.ILO)
	m.ILO = nil
	plan, err = PlanFor(r.Config, m, "reimage")
	require.NoError(t, err)
	require.NotNil(t, plan.Rungs[0].Target.BMC)
	require.Equal(t, r.Config.Ladder.Reimage, plan.Timing.Reimage)
	m.IPMI = nil
	_, err = PlanFor(r.Config, m, "reimage")
	require.Equal(t, NoRung, MeaningOf(err))
	require.ErrorContains(t, err, "no ipmi entry, and no ilo entry")
}
