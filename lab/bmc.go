package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/types"
)

// lanChannel is the number go-ipmi's server gives its LAN channel.
const lanChannel = 1

// deviceInfo is what Get Device ID answers (IPMI v2.0, section 20.1).
var deviceInfo = bmc.DeviceInfo{
	DeviceID: 0x20, DeviceRevision: 1, FirmwareMajor: 1,
	IPMIVersion:             0x02,     // v2.0: BCD, the major digit in the low nibble
	ManufacturerID:          0x000157, // Intel's number, as in the library's own server
	AdditionalDeviceSupport: 0x04,     // a SEL device (table 20-2)
}

// board is a machine's BMC. It has its own feed, as a blade's has in its
// chassis: the machine's outlet does not silence it.
type board struct {
	m      *Machine
	conn   *boardConn
	server *server.Server
}

func startBoard(m *Machine) (*board, error) {
	udp, err := listenUDP(m.addr, BMCPort)
	if err != nil {
		return nil, err
	}
	b := &board{m: m, conn: &boardConn{UDPConn: udp, m: m, lost: make(map[string]bool)}}
	registry := handlers.NewRegistry()
	registry.Use(b.observe)
	handlers.RegisterAllHandlers(registry)
	registry.RegisterFunc(types.CommandChassisControl, b.control)
	registerSEL(registry, newSEL(time.Now()))

	options := []bmc.Option{bmc.WithV15Disabled()}
	if m.spec.BMCKey {
		options = append(options, bmc.WithKG([]byte(BMCKey)))
	}
	controller := bmc.New(deviceInfo, [16]byte{}, &hardware{HAL: mock.New(), chassis: &chassisHAL{m: m}}, options...)
	if err := addUsers(controller); err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	b.server = server.NewServer(controller, b.conn, server.WithHandlerRegistry(registry))
	m.lab.running.Go(func() { _ = b.server.Serve(context.Background()) }) // ends by stop, without an error
	return b, nil
}

func (b *board) stop() error { return b.server.Close() }

func addUsers(controller *bmc.BMC) error {
	for i, u := range []struct {
		name      string
		privilege bmc.PrivilegeLevel
	}{
		{BMCUser, bmc.PrivilegeLevelAdministrator},
		{BMCOperator, bmc.PrivilegeLevelOperator},
		{BMCReader, bmc.PrivilegeLevelUser},
	} {
		user, err := controller.Users.Add(uint8(2+i), u.name) // slots 2 to 4; 1 is the anonymous user
		if err != nil {
			return fmt.Errorf("user %s: %w", u.name, err)
		}
		user.SetPassword([]byte(BMCPassword))
		user.Enabled = true
		user.ChannelAccess[lanChannel] = bmc.UserChannelAccess{MaxPrivilege: u.privilege, Enabled: true}
	}
	return nil
}

// control carries out a Chassis Control (IPMI v2.0, section 28.3). It stands in
// for the library's own, which cannot answer D5h, "not in present state".
func (b *board) control(_ context.Context, _ *handlers.HandlerContext, request []byte) ([]byte, types.CompletionCode, error) {
	var r chassis.ChassisControlRequest
	if r.Unpack(request) != nil {
		return nil, types.CodeRequestDataTruncated, nil
	}
	if b.m.Faults().RefuseControl {
		return nil, types.CodeInsufficientPrivilege, nil
	}
	done := true
	switch r.ChassisControl {
	case chassis.ChassisControlPowerDown:
		b.m.switchOff()
	case chassis.ChassisControlPowerUp:
		b.m.switchOn()
	case chassis.ChassisControlPowerCycle:
		done = b.m.cycle()
	case chassis.ChassisControlHardReset:
		done = b.m.reset()
	case chassis.ChassisControlSoftShutdown:
		done = b.m.softOff()
	case chassis.ChassisControlDiagnosticInterrupt:
		return nil, types.CodeParameterOutOfRange, nil
	default:
		return nil, types.CodeParameterOutOfRange, nil
	}
	if !done {
		return nil, types.CodeNotSupported, nil
	}
	return nil, types.CodeOK, nil
}

