package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// IPMIReboot is ipmi_reboot's two halves. Off asks the operating system to shut
// down (chassis power soft), reads the power state until it is off, and takes
// the power away where it stays on (chassis power off). On is IPMIPower's.
func (a *Activities) IPMIReboot(ctx context.Context, in Command) (CommandResult, error) {
	res, err := a.command(ctx, in, deed{
		protocol: "ipmi",
		actions:  []Action{Off, On},
		missing:  noIPMI,
		send: func(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
			if action == On {
				return a.ipmiControl(ctx, m, On, ready)
			}
			return a.ipmiShutdown(ctx, m, ready)
		},
		power:  a.ipmiPower,
		verify: a.Config.Devices.IPMITimeout.D(),
		settle: a.Config.Devices.IPMIStatusWait.D(),
		every:  a.Config.Devices.IPMIStatusPoll.D(),
	})
	return res, fail(err)
}

// ipmiShutdown sends soft once and, only after the state was read as still on,
// hard once. From the moment soft may have been carried out every error is
// Unknown: the machine may be on its way down.
func (a *Activities) ipmiShutdown(ctx context.Context, m config.Machine, ready func() error) (string, error) {
	if err := a.ipmiHello(ctx, m); err != nil {
		return "", err
	}
	state, err := a.ipmiPower(ctx, m)
	if err != nil || state == string(Off) {
		return "", err
	}
	soft, softErr := a.ipmiControl(ctx, m, softOff, ready)
	if softErr != nil && (soft == "" || MeaningOf(softErr) == NotSent) {
		return "", softErr
	}
	declined := softErr != nil && MeaningOf(softErr) == Refused // a clear no: nothing to wait for
	if !declined {
		off, err := a.ipmiAwaitOff(ctx, m)
		if off {
			return soft, nil
		}
		if err != nil {
			return soft, unknown("%s, and then: %s", soft, err)
		}
	} else if state, err := a.ipmiPower(ctx, m); err != nil || state != string(On) {
		return "", notSent("%s; the power state then: %q %v", softErr, state, err)
	}
	hard, err := a.ipmiControl(ctx, m, Off, ready)
	switch both := soft + ", " + hard; {
	case err == nil:
		return both, nil
	case declined && (hard == "" || MeaningOf(err) != Unknown): // both are known not to have been carried out
		return "", err
	case hard == "":
		return soft, unknown("%s was not enough, and the hard off was not sent: %s", soft, err)
	default:
		return both, unknown("after %s: %s", soft, err)
	}
}

// ipmiAwaitOff reads the power state until it is off, for IPMIStatusWait. It
// returns false and no error only where the last reading said on: nothing else
// may lead to a hard off.
func (a *Activities) ipmiAwaitOff(ctx context.Context, m config.Machine) (bool, error) {
	end := time.Now().Add(a.Config.Devices.IPMIStatusWait.D())
	for {
		left := time.Until(end)
		select {
		case <-stopping(ctx):
			return false, errors.New("this worker stops before the machine was off")
		default:
		}
		state, err := a.ipmiPower(ctx, m)
		switch {
		case err == nil && state == string(Off):
			return true, nil
		case ctx.Err() != nil:
			return false, fmt.Errorf("this attempt ended: %w", context.Cause(ctx))
		case left <= 0 && err != nil:
			return false, fmt.Errorf("the power state cannot be read: %w", err)
		case left <= 0:
			return false, nil
		}
		if err := aside(ctx, func() { pause(ctx, min(a.Config.Devices.IPMIStatusPoll.D(), left)) }); err != nil {
			return false, err
		}
	}
}
