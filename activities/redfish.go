package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/schemas"

	"github.com/mozilla-platform-ops/roller/config"
)

// The reset types for each action, the best first (DSP0268, ComputerSystem,
// ResetType). A reset that asks the operating system is not among them: this
// rung is for those that do not answer.
var redfishResets = map[Action][]schemas.ResetType{
	Reset: {schemas.ForceRestartResetType, schemas.PowerCycleResetType},
	On:    {schemas.OnResetType, schemas.ForceOnResetType},
	Off:   {schemas.ForceOffResetType},
}

// RedfishReset sends one ComputerSystem.Reset to the machine's iLO, or any BMC
// with Redfish. Actions: Reset (On where the system is off), Off, On.
func (a *Activities) RedfishReset(ctx context.Context, in Command) (CommandResult, error) {
	res, err := a.command(ctx, in, deed{
		protocol: "ilo",
		actions:  []Action{Reset, Off, On},
		missing:  func(m config.Machine) string { return noILO(a.Config.Devices, m) },
		send:     a.redfishSend,
		power:    a.redfishPower,
		verify:   a.Config.Devices.ILOVerify.D(),
	})
	return res, fail(err)
}

func noILO(d config.Devices, m config.Machine) string {
	switch {
	case m.ILO == nil:
		return "no ilo entry"
	case m.ILO.User == "" && d.ILOUsername == "":
		return "no user in the ilo entry, and ILO_USERNAME is not set"
	}
	return ""
}

// redfishSend looks at the system and POSTs once.
func (a *Activities) redfishSend(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
	what := ""
	err := a.redfish(ctx, *m.ILO, func(asking context.Context, b *bmcHTTP, s *schemas.ComputerSystem) error {
		kind, err := a.redfishChoose(asking, m, b, s, action)
		if err != nil {
			return err
		}
		if c, ok := s.GetClient().(*gofish.APIClient); ok { // its time is not that of the questions
			s.SetClient(c.WithContext(ctx))
		}
		what, err = redfishPost(b, m.ILO.Addr(), s, kind, ready)
		return err
	})
	return what, err
}

// redfishPost sends the command. Only what its one POST met counts: a nil error
// of the library says as little as another one.
func redfishPost(b *bmcHTTP, addr string, s *schemas.ComputerSystem, kind schemas.ResetType, ready func() error) (string, error) {
	b.arm(ready)
	_, err := s.Reset(kind)
	done := b.outcome()
	if !done.tried && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return "", notSent("ilo %s: reset %s: %w", addr, kind, err)
	}
	if !done.tried { // the library has refused it
		return "", refused("ilo %s: reset %s: %w", addr, kind, err)
	}
	m, already := actMeaning(done)
	what := "reset " + string(kind)
	switch {
	case done.unready != nil:
		return "", done.unready
	case already && (slices.Contains(redfishResets[On], kind) || slices.Contains(redfishResets[Off], kind)):
		return what + " (already in that state)", nil
	case already: // off, so that there was nothing to restart: its state was an old one
		return "", notSent("ilo %s: %s: the power state has changed: %s", addr, what, actText(done))
	case m == "":
		return what, nil
	case done.status == 0:
		return sentIf(m, what), meaning(m, "ilo %s: %s: %w", addr, what, done.err)
	}
	return sentIf(m, what), meaning(m, "ilo %s: %s: %s", addr, what, actText(done))
}

func sentIf(m Meaning, what string) string {
	if m == Unknown {
		return what
	}
	return ""
}

