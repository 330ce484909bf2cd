package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
)

// override is what a device says of where its machine boots from next.
type override struct {
	Told    bool // the device can tell
	Network bool // it names the network
	Once    bool // for the next boot only
	Heeded  bool // it is in force; an old one that was used may still be named
	Said    string
}

// netbooter is how one kind of device boots its machine from the network for
// once. Setting and clearing may be done again without harm; to set asks ready just
// before it writes.
type netbooter struct {
	protocol string // see deed

	set    func(ctx context.Context, m config.Machine, ready func() error) error
	read   func(ctx context.Context, m config.Machine) (override, error)
	clear  func(ctx context.Context, m config.Machine) error
	cycle  func(ctx context.Context, m config.Machine, ready func() error) (string, error)
	send   func(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error)
	power  func(ctx context.Context, m config.Machine) (string, error)
	verify time.Duration // how long either may take to read as commanded
}

// netbooterOf is the plan's choice: the device that it named.
func (a *Activities) netbooterOf(t Target) netbooter {
	if t.ILO != nil {
		return netbooter{
			protocol: "ilo", set: a.redfishNetboot, read: a.redfishOverride, clear: a.redfishClear,
			cycle: func(ctx context.Context, m config.Machine, ready func() error) (string, error) {
				return a.redfishSend(ctx, m, Reset, ready)
			},
			send: a.redfishSend, power: a.redfishPower, verify: a.Config.Devices.ILOVerify.D(),
		}
	}
	return netbooter{
		protocol: "ipmi", set: a.ipmiNetboot, read: a.ipmiOverride, clear: a.ipmiClear, cycle: a.ipmiCycle,
		send: a.ipmiControl, power: a.ipmiPower, verify: a.Config.Devices.IPMITimeout.D(),
	}
}

// netbootTarget is the device by which a machine is booted from the network: its
// iLO, whose override knows how the firmware boots, or else its BMC.
func netbootTarget(d config.Devices, m config.Machine) Target {
	if noILO(d, m) == "" {
		return TargetOf(m, "ilo_reboot")
	}
	return TargetOf(m, "ipmi_cycle")
}

func noNetboot(d config.Devices, m config.Machine) string {
	why := noILO(d, m)
	if m.IPMI != nil || why == "" {
		return ""
	}
	return "no device can boot it from the network: no ipmi entry, and " + why
}

// Reimage boots a machine from the network for once. Netboot sets that, reads it
// back and power-cycles the machine (powers it on, where it is off); On is the
// device's own. Before the power-cycle every error says that the machine goes on
// as it was, and ClearNetboot that it will.
func (a *Activities) Reimage(ctx context.Context, in Command) (CommandResult, error) {
	n, left := a.netbooterOf(in.Target), false
	res, err := a.command(ctx, in, deed{
		protocol: n.protocol,
		actions:  []Action{Netboot, On},
		missing:  func(m config.Machine) string { return noNetboot(a.Config.Devices, m) },
		send: func(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
			if action == On {
				return n.send(ctx, m, On, ready)
			}
			what, wrote, err := n.boot(ctx, m, ready)
			if wrote && err != nil && what == "" {
				left, err = n.undo(ctx, m, err)
			}
			return what, err
		},
		power:  n.power,
		verify: n.verify,
	})
	if err = fail(err); left {
		err = withLeft(err, res)
	}
	return res, err
}

// atAnyTime is the ready of what may be written at any time.
func atAnyTime() error { return nil }

// boot asks ready before either of the two writes: a late one would erase a
// machine that nobody waits for. Reading first shows that the device is there and
// takes the account. It says what it sent of power commands, and whether network
// boot may be set.
func (n netbooter) boot(ctx context.Context, m config.Machine, ready func() error) (what string, wrote bool, err error) {
	if _, err := n.read(ctx, m); err != nil {
		return "", false, err
	}
	var late error
	asked := func() error { late = ready(); return late }
	switch err := n.set(ctx, m, asked); {
	case late != nil:
		return "", false, late
	case err != nil:
		return "", MeaningOf(err) != Refused, err
	}
	how, err := n.readBack(ctx, m)
	if err != nil {
		return "", true, err
	}
	if what, err = n.cycle(ctx, m, ready); what != "" {
		what = how + ", " + what
	}
	return what, true, err
}

// undo clears a network boot that no power-cycle followed. Where that fails,
// nobody may try again until somebody has: left is what the workflow must know.
func (n netbooter) undo(ctx context.Context, m config.Machine, err error) (left bool, _ error) {
	if _, undoErr := n.unset(context.WithoutCancel(ctx), m); undoErr != nil {
		return true, final(fmt.Errorf("%w; network boot is set and cannot be cleared: %w", err, undoErr))
	}
	return false, fmt.Errorf("%w; network boot is not set", err)
}

// withLeft puts the result into an error's details.
func withLeft(err error, res CommandResult) error {
	res.NetbootLeft = true
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return temporal.NewNonRetryableApplicationError(app.Message(), app.Type(), nil, res)
	}
	return temporal.NewCanceledError(res)
}

// readBack reads the override until it is as set. One that is not is refused: a
// machine that boots its old system, or boots from the network for ever, is not
// what was asked for.
func (n netbooter) readBack(ctx context.Context, m config.Machine) (string, error) {
	end := time.Now().Add(n.verify)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, verifyEvery) {
		o, err := n.read(ctx, m)
		switch {
		case err != nil:
			return "", err
		case !o.Told:
			return "network boot once (the device does not tell)", nil
		case o.Network && o.Once:
			return "network boot once (reads " + o.Said + ")", nil
		case time.Now().Add(wait).After(end):
			return "", refused("network boot of %s: taken, but it reads %s", m.FQDN, o.Said)
		case ctx.Err() != nil:
			return "", ended(ctx)
		}
		pause(ctx, wait)
	}
}

// NetbootCleared is how ClearNetboot found the override.
type NetbootCleared struct {
	Was     NetbootState `json:"was"`
	Cleared bool         `json:"cleared,omitempty"` // something was written
}

// NetbootState is whether a machine's next boot is from the network.
type NetbootState string

// States of a network boot.
const (
	NetbootSet     NetbootState = "set"
	NetbootUnset   NetbootState = "unset"
	NetbootUnknown NetbootState = "unknown" // the device does not tell
)

// ClearNetboot sees to it that a machine's next boot is from its disk, on the
// device that the command names. Errors: NotSent and Refused, with the network
// boot as it was.
func (a *Activities) ClearNetboot(ctx context.Context, in Command) (NetbootCleared, error) {
	in.Action = ClearBoot
	m, err := a.find(in, false)
	if err != nil {
		return NetbootCleared{}, fail(err)
	}
	n := a.netbooterOf(in.Target)
	var cleared NetbootCleared
	err = a.inTurn(ctx, in.RungRetry, m, n.protocol, func(ctx context.Context) (err error) {
		cleared, err = n.unset(ctx, m)
		return err
	})
	if err != nil {
		err = fmt.Errorf("clear network boot: %w", err)
	}
	return cleared, fail(err)
}

func (n netbooter) unset(ctx context.Context, m config.Machine) (NetbootCleared, error) {
	o, err := n.read(ctx, m)
	if err != nil {
		return NetbootCleared{}, err
	}
	found := NetbootCleared{Was: NetbootUnset}
	switch {
	case !o.Told:
		found.Was = NetbootUnknown
	case o.Network && o.Heeded:
		found.Was = NetbootSet
	}
	if o.Told && !o.Network {
		return found, nil
	}
	if err := n.clear(ctx, m); err != nil {
		return found, err
	}
	found.Cleared = true
	return found, nil
}
