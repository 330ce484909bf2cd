package activities

import (
	"context"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/mozilla-platform-ops/roller/config"
)

// Read names the machine whose device is asked.
type Read struct {
	Machine config.Name `json:"machine"`
	// RungRetry is how long, from the first attempt, one that got no answer is
	// followed by another one.
	RungRetry config.Duration `json:"rung_retry,omitzero"`
	JobID     string          `json:"job_id,omitempty"` // for Status: the workflow whose open run is the machine's job
}

// ReadResult is what the device answered, as text for people.
type ReadResult struct {
	Text   string         `json:"text"`
	Status *MachineStatus `json:"status,omitempty"` // of Status: the same as data
}

// ipmiControls are the chassis control commands (IPMI v2.0, table 28-4). Off is
// the hard one: it is asked for when the operating system does not answer.
var ipmiControls = map[Action]chassis.ChassisControl{
	Reset: chassis.ChassisControlHardReset,
	Cycle: chassis.ChassisControlPowerCycle,
	Off:   chassis.ChassisControlPowerDown,
	On:    chassis.ChassisControlPowerUp,

	softOff: chassis.ChassisControlSoftShutdown,
}

// softOff is ACPI's power button. It is no Action of its own that could be asked
// for: only IPMIReboot sees to what follows it.
const softOff Action = "soft"

// IPMIPower sends one chassis control command to the machine's BMC. Actions:
// Reset, Cycle, Off, On.
func (a *Activities) IPMIPower(ctx context.Context, in Command) (CommandResult, error) {
	res, err := a.command(ctx, in, deed{
		protocol: "ipmi",
		actions:  []Action{Reset, Cycle, Off, On},
		missing:  noIPMI,
		send:     a.ipmiControl,
		power:    a.ipmiPower,
		verify:   a.Config.Devices.IPMITimeout.D(),
	})
	return res, fail(err)
}

// ipmiHello is ipmitool's mc info: a session and one harmless read show that the
// BMC is there and takes the account.
func (a *Activities) ipmiHello(ctx context.Context, m config.Machine) error {
	if m.IPMI.NeedsTool() {
		_, err := a.tool(ctx, *m.IPMI, "", "mc", "info")
		return err
	}
	return a.ipmiRead(ctx, m, func(ctx context.Context, s *ipmiSession) error {
		_, err := s.client.GetDeviceID(ctx)
		return err
	})
}

func noIPMI(m config.Machine) string {
	if m.IPMI == nil {
		return "no ipmi entry in the inventory"
	}
	return ""
}

// ipmiControl sets a session up and sends one datagram: BMCs carry out a
// control command as often as it reaches them, so it is never repeated, and
// silence after it is Unknown.
func (a *Activities) ipmiControl(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
	if m.IPMI.NeedsTool() {
		return a.toolControl(ctx, m, action, ready)
	}
	what := "chassis power " + string(action)
	s, err := a.ipmiOpen(ctx, *m.IPMI)
	if err != nil {
		return "", err
	}
	defer s.close(ctx)
	if err := ready(); err != nil {
		return "", err
	}
	s.client.WithTimeout(a.Config.Devices.IPMITimeout.D()).WithRetry(0)
	before := s.conn.written()
	_, err = s.client.ChassisControl(context.WithoutCancel(ctx), ipmiControls[action])
	if err == nil {
		return what, nil
	}
	if s.conn.written() == before {
		return "", notSent("ipmi %s: %s: %w", m.IPMI.Addr(), what, err)
	}
	if _, answered := types.IsResponseError(err); !answered {
		return what, unheard(ctx, "ipmi "+m.IPMI.Addr()+": "+what, err)
	}
	return what, meaning(ipmiMeaning(err), "ipmi %s: %s: %w", m.IPMI.Addr(), what, err)
}

// ipmiMeaning is what a control command's error says (completion codes: IPMI
// v2.0, table 5-2). Only a code that says the command was not carried out is
// Refused.
func ipmiMeaning(err error) Meaning {
	answer, ok := types.IsResponseError(err)
	if !ok {
		return Unknown
	}
	return completionMeaning(answer.CompletionCode())
}

func completionMeaning(code types.CompletionCode) Meaning {
	switch code {
	case types.CodeNodeBusy, 0xc4: // out of space
		return NotSent
	case 0x00, // the reply could not be read
		0xc3, // timeout while processing
		0xce, // the response could not be provided
		0xcf, // a duplicate of a request that is being executed
		0xd2, // the response could not be provided: the BMC is starting
		0xff: // unspecified
		return Unknown
	default:
		return Refused
	}
}

func (a *Activities) ipmiPower(ctx context.Context, m config.Machine) (string, error) {
	if m.IPMI.NeedsTool() {
		return a.toolState(ctx, m)
	}
	var state string
	err := a.ipmiRead(ctx, m, func(ctx context.Context, s *ipmiSession) error {
		status, err := s.client.GetChassisStatus(ctx)
		if err != nil {
			return err
		}
		state = string(Off)
		if status.PowerIsOn {
			state = string(On)
		}
		return nil
	})
	return state, err
}

// ipmiRead asks the BMC something that may be asked again.
func (a *Activities) ipmiRead(ctx context.Context, m config.Machine, ask func(context.Context, *ipmiSession) error) error {
	s, err := a.ipmiOpen(ctx, *m.IPMI)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	s.client.WithTimeout(a.ipmiReply()).WithRetry(ipmiReadRepeats)
	err = ask(context.WithoutCancel(ctx), s)
	if err == nil {
		return nil
	}
	if _, ok := types.IsResponseError(err); ok {
		return refused("ipmi %s: %w", m.IPMI.Addr(), err)
	}
	return notSent("ipmi %s: %w", m.IPMI.Addr(), err)
}

// IPMIStatus reads the chassis power state.
func (a *Activities) IPMIStatus(ctx context.Context, in Read) (ReadResult, error) {
	m, err := a.ipmiMachine(in)
	if err != nil {
		return ReadResult{}, fail(err)
	}
	var state string
	err = a.inTurn(ctx, in.RungRetry, m, "ipmi", func(ctx context.Context) error {
		state, err = a.ipmiPower(ctx, m)
		return err
	})
	if err != nil {
		return ReadResult{}, fail(err)
	}
	return ReadResult{Text: "Chassis Power is " + state}, nil
}

func (a *Activities) ipmiMachine(in Read) (config.Machine, error) {
	m, err := a.lookup(in.Machine)
	if err != nil {
		return m, err
	}
	if why := noIPMI(m); why != "" {
		return m, meaning(NoRung, "%s: %s", m.FQDN, why)
	}
	return m, nil
}
