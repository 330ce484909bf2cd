package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/stmcginnis/gofish/schemas"

	"github.com/mozilla-platform-ops/roller/config"
)

// redfishNetboot sets the system's boot source override (DSP0268,
// ComputerSystem, Boot). What it offers decides; a system that offers nothing is
// asked all the same.
func (a *Activities) redfishNetboot(ctx context.Context, m config.Machine, ready func() error) error {
	return a.redfish(ctx, *m.ILO, func(_ context.Context, b *bmcHTTP, s *schemas.ComputerSystem) error {
		offered := s.Boot.AllowableBootSourceOverrideTargetValues
		if len(offered) > 0 && !slices.Contains(offered, schemas.PxeBootSource) {
			return refused("ilo %s: the system offers no boot from %s", m.ILO.Addr(), schemas.PxeBootSource)
		}
		if err := ready(); err != nil {
			return err
		}
		return redfishBoot(m, b, s, schemas.Boot{
			BootSourceOverrideEnabled: schemas.OnceBootSourceOverrideEnabled, BootSourceOverrideTarget: schemas.PxeBootSource,
		})
	})
}

func (a *Activities) redfishClear(ctx context.Context, m config.Machine) error {
	return a.redfish(ctx, *m.ILO, func(_ context.Context, b *bmcHTTP, s *schemas.ComputerSystem) error {
		return redfishBoot(m, b, s, schemas.Boot{BootSourceOverrideEnabled: schemas.DisabledBootSourceOverrideEnabled})
	})
}

// redfishBoot patches the override, which may be done again. The library's error
// has the device's own text, which may repeat what it was sent.
func redfishBoot(m config.Machine, b *bmcHTTP, s *schemas.ComputerSystem, boot schemas.Boot) error {
	if s.SetBoot(&boot) != nil {
		return b.readError("ilo " + m.ILO.Addr() + ": boot override " + string(boot.BootSourceOverrideEnabled))
	}
	return nil
}

// redfishOverride reads the override back.
func (a *Activities) redfishOverride(ctx context.Context, m config.Machine) (override, error) {
	var o override
	err := a.redfish(ctx, *m.ILO, func(_ context.Context, _ *bmcHTTP, s *schemas.ComputerSystem) error {
		enabled, target := s.Boot.BootSourceOverrideEnabled, s.Boot.BootSourceOverrideTarget
		heeded := enabled == schemas.OnceBootSourceOverrideEnabled || enabled == schemas.ContinuousBootSourceOverrideEnabled
		o = override{
			Told: enabled != "", Heeded: heeded, Once: enabled == schemas.OnceBootSourceOverrideEnabled,
			Network: heeded && target == schemas.PxeBootSource, Said: fmt.Sprintf("%.40s %.40s", enabled, target),
		}
		return nil
	})
	return o, err
}
