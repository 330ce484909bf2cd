package activities

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// XenPower sets the power state of a virtual machine over XenAPI. Actions: Off
// (clean, else hard) and On.
func (a *Activities) XenPower(ctx context.Context, in Command) (CommandResult, error) {
	res, err := a.command(ctx, in, deed{
		protocol: "xenapi",
		actions:  []Action{Off, On},
		missing:  func(m config.Machine) string { return noXen(a.Config, m) },
		send:     a.xenSend,
		power:    a.xenPower,
		verify:   a.Config.Devices.XenTimeout.D(),
	})
	return res, fail(err)
}

func noXen(cfg *config.Config, m config.Machine) string {
	if m.Xen == nil {
		return "no xen entry"
	}
	if cfg.Devices.XenURL == "" || cfg.Devices.XenPassword.IsZero() {
		return "XEN_URL or XEN_PASSWORD is not set"
	}
	return ""
}

// xenVM is a session and the VM it is about.
type xenVM struct {
	*xenSession
	ref string
}

func (a *Activities) xenVM(ctx context.Context, m config.Machine) (*xenVM, error) {
	s, err := a.xenOpen(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := s.text(ctx, "VM.get_by_uuid", m.Xen.UUID)
	if err != nil {
		s.close(ctx)
		return nil, xenBefore("find VM "+m.Xen.UUID, err)
	}
	return &xenVM{s, ref}, nil
}

// Power states beside on and off (XenAPI reference, enum vm_power_state), and
// what roller says while a shutdown is under way: such a VM still reads Running,
// but is about to be off.
const (
	xenHalted   = "Halted"
	xenRunning  = "Running"
	xenStopping = "shutting down"
)

// state reads the power state.
func (v *xenVM) state(ctx context.Context) (string, error) {
	state, err := v.text(ctx, "VM.get_power_state", v.ref)
	if err != nil || state == xenHalted {
		return string(Off), err
	}
	if state != xenRunning {
		return strings.ToLower(state), nil
	}
	result, err := v.call(ctx, "VM.get_current_operations", v.xenSession.ref, v.ref)
	if err != nil {
		return "", err
	}
	var operations map[string]string // by the task's reference
	if err := json.Unmarshal(result, &operations); err != nil {
		return "", errors.New("the operations are not a map")
	}
	for _, o := range operations {
		if o == "clean_shutdown" || o == "hard_shutdown" || o == "shutdown" {
			return xenStopping, nil
		}
	}
	return string(On), nil
}

func (a *Activities) xenPower(ctx context.Context, m config.Machine) (string, error) {
	v, err := a.xenVM(ctx, m)
	if err != nil {
		return "", err
	}
	defer v.close(ctx)
	state, err := v.state(ctx)
	if err != nil {
		return "", xenBefore("read the power state", err)
	}
	return state, nil
}

func (a *Activities) xenSend(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
	v, err := a.xenVM(ctx, m)
	if err != nil {
		return "", err
	}
	defer v.close(ctx)
	if action == On {
		return v.on(ctx, ready)
	}
	return v.off(ctx, ready)
}

// The commands of Off and On.
const (
	xenClean = "VM.clean_shutdown"
	xenHard  = "VM.hard_shutdown"
	xenStart = "VM.start"
)

// on starts the VM. A shutdown that a lost worker left under way is waited for: it
// would darken the machine after roller has called it on. One that a hung guest
// never ends is ended as Off would have: until then the VM cannot be started.
func (v *xenVM) on(ctx context.Context, ready func() error) (string, error) {
	calm := context.WithoutCancel(ctx) // every call has a timeout
	state, err := v.settled(calm, time.Now().Add(v.devices.XenShutdown.D()))
	if err != nil {
		return "", err
	}
	what := xenStart
	if state == xenStopping {
		what = xenHard + ", " + xenStart
		err = v.act(ctx, ready, v.devices.XenTimeout.D(), xenHard, v.xenSession.ref, v.ref)
	}
	if u, ok := errors.AsType[*unbegun](err); ok {
		return "", u.error
	}
	// Whatever became of that: the start says, and the state after it.
	err = v.act(ctx, ready, v.devices.XenTimeout.D(), xenStart, v.xenSession.ref, v.ref, false, false)
	if u, ok := errors.AsType[*unbegun](err); ok && state == xenStopping {
		return xenHard, unknown("xenapi: %s, and no %s was sent: %w", xenHard, xenStart, errors.New(u.Error()))
	} else if ok {
		return "", u.error
	}
	return v.done(calm, what, On, err)
}

// off shuts the guest down, and switches the VM off if it is not off in time.
// Each of the two commands is sent once; the fence is asked again before the
// second one, which must never follow another attempt's start. The pool is
// others' as soon as the first one is with it: its answer waits for the guest.
func (v *xenVM) off(ctx context.Context, ready func() error) (string, error) {
	limit := v.devices.XenShutdown.D() // the call blocks until the guest is down
	deadline := time.Now().Add(limit)
	sent := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { giveBack(ctx) }})
	err := v.act(sent, ready, limit, xenClean, v.xenSession.ref, v.ref)
	if u, ok := errors.AsType[*unbegun](err); ok {
		return "", u.error
	}
	ctx, cancellable := context.WithoutCancel(ctx), ctx // every call has a timeout
	if err := takeBack(ctx); err != nil {
		return xenClean, unknown("xenapi: %s: its effect was not read, and no %s was sent: %w", xenClean, xenHard, errors.New(err.Error()))
	}
	m := Unknown
	if err != nil {
		m = xenMeaning(err)
	}
	if m == Unknown {
		state, err := v.settled(ctx, deadline)
		if err != nil {
			return xenClean, unknown("xenapi: %s did not end, and no %s was sent: %w", xenClean, xenHard, errors.New(err.Error()))
		}
		if state == string(Off) {
			return xenClean, nil
		}
	}
	if what, err := v.done(ctx, xenClean, Off, err); err == nil {
		return what, nil
	}
	if late := ready(); late != nil {
		return xenClean, unknown("xenapi: %s did not end, and no %s was sent: %w", xenClean, xenHard, errors.New(late.Error()))
	}
	err = v.act(cancellable, ready, v.devices.XenTimeout.D(), xenHard, v.xenSession.ref, v.ref)
	if u, ok := errors.AsType[*unbegun](err); ok {
		if m == Unknown {
			err = unknown("xenapi: %s did not end, and no %s was sent: %w", xenClean, xenHard, errors.New(u.Error()))
		}
		return xenClean, err
	}
	what, err := v.done(ctx, xenHard, Off, err)
	if err != nil && m == Unknown && MeaningOf(err) != Unknown {
		err = unknown("xenapi: after %s: %w", xenClean, errors.New(err.Error()))
	}
	return xenClean + ", " + what, err
}

// done gives a command's end its meaning. VM_BAD_POWER_STATE means: look. A VM
// that is as wanted already is success.
func (v *xenVM) done(ctx context.Context, what string, want Action, err error) (string, error) {
	state, readErr := v.state(ctx)
	switch {
	case readErr == nil && state == string(want):
		return what, nil
	case err != nil:
		return what, meaning(xenMeaning(err), "xenapi: %s: %w", what, err)
	case readErr != nil:
		return what, unknown("xenapi: %s: no power state after it: %w", what, readErr)
	}
	return what, unknown("xenapi: %s: the power state is %q", what, state)
}

// settled looks until no shutdown is under way, or until the deadline; "" says
// that nothing could be read, an error that it was not this attempt's turn to.
func (v *xenVM) settled(ctx context.Context, deadline time.Time) (string, error) {
	const every = 500 * time.Millisecond
	for {
		state, err := v.state(ctx)
		if err != nil {
			state = ""
		}
		if err == nil && state != xenStopping || time.Now().Add(every).After(deadline) {
			return state, nil
		}
		if err := aside(ctx, func() { pause(ctx, every) }); err != nil {
			return "", err
		}
	}
}
