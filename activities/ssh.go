package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
)

// The commands that the account's ForceCommand lets through; the second is
// Windows' own, run by a bash there.
var sshReboots = []string{"reboot", "shutdown -f -t 3 -r"}

// SSHReboot runs the operating system's own reboot over SSH. Action: Reboot.
func (a *Activities) SSHReboot(ctx context.Context, in Command) (CommandResult, error) {
	r := &rebooting{a: a}
	defer r.hangUp()
	res, err := a.command(ctx, in, deed{
		actions: []Action{Reboot},
		missing: func(m config.Machine) string {
			if m.SSH == nil {
				return "no ssh entry in the inventory"
			}
			return ""
		},
		needsUp: true,
		keep:    r.keep,
		send:    r.send,
	})
	return res, fail(err)
}

// rebooting is one call of SSHReboot.
type rebooting struct {
	a      *Activities
	m      config.Machine
	ready  func() error
	fenced bool // ready said no
	client *sshClient
	kept   bool // client is the baseline's login, which is not known to take one more command
}

// keep takes over the login over which the boot ID was read.
func (r *rebooting) keep(c *sshClient) {
	r.hangUp()
	r.client, r.kept = c, true
}

func (r *rebooting) hangUp() {
	if r.client != nil {
		_ = r.client.Close()
	}
	r.client, r.kept = nil, false
}

// send asks in the first way that is taken. The second is tried after a
// refusal of the first, over the same connection, and after a timeout that is
// known to have sent nothing, over a new one: some servers hang on the first.
func (r *rebooting) send(ctx context.Context, m config.Machine, _ Action, ready func() error) (string, error) {
	defer r.hangUp()
	r.m, r.ready, r.fenced = m, ready, false
	first, second := sshReboots[0], sshReboots[1]
	err := r.try(ctx, first)
	if err == nil || MeaningOf(err) == Unknown {
		return first, err
	}
	silent := errors.Is(err, errSilent) && ctx.Err() == nil
	if r.fenced || !silent && (MeaningOf(err) != Refused || r.client == nil) {
		return "", err
	}
	if silent {
		r.hangUp()
	}
	then := r.try(ctx, second)
	switch {
	case then == nil, MeaningOf(then) == Unknown:
		return second, then
	case r.fenced:
		return "", then
	case !silent && MeaningOf(then) == NotSent: // what was refused may have taken the connection down
		return second, unknown("%w; then %w", err, then)
	case silent && r.client != nil: // the first command has not been asked yet
		return "", notSent("%w; then %w", err, then)
	default:
		return "", meaning(MeaningOf(then), "%w; then %w", err, then)
	}
}

// try runs one command, over the login that there is, or a new one. A server that does
// not take a second session over the baseline's has been sent nothing.
func (r *rebooting) try(ctx context.Context, cmd string) error {
	if r.kept {
		r.kept = false
		r.client.renew(r.a.Config.Devices.SSHTimeout.D())
		if asked, err := r.run(ctx, cmd); asked {
			return err
		}
		r.hangUp()
	}
	if r.client == nil {
		var err error
		if r.client, err = r.a.sshDial(ctx, r.m); err != nil {
			return err
		}
	}
	_, err := r.run(ctx, cmd)
	return err
}

// run runs one command over the login; asked says that it came as far as to ask ready.
func (r *rebooting) run(ctx context.Context, cmd string) (asked bool, err error) {
	err = sshReboot(ctx, r.client, cmd, func() error {
		asked = true
		err := r.ready()
		r.fenced = err != nil
		return err
	})
	if !r.fenced && err != nil && MeaningOf(err) == NotSent && r.client.silent() {
		err = notSent("ssh: %s: %w: %w", cmd, errSilent, err)
	}
	return asked, err
}

// sshReboot runs one command. A machine that goes down takes the connection
// with it, so once the server has accepted the command only an exit status that
// is not zero says that it was not carried out.
func sshReboot(ctx context.Context, client *sshClient, cmd string, ready func() error) error {
	exit, _, stderr, err := sshExec(ctx, client, cmd, 0, ready)
	if err != nil {
		return err
	}
	if exit > 0 {
		return refused("ssh: %s: exit status %d: %s", cmd, exit, firstLine(stderr))
	}
	return nil
}

// What is kept of a command's output.
const outputBytes = 4 << 10

// sshExec runs a command and returns its exit status, -1 if the connection
// ended without one. It asks ready just before the request goes out, and gives
// ready's error back. An error is NotSent before that, Unknown when the request's
// answer was lost, Refused when the server does not run commands.
func sshExec(ctx context.Context, client *sshClient, cmd string, wantOutput int64, ready func() error) (exit int, stdout, stderr string, err error) {
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		if _, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
			return 0, "", "", refused("ssh: open a session: %w", err)
		}
		return 0, "", "", notSent("ssh: open a session: %w", err)
	}
	defer func() { _ = ch.Close() }()
	if err := ready(); err != nil {
		return 0, "", "", err
	}
	ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{cmd})) // RFC 4254, 6.5
	if err != nil {
		return 0, "", "", unheard(ctx, "ssh: "+cmd, fmt.Errorf("the answer to the request was lost: %w", err))
	}
	if !ok {
		return 0, "", "", refused("ssh: the server does not run %q for this account", cmd)
	}
	var errOut bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&errOut, io.LimitReader(ch.Stderr(), outputBytes))
		_, _ = io.Copy(io.Discard, ch.Stderr())
	}()
	var out bytes.Buffer
	_, _ = io.Copy(&out, io.LimitReader(ch, max(wantOutput, 0)))
	_, _ = io.Copy(io.Discard, ch)
	<-read
	return exitStatus(reqs), out.String(), errOut.String(), nil
}

// exitStatus waits for the channel's end (RFC 4254, 6.10). A command that was
// ended by a signal has no status either: a reboot kills those who asked for it.
func exitStatus(reqs <-chan *ssh.Request) int {
	exit := -1
	for r := range reqs {
		var status struct{ Status uint32 }
		if r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &status) == nil {
			exit = int(status.Status)
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	return exit
}

// A boot ID is a UUID on Linux and a time elsewhere.
const bootIDBytes = 128

// bootID asks the machine for its boot ID, "" if it cannot be had now. Only an
// account that is known to have roller's own ForceCommand is asked: another
// may run reboot whatever it was asked. Where it was read, keep takes the login over,
// unless it is nil.
func (a *Activities) bootID(ctx context.Context, m config.Machine, keep func(*sshClient)) string {
	if m.SSH == nil || !m.SSH.BootID {
		return ""
	}
	client, err := a.sshDial(ctx, m)
	if err != nil {
		return ""
	}
	id := readBootID(ctx, client)
	if id != "" && keep != nil {
		keep(client)
	} else {
		_ = client.Close()
	}
	return id
}

func readBootID(ctx context.Context, client *sshClient) string {
	exit, out, _, err := sshExec(ctx, client, "boot_id", bootIDBytes+1, atAnyTime)
	id := strings.TrimSpace(out)
	if err != nil || exit != 0 || len(out) > bootIDBytes || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return id
}