// redfishChoose says which reset to ask for, out of what the system offers. A
// system that is off is not reset but powered on.
func (a *Activities) redfishChoose(ctx context.Context, m config.Machine, b *bmcHTTP, s *schemas.ComputerSystem, action Action) (schemas.ResetType, error) {
	switch s.PowerState {
	case schemas.PoweringOnPowerState, schemas.PoweringOffPowerState:
		if action == Reset {
			return "", notSent("ilo %s: the system is %s", m.ILO.Addr(), s.PowerState)
		}
	case schemas.OffPowerState:
		// Some BMCs tell an old state for more than 30 s: one that answers is on.
		if answered, err := a.Prober.Probe(ctx, m); action == Reset && (err != nil || !answered) {
			action = On
		}
	default:
	}
	offered, err := s.GetSupportedResetTypes()
	if err != nil {
		return "", b.readError("ilo " + m.ILO.Addr() + ": reset types")
	}
	for _, kind := range redfishResets[action] {
		if len(offered) == 0 || slices.Contains(offered, kind) {
			return kind, nil
		}
	}
	return "", refused("ilo %s: %w for %q", m.ILO.Addr(), errNoReset, action)
}

var errNoReset = errors.New("the system offers no reset")

// RedfishResets reads whether the machine's iLO offers what RedfishReset needs.
// Errors: NotSent and Refused.
func (a *Activities) RedfishResets(ctx context.Context, m config.Machine) (bool, error) {
	err := a.redfish(ctx, *m.ILO, func(ctx context.Context, b *bmcHTTP, s *schemas.ComputerSystem) error {
		_, err := a.redfishChoose(ctx, m, b, s, Reset)
		return err
	})
	if errors.Is(err, errNoReset) {
		return false, nil
	}
	return err == nil, fail(endedOr(ctx, err))
}

// redfishPower reads the power state: "on", "off", or Redfish's word in lower
// case.
func (a *Activities) redfishPower(ctx context.Context, m config.Machine) (string, error) {
	state := ""
	err := a.redfish(ctx, *m.ILO, func(_ context.Context, _ *bmcHTTP, s *schemas.ComputerSystem) error {
		state = cmp.Or(strings.ToLower(string(s.PowerState)), "unknown")
		return nil
	})
	return state, err
}

// redfish opens a session, hands the one system over, and closes the session. All
// questions together have the time of one request.
func (a *Activities) redfish(ctx context.Context, at config.ILO, use func(context.Context, *bmcHTTP, *schemas.ComputerSystem) error) error {
	b, err := newBMCHTTP(a.Config.Devices, at.Fingerprint)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	c, err := a.redfishConnect(ctx, b, at)
	if err != nil {
		return b.readError("ilo " + at.Addr() + ": log in")
	}
	defer c.Logout() // also after ctx has ended; a session that stays takes one of few
	systems, err := c.Service.Systems()
	switch {
	case err != nil:
		return b.readError("ilo " + at.Addr() + ": systems")
	case len(systems) != 1:
		return refused("ilo %s: has %d systems, and roller cannot know which is meant", at.Addr(), len(systems))
	}
	return use(ctx, b, systems[0])
}

// redfishConnect logs in by a session, or by Basic where there are none.
func (a *Activities) redfishConnect(ctx context.Context, b *bmcHTTP, at config.ILO) (*gofish.APIClient, error) {
	user, password := at.User, at.Password
	if user == "" {
		user, password = a.Config.Devices.ILOUsername, a.Config.Devices.ILOPassword
	}
	login := gofish.ClientConfig{
		Endpoint: "https://" + net.JoinHostPort(at.Host, strconv.Itoa(at.Port)),
		Username: user, Password: password.Reveal(),
		HTTPClient: b.client(), NoModifyTransport: true,
	}
	c, err := gofish.ConnectContext(ctx, login)
	if err == nil || !b.lacks() {
		return c, err
	}
	login.BasicAuth = true
	if c, err = gofish.ConnectContext(ctx, login); err != nil {
		return nil, fmt.Errorf("basic: %w", err)
	}
	return c, nil
}

// lacks reports whether the last answer was that there is no such service.
func (b *bmcHTTP) lacks() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == nil && (b.status == http.StatusNotFound || b.status == http.StatusMethodNotAllowed || b.status == http.StatusNotImplemented)
}
