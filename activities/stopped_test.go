package activities

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// ends are the ways in which an attempt ends while it waits for a reply.
var ends = map[string]error{
	"its worker stops":      worker.ErrWorkerShutdown,
	"its job is cancelled":  temporal.NewCanceledError(),
	"the server gave it up": context.DeadlineExceeded,
}

// atReply is a device that has carried a command out and does not answer yet.
type atReply struct {
	held    chan struct{} // the command stands there
	answer  func()        // lets it go on
	release chan struct{}
}

func newAtReply(t *testing.T) *atReply {
	t.Helper()
	a := &atReply{held: make(chan struct{}, 10), release: make(chan struct{})}
	a.answer = sync.OnceFunc(func() { close(a.release) })
	return a
}

func (a *atReply) hold() {
	a.held <- struct{}{}
	<-a.release
}

func (a *atReply) during(at lab.Moment, e lab.Entry) {
	if at == lab.Acted && e.Control {
		a.hold()
	}
}

// An attempt that ends while it waits for a command's reply either waits on, and
// hears it, or says why it did not, and that the command may have been sent: no
// timeout that did not pass, no connection that nobody but itself has closed.
func TestEndedAtTheReply(t *testing.T) {
	t.Parallel()
	bmc, pdu := lab.Spec{NoOutlet: true}, lab.Spec{NoBMC: true}
	web := lab.Spec{NoBMC: true, ILO: true, Moonshot: true}
	for protocol, c := range map[string]struct {
		spec  lab.Spec
		send  func(*rig) sender
		heard string // the reply is waited for, and this is what was sent
	}{
		"ipmi":     {spec: bmc, send: func(r *rig) sender { return withAction(r.ipmiControl, Reset) }},
		"snmp":     {spec: pdu, send: func(r *rig) sender { return withAction(r.snmpSet, Reboot) }},
		"redfish":  {spec: web, send: func(r *rig) sender { return withAction(r.redfishSend, Reset) }, heard: "reset ForceRestart"},
		"moonshot": {spec: web, send: func(r *rig) sender { return withAction(r.moonshotSend, Reset) }, heard: "cold reset of c1n1"},
		"xenapi": {
			spec: lab.Spec{VM: true, NoBMC: true, NoOutlet: true}, heard: clean,
			send: func(r *rig) sender { return withAction(r.xenSend, Off) },
		},
	} {
		for end, cause := range ends {
			t.Run(protocol+"/"+end, func(t *testing.T) {
				t.Parallel()
				at := newAtReply(t)
				r := newRigDuring(t, c.spec, at.during)
				t.Cleanup(at.answer) // before the lab's own end
				d := &r.Config.Devices
				for _, limit := range []*config.Duration{&d.IPMITimeout, &d.SNMPTimeout, &d.ILOTimeout, &d.XenTimeout, &d.XenShutdown, &d.SSHTimeout} {
					*limit = config.Duration(time.Hour)
				}
				what, err := endedAtReply(t, at, cause, c.heard != "", c.send(r), r.entry(t))
				if c.heard != "" {
					require.NoError(t, err)
					require.Equal(t, c.heard, what)
					return
				}
				requireCutShort(t, what, err, cause)
			})
		}
	}
}

// endedAtReply sends a command and ends the attempt once the command stands at its
// reply, which comes only if it is waited for.
func endedAtReply(t *testing.T, at *atReply, cause error, answers bool, send sender, m config.Machine) (string, error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	type outcome struct {
		what string
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		what, err := send(ctx, m, allowed)
		done <- outcome{what, err}
	}()
	<-at.held
	cancel(cause)
	if answers {
		at.answer()
	}
	o := <-done
	return o.what, o.err
}

// requireCutShort asserts what is said of a command whose reply was not waited for.
func requireCutShort(t *testing.T, what string, err, cause error) {
	t.Helper()
	require.NotEmpty(t, what)
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	require.False(t, temporal.IsCanceledError(err), "which would say that nothing was sent")
	require.Contains(t, err.Error(), "it may have been sent, and its reply was not waited for")
	require.True(t, strings.HasSuffix(err.Error(), cause.Error()), "%v", err)
	for _, untrue := range []string{"within", "timeout", "retries", "closed", "EOF", "lost"} {
		require.NotContains(t, err.Error(), untrue)
	}
}

// A server that has not said yet whether it takes the command.
func TestEndedBeforeSSHTakesTheCommand(t *testing.T) {
	t.Parallel()
	for end, cause := range ends {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			at := newAtReply(t)
			r := newSSHRig(t)
			r.Config.Devices.SSHTimeout = config.Duration(time.Hour)
			p := newSSHPeer(t, r, shape{exec: func(net.Conn, *ssh.Request) { at.hold() }})
			t.Cleanup(at.answer)
			r.knows(t, p.known())
			what, err := endedAtReply(t, at, cause, false, withAction(r.sshReboot, Reboot), p.Machine)
			requireCutShort(t, what, err, cause)
			require.Equal(t, []string{"reboot"}, p.commands())
		})
	}
}

// The ipmitool of a task is killed with its attempt, not at the end of its time.
func TestEndedWhileIPMIToolRuns(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	f.says("raw_0x00.hang", "")
	r, m := blade(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.toolTask(*m.IPMI, "", "raw", "0x00").run(ctx)
		done <- err
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(f.dir, "argv"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	cancel(worker.ErrWorkerShutdown)
	err := <-done
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	require.Contains(t, err.Error(), "this attempt ended: "+worker.ErrWorkerShutdown.Error())
	require.NotContains(t, err.Error(), "ended after")
}

// What is read back is looked for until the worker stops or the attempt ends, and
// no longer.
func TestEndedWhileReadingBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stop bool
		says string
	}{
		"its worker stops":    {true, "before this worker stopped"},
		"its worker is ended": {false, "before this attempt ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bench(t, ".")
			stop := make(chan struct{})
			var cancel context.CancelCauseFunc
			f := &fakeDevice{powers: []string{"on"}, verify: time.Hour}
			f.after = func() {
				if c.stop {
					close(stop)
				} else {
					cancel(errors.New("worker is now shutdown"))
				}
			}
			res, err := execute(t, r.fake(f), r.command(Off, 0), call{stop: stop, wrap: func(ctx context.Context) context.Context {
				ctx, cancel = context.WithCancelCause(ctx)
				return ctx
			}})
			require.NoError(t, err)
			require.Equal(t, "fake off", res.Sent)
			require.Contains(t, res.Unknown, "acknowledged, but not seen to be off "+c.says)
			require.NotContains(t, res.Unknown, "within")
		})
	}
}