// observe logs every command of a session, and loses the replies that
// Faults.LoseCommandReply asks to lose.
func (b *board) observe(next handlers.Handler) handlers.Handler {
	return handlers.HandlerFunc(func(ctx context.Context, h *handlers.HandlerContext, data []byte) ([]byte, types.CompletionCode, error) {
		if h.Session == nil {
			return next.Handle(ctx, h, data)
		}
		name, control := commandName(h.Command, data)
		from := h.Session.GetAddr().String()
		end := b.m.lab.journal.begin(Entry{
			Device: DeviceBMC, Host: b.m.FQDN(), Machine: b.m.FQDN(), Command: name, Control: control, From: from,
		})
		if control && b.m.Faults().LoseCommand {
			b.conn.loseNext(from)
			end(false)
			return nil, types.CodeOK, nil
		}
		response, code, err := next.Handle(ctx, h, data)
		if control && b.m.Faults().LoseCommandReply {
			b.conn.loseNext(from)
		}
		end(code == types.CodeOK && err == nil)
		return response, code, err
	})
}

// chassisActions are ipmitool's words for the actions of table 28-4.
var chassisActions = map[chassis.ChassisControl]string{
	chassis.ChassisControlPowerDown:           "off",
	chassis.ChassisControlPowerUp:             "on",
	chassis.ChassisControlPowerCycle:          "cycle",
	chassis.ChassisControlHardReset:           "reset",
	chassis.ChassisControlDiagnosticInterrupt: "diag",
	chassis.ChassisControlSoftShutdown:        "soft",
}

// commandName returns ipmitool's words for what roller uses, else the
// specification's name in lower case.
func commandName(c types.Command, data []byte) (name string, control bool) {
	switch {
	case is(c, types.CommandChassisControl):
		var r chassis.ChassisControlRequest
		if r.Unpack(data) != nil {
			return "chassis power", true
		}
		return "chassis power " + chassisActions[r.ChassisControl], true
	case is(c, types.CommandGetChassisStatus):
		return "chassis power status", false
	case is(c, types.CommandGetDeviceID):
		return "mc info", false
	case is(c, types.CommandSetSystemBootOptions):
		return bootOptionName(data), false
	case is(c, types.CommandGetSystemBootOptions):
		return "chassis bootparam get", false
	case c.Name == "": // one that the library does not know
		return fmt.Sprintf("raw 0x%02x 0x%02x", uint8(c.NetFn), c.ID), false
	}
	return strings.ToLower(c.Name), false
}

func is(c, other types.Command) bool { return c.NetFn == other.NetFn && c.ID == other.ID }

// hardware is the library's simulated hardware with the machine's own chassis.
type hardware struct {
	*mock.HAL
	chassis *chassisHAL
}

// Chassis implements hal.HAL.
func (h *hardware) Chassis() hal.ChassisHAL { return h.chassis }

// chassisHAL reads the machine's power; board.control writes it.
type chassisHAL struct {
	mock.Chassis
	m *Machine
}

// PowerState implements hal.ChassisHAL.
func (c *chassisHAL) PowerState(context.Context) (bool, error) { return c.m.State().Power, nil }

// SetBootFlags implements hal.ChassisHAL.
func (c *chassisHAL) SetBootFlags(_ context.Context, flags *types.BootOptionParam_BootFlags) error {
	if !c.m.setNetboot(networkBoot(flags)) {
		return hal.ErrNotSupported
	}
	return nil
}

func networkBoot(f *types.BootOptionParam_BootFlags) bool {
	return f.BootFlagsValid && f.BootDeviceSelector == types.BootDeviceSelectorForcePXE
}

// GetBootFlags implements hal.ChassisHAL.
func (c *chassisHAL) GetBootFlags(context.Context) (*types.BootOptionParam_BootFlags, error) {
	if !c.m.State().Netboot {
		return &types.BootOptionParam_BootFlags{}, nil
	}
	return &types.BootOptionParam_BootFlags{BootFlagsValid: true, BootDeviceSelector: types.BootDeviceSelectorForcePXE}, nil
}

// bootOptionName tells the boot flags (parameter 5, IPMI v2.0, table 28-14) from
// the other options.
func bootOptionName(data []byte) string {
	var flags types.BootOptionParam_BootFlags
	if len(data) == 0 || types.BootOptionParamSelector(data[0]&0x7f) != types.BootOptionParamSelector_BootFlags || flags.Unpack(data[1:]) != nil {
		return "chassis bootparam set"
	}
	if networkBoot(&flags) {
		return "chassis bootdev pxe"
	}
	return "chassis bootdev none"
}
