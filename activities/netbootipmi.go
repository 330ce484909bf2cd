package activities

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/mozilla-platform-ops/roller/config"
)

// bootFlags is the boot option parameter that holds the boot device (IPMI v2.0,
// table 28-14). A BMC forgets it when no chassis control follows within 60 s,
// which roller leaves as it is: what a lost worker has set, no reboot of next week
// should find.
const bootFlags = "5"

// ipmiNetboot is ipmitool's `chassis bootdev pxe`: the flags are for one boot.
func (a *Activities) ipmiNetboot(ctx context.Context, m config.Machine, ready func() error) error {
	if m.IPMI.NeedsTool() {
		words := []string{"chassis", "bootdev", "pxe"}
		if m.IPMI.EFI {
			words = append(words, "options=efiboot")
		}
		c := a.toolTask(*m.IPMI, "", words...)
		c.repeat, c.ready = true, ready
		_, err := c.run(ctx)
		return err
	}
	return a.ipmiBootFlags(ctx, m, ready, types.BootOptionParam_BootFlags{
		BootFlagsValid: true, BIOSBootType: types.BIOSBootType(m.IPMI.EFI), BootDeviceSelector: types.BootDeviceSelectorForcePXE,
	})
}

// ipmiClear is `chassis bootdev none`.
func (a *Activities) ipmiClear(ctx context.Context, m config.Machine) error {
	if m.IPMI.NeedsTool() {
		_, err := a.tool(ctx, *m.IPMI, "", "chassis", "bootdev", "none")
		return err
	}
	return a.ipmiBootFlags(ctx, m, atAnyTime, types.BootOptionParam_BootFlags{})
}

// ipmiBootFlags sets the boot flags. What was acknowledged before (parameter 4)
// is reset first, as ipmitool does; a BMC that has no such parameter needs none.
func (a *Activities) ipmiBootFlags(ctx context.Context, m config.Machine, ready func() error, flags types.BootOptionParam_BootFlags) error {
	return a.ipmiRead(ctx, m, func(ctx context.Context, s *ipmiSession) error {
		if err := ready(); err != nil {
			return err
		}
		err := s.client.SetBootParamClearAck(ctx, types.BootInfoAcknowledgeByBIOSPOST)
		if _, answered := types.IsResponseError(err); err != nil && !answered {
			return err
		}
		return s.client.SetSystemBootOptionsParamFor(ctx, &flags)
	})
}

// ipmiOverride reads the boot flags.
func (a *Activities) ipmiOverride(ctx context.Context, m config.Machine) (override, error) {
	if m.IPMI.NeedsTool() {
		return a.toolOverride(ctx, m)
	}
	var flags types.BootOptionParam_BootFlags
	told := true
	err := a.ipmiRead(ctx, m, func(ctx context.Context, s *ipmiSession) error {
		err := s.client.GetSystemBootOptionsParamFor(ctx, &flags)
		if untold(err) {
			told, err = false, nil
		}
		return err
	})
	if err != nil || !told {
		return override{}, err
	}
	o := override{
		Told: true, Heeded: flags.BootFlagsValid, Once: !flags.Persist,
		Network: flags.BootDeviceSelector == types.BootDeviceSelectorForcePXE, Said: flags.BootDeviceSelector.String(),
	}
	return o.persists(), nil
}

func (o override) persists() override {
	if !o.Once {
		o.Said += ", for all boots"
	}
	return o
}

// untold reports whether a BMC has no such question or no such parameter (80h,
// IPMI v2.0, 28.13; C1h, table 5-2).
func untold(err error) bool {
	answer, ok := types.IsResponseError(err)
	if !ok {
		return false
	}
	code := answer.CompletionCode()
	return code == types.CodeParameterNotSupported || code == types.CodeInvalidCommand
}

// ipmiCycle power-cycles a machine, or powers it on: one that is off cannot be
// cycled (IPMI v2.0, 28.3).
func (a *Activities) ipmiCycle(ctx context.Context, m config.Machine, ready func() error) (string, error) {
	state, err := a.ipmiPower(ctx, m)
	if err != nil {
		return "", err
	}
	if state == string(Off) {
		return a.ipmiControl(ctx, m, On, ready)
	}
	what, err := a.ipmiControl(ctx, m, Cycle, ready)
	if err != nil && MeaningOf(err) != Unknown {
		return "", err
	}
	return what, err
}

// What ipmitool prints of the boot flags (ipmi_chassis_get_bootparam in its
// ipmi_chassis.c).
var (
	toolBootDevice = regexp.MustCompile(`(?m)^ *- Boot Device Selector : (.+)$`)
	toolBootOnce   = regexp.MustCompile(`(?m)^ *- Options apply to (only next boot|all future boots)$`)
	toolBootValid  = regexp.MustCompile(`(?m)^ *- Boot Flag (Valid|Invalid)$`)
)

func (a *Activities) toolOverride(ctx context.Context, m config.Machine) (override, error) {
	text, err := a.tool(ctx, *m.IPMI, "", "chassis", "bootparam", "get", bootFlags)
	if e, ok := errors.AsType[*toolError](err); ok && !e.before && MeaningOf(err) == Refused {
		return override{}, nil
	}
	if err != nil {
		return override{}, err
	}
	device, once, valid := toolBootDevice.FindStringSubmatch(text), toolBootOnce.FindStringSubmatch(text), toolBootValid.FindStringSubmatch(text)
	if device == nil || once == nil || valid == nil {
		return override{}, notSent("ipmitool %s: the boot device cannot be read out of the answer", m.IPMI.Addr())
	}
	said := strings.TrimSpace(device[1])
	o := override{
		Told: true, Heeded: valid[1] == "Valid", Once: once[1] == "only next boot",
		Network: said == "Force PXE", Said: fmt.Sprintf("%.60s", said),
	}
	return o.persists(), nil
}
