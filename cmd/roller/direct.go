package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
)

type sending = func(*activities.Activities, context.Context, activities.Command) (activities.CommandResult, error)

// send sends one command, once, by the activity's own code.
func send(do sending, what activities.Action) func(context.Context, *direct) (string, error) {
	return func(ctx context.Context, d *direct) (string, error) {
		return told(do(d.Activities, ctx, d.command(what)))
	}
}

// command is one command to the machine's device.
func (d *direct) command(what activities.Action) activities.Command {
	return activities.Command{Machine: d.machine.Name, Action: what, Target: activities.TargetOf(d.machine, d.rung)}
}

// told says what a command did. What may have been carried out is an error,
// because it must be looked at.
func told(res activities.CommandResult, err error) (string, error) {
	switch {
	case err != nil && res.Sent == "":
		return "", err
	case res.Skipped != "":
		return "", fmt.Errorf("nothing was sent: %s", res.Skipped)
	case res.Unknown != "":
		return "", fmt.Errorf("%s: look before you act again, it may have been carried out: %s", res.Sent, res.Unknown)
	case res.Sent == "":
		return "nothing to do: power is " + res.Power, nil
	case res.Power != "":
		return fmt.Sprintf("sent: %s; power is %s", res.Sent, res.Power), nil
	}
	return "sent: " + res.Sent, nil
}

// rebootOutlet switches an outlet off and on: by the PDU itself, or with a wait.
func rebootOutlet(ctx context.Context, d *direct) (string, error) {
	if d.delay == 0 {
		return send((*activities.Activities).SNMPOutlet, activities.Reboot)(ctx, d)
	}
	return d.offOn(ctx, (*activities.Activities).SNMPOutlet)
}

// offOn powers the machine off and on by an activity that knows both.
func offOn(do sending) func(context.Context, *direct) (string, error) {
	return func(ctx context.Context, d *direct) (string, error) { return d.offOn(ctx, do) }
}

// offOn powers the machine off and, whatever happens then, on. Ctrl-C shortens
// the wait between the two, and does not cut off the look whether it is off: an
// outlet that is told to be on before it has gone off would stay off.
func (d *direct) offOn(ctx context.Context, do sending) (string, error) {
	if ctx.Err() != nil {
		return "", temporal.NewCanceledError()
	}
	through := context.WithoutCancel(ctx)
	defer d.hearing(ctx)()
	first := d.command(activities.Off)
	off, err := do(d.Activities, through, first)
	text, offErr := told(off, err)
	if off.Sent == "" && offErr != nil {
		return "", offErr
	}
	d.warn(firstOf(offErr, text))
	waiting := ctx
	if off.Unknown != "" {
		waiting = through // it may go off yet
	}
	wait(waiting, time.Duration(d.delay))
	text, err = d.on(through, do, first.Undo(off.Unknown != "", 0))
	if err == nil && ctx.Err() != nil {
		return text, errors.New("interrupted: the wait was cut short, the machine was powered on again")
	}
	return text, err
}

// hearing says at once that Ctrl-C was heard, whatever is being waited for.
func (d *direct) hearing(ctx context.Context) (stop func()) {
	said := make(chan struct{})
	unheard := context.AfterFunc(ctx, func() {
		defer close(said)
		d.warn("interrupted: powering on first, which may take some minutes")
	})
	return func() {
		if !unheard() {
			<-said
		}
	}
}

func firstOf(err error, text string) string {
	if err != nil {
		return err.Error()
	}
	return text
}

// onEvery is the pause between two tries to power on. Some BMCs crash when
// spoken to more often than every 5 s (ironic's experience).
const onEvery = 5 * time.Second

// on powers the machine on, again and again for ON_ALARM: to do it twice does no
// harm, to leave a machine dark does.
func (d *direct) on(ctx context.Context, do sending, on activities.Command) (string, error) {
	end := time.Now().Add(d.Config.Ladder.OnAlarm.D())
	for {
		text, err := told(do(d.Activities, ctx, on))
		if err == nil {
			return text, nil
		}
		pause := min(onEvery, time.Until(end))
		if pause <= 0 {
			return "", fmt.Errorf("%s IS OFF: it could not be powered on within %s: %w", d.machine.FQDN, d.Config.Ladder.OnAlarm, plain(err))
		}
		d.warn(fmt.Sprintf("not on yet, trying again: %v", plain(err)))
		wait(ctx, pause)
	}
}

// warn says what goes on. Ctrl-C is heard beside everything else.
func (d *direct) warn(text string) {
	d.saying.Lock()
	defer d.saying.Unlock()
	fmt.Fprintln(d.errOut, text)
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// plain takes Temporal's wrapping off an activity's error, and says what its
// meaning is for a person.
func plain(err error) error {
	if temporal.IsCanceledError(err) {
		return errors.New("interrupted: nothing was sent")
	}
	app, ok := errors.AsType[*temporal.ApplicationError](err)
	if !ok {
		return err
	}
	switch activities.Meaning(app.Type()) { //nolint:exhaustive // the others speak for themselves
	case activities.NotSent:
		return fmt.Errorf("nothing was sent: %s", app.Message())
	case activities.Refused:
		return fmt.Errorf("refused: %s", app.Message())
	case activities.Unknown:
		return fmt.Errorf("look before you act again, it may have been carried out: %s", app.Message())
	}
	return errors.New(app.Message())
}

// fileBug reports the machine from this terminal.
func fileBug(ctx context.Context, d *direct) (string, error) {
	bug, err := d.BugzillaFile(ctx, activities.Bug{
		Machine: d.machine.Name, FQDN: d.machine.FQDN, RequestedBy: localUser(), Task: "file_bugzilla_bug",
	})
	if err != nil {
		return "", err
	}
	if bug.Problem != "" {
		d.warn("warning: " + bug.Problem)
	}
	return bug.URL, nil
}
