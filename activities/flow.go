package activities

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
)

// deed is what a protocol brings to command.
type deed struct {
	protocol string // decides the device whose turn is taken, see config.Devices.Of
	actions  []Action
	// missing says what the inventory lacks; "" if nothing.
	missing func(m config.Machine) string
	// needsUp skips a machine that answers no probes.
	needsUp bool
	// keep takes over the login over which the baseline has read the boot ID, for
	// send; nil if the protocol has no use for it.
	keep func(*sshClient)
	// send carries the action out, once, and says it in the protocol's words.
	// It calls ready just before the command itself goes out, and gives ready's
	// error back. Its error's meaning says whether anything was sent.
	send func(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error)
	// power reads the power state back, "on", "off" or another word; nil if the
	// protocol has none.
	power  func(ctx context.Context, m config.Machine) (string, error)
	verify time.Duration // how long it may take to read as commanded
	settle time.Duration // how long an Off may be under way before it acts; 0: it acts at once
	every  time.Duration // between two readings while it settles
}

// command is the course of every activity that changes a machine's power: take
// the baseline, send once, watch for down. What goes wrong before the command
// is an error; from then on it is part of the result, so that the caller looks
// before it acts. Whoever asks for a cancel gets the result as its details.
func (a *Activities) command(ctx context.Context, in Command, d deed) (CommandResult, error) {
	t := &try{a: a, in: in, d: d}
	if !slices.Contains(d.actions, in.Action) {
		return t.res, refused("%s is not an action of this protocol", in.Action)
	}
	t.resume(ctx)
	m, err := a.find(in, t.lost)
	if err != nil {
		beat(ctx, t.progress)
		return t.res, t.inTime(err)
	}
	t.m = m
	if why := d.missing(m); why != "" {
		// Power that was taken must come back: that nothing was done is no
		// answer to "on".
		if in.Action == On {
			return t.res, meaning(NoRung, "power on %s: %s", m.FQDN, why)
		}
		t.res.Skipped = why
		return t.res, nil
	}
	if in.DownTimeout > 0 {
		t.look = a.lookOut(ctx, m)
		defer func() { a.leave(t.look) }()
	}
	var stop func()
	t.place = a.newPlace(ctx, m, d.protocol, in.Action, &t.progress)
	t.pulse, stop = a.startPulse(ctx, t.progress, t.place.ask.Rank)
	defer stop()
	t.place.tell = func() {
		if t.place.ask.Rank >= BulkRank {
			t.pulse.note(t.progress) // the next heartbeat says it
			return
		}
		_ = t.pulse.set(ctx, t.progress)
	}
	ctx = withPlace(ctx, t.place)
	defer t.place.release()
	defer func() { t.held.close() }()
	if err := t.run(ctx); err != nil {
		return t.res, t.failed(ctx, err)
	}
	if ctx.Err() != nil && canceled(ctx) {
		return t.res, ended(ctx, t.res)
	}
	return t.res, nil
}

// try is one attempt at a command.
type try struct {
	a     *Activities
	in    Command
	d     deed
	m     config.Machine
	pulse *pulse
	held  *held
	place *place
	look  *lookout

	progress Progress
	res      CommandResult
	lost     bool // the attempt before this one ended in mid-command
}

// resume reads how far the attempts before this one came. One that ended with
// an error has said so; one that vanished while it was sending has not. On is
// sent again all the same: twice does no harm, never leaves a machine dark.
func (t *try) resume(ctx context.Context) {
	if resumed(ctx, &t.progress) && t.progress.Phase != Preparing && t.in.Action != On {
		t.lost = true
		t.res.Baseline = t.progress.Baseline
		return
	}
	t.progress.Phase = Preparing
	if t.progress.FirstTry.IsZero() {
		t.progress.FirstTry = time.Now()
	}
}

// run does one attempt; an error means that nothing was sent.
func (t *try) run(ctx context.Context) error {
	verify := t.in.DownTimeout == 0 && t.d.power != nil && (t.in.Action == Off || t.in.Action == On)
	if t.lost {
		t.res.Unknown = "an attempt was lost while it sent the command"
	} else {
		if done, err := t.prepare(ctx, verify); done || err != nil {
			return err
		}
		if err := t.send(ctx); err != nil {
			return err
		}
	}
	if verify {
		return t.verify(ctx)
	}
	if t.in.Action == Off && t.d.power != nil {
		if err := t.verify(ctx); err != nil {
			return err
		}
		if !t.res.Baseline.Up { // a dark machine cannot be seen going down: its power says all
			t.res.Watch = Sight{Done: true, Evidence: "was down before"}
			return nil
		}
	}
	if t.in.DownTimeout > 0 {
		t.watch(ctx)
	}
	return nil
}

// prepare takes the baseline and reports whether there is nothing to send.
func (t *try) prepare(ctx context.Context, verify bool) (bool, error) {
	if verify {
		if err := t.place.take(ctx); err != nil {
			return false, err
		}
		state, err := t.d.power(ctx, t.m)
		if err == nil && state == string(t.in.Action) && t.in.Action == On && t.in.Pending {
			state, err = t.settled(ctx)
		}
		if err == nil && state == string(t.in.Action) {
			t.res.Power = state
			return true, nil
		}
		return false, err
	}
	if t.in.DownTimeout == 0 {
		t.res.Baseline.At = time.Now()
		return false, t.place.take(ctx)
	}
	if done, err := t.survey(ctx); done || err != nil {
		return done, err
	}
	asked, callOff := time.Now(), t.keepVigil(ctx)
	err := t.place.take(ctx)
	seen := callOff()
	if err != nil {
		return false, err
	}
	return t.surveyAgain(ctx, time.Since(asked), seen)
}

// survey takes the baseline and reports whether it says that there is nothing to
// send.
func (t *try) survey(ctx context.Context) (bool, error) {
	if err := t.baseline(ctx); err != nil {
		return false, err
	}
	if t.res.Back = t.a.back(ctx, t.m, t.in.Since, t.res.Baseline); t.res.Back != "" {
		return true, nil
	}
	if t.d.needsUp && !t.res.Baseline.Up {
		t.res.Skipped = "the machine does not answer probes"
		return true, nil
	}
	return false, nil
}

// settled reads the power state until it is not on any more, or for as long as
// an Off that is under way may take. An error means that it must be read again.
func (t *try) settled(ctx context.Context) (string, error) {
	end := time.Now().Add(t.d.settle)
	for {
		left := time.Until(end)
		state, err := t.d.power(ctx, t.m)
		if err != nil || state != string(On) || left <= 0 {
			return state, err
		}
		lasted := false
		err = aside(ctx, func() { lasted = t.idle(ctx, min(t.d.every, left)) })
		if !lasted {
			return "", meaning(Handover, "this attempt ended while an earlier power off may be under way")
		}
		if err != nil {
			return "", err
		}
	}
}

func (t *try) idle(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-stopping(ctx):
	}
	return false
}

// back returns the evidence that the machine has come back from an earlier
// command of the job, "" if it has not. A boot ID that is still the same
// outweighs every probe that was lost.
func (a *Activities) back(ctx context.Context, m config.Machine, since *Baseline, now Baseline) string {
	if since == nil || !now.Up {
		return ""
	}
	evidence := ""
	switch {
	case since.BootID != "" && now.BootID == since.BootID:
		return ""
	case since.BootID != "" && now.BootID != "":
		evidence = "boot id changed since the first command"
	case since.Down:
		evidence = "was seen down since the first command, and is up"
	case !since.Up:
		evidence = "was down before the first command, and is up"
	default:
		return ""
	}
	if m.SSH != nil && !a.witness.sshBanner(ctx, m) {
		return ""
	}
	return evidence
}

// send sends the command once. Only an error that says that nothing was sent is
// returned.
func (t *try) send(ctx context.Context) error {
	if !t.held.alive() { // reset or closed before the command: it proves nothing
		t.held.close()
		t.held = nil
	}
	what, err := t.d.send(ctx, t.m, t.in.Action, func() error { return t.ready(ctx) })
	// A cancel that came after something had gone out is no "not sent".
	if what == "" && temporal.IsCanceledError(err) || err != nil && MeaningOf(err) != Unknown {
		return err
	}
	t.res.Sent, t.res.SentAt = what, time.Now()
	if err != nil {
		t.res.Unknown = err.Error()
	}
	t.progress.Phase = Watching
	t.pulse.note(t.progress) // that it is sending the server knows, which decides all
	return nil
}

// looked says for how long the power state was read back.
func (t *try) looked(ctx context.Context) string {
	select {
	case <-stopping(ctx):
		return "before this worker stopped"
	case <-ctx.Done():
		return "before this attempt ended"
	default:
		return "within " + t.d.verify.String()
	}
}

// failed gives an error that came before the command its last touch.
func (t *try) failed(ctx context.Context, err error) error {
	if t.res.Sent != "" || t.lost {
		return err
	}
	t.withdraw(ctx)
	if ctx.Err() != nil && MeaningOf(err) != Refused {
		return ended(ctx, t.res)
	}
	err = t.inTime(err)
	if MeaningOf(err) == NotSent && !mayTryAgain(err) && t.look.decide(ctx) {
		return t.blind() // and not for want of the device
	}
	return err
}

// inTime forbids another attempt where the rung's time for them is over.
func (t *try) inTime(err error) error {
	return t.progress.inTime(err, t.in.RungRetry.D(), t.a.Config.Ladder.TurnLimit.D())
}

// watch looks for the machine to go down.
func (t *try) watch(ctx context.Context) {
	t.place.release()
	b := &t.res.Baseline
	sight, err := t.a.watch(ctx, t.m, *b, t.held, t.look, time.Now().Add(t.in.DownTimeout.D()), func() {}) // the pulse beats
	if err != nil {
		// Nothing was seen because nobody could look: another must.
		sight.Done, sight.Evidence = false, err.Error()
	}
	t.res.Watch = sight
	b.Down = b.Down || sight.Down
}

// verifyEvery is the longest time between two readings of the power state.
// Some BMCs stop answering when they are asked more often than every 5 s.
const verifyEvery = 5 * time.Second

// readBack is how long after a command its turn lasts for reading back what it
// did. Most outlets and BMCs act within a second; who takes longer lets others
// have the device, and takes a turn for each further reading.
const readBack = 2 * time.Second

// verify reads the power state back until it is as commanded. Off that cannot
// be seen is Unknown in the result: the machine may be dark. On that cannot be
// seen is an error that may be tried again, because to power on a machine that
// is on does nothing, and one that roller powered off must come back.
func (t *try) verify(ctx context.Context) error {
	end := time.Now().Add(t.d.verify)
	latest := end.Add(t.place.wait) // waits for turns do not count, but the attempt's time is not endless
	aside := time.Now().Add(readBack)
	var err error
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, verifyEvery) {
		asked := time.Now()
		if err = t.place.take(ctx); err != nil { // without a turn nobody may read
			break
		}
		if end = end.Add(time.Since(asked)); end.After(latest) {
			end = latest
		}
		var state string
		if state, err = t.d.power(ctx, t.m); err == nil {
			if t.res.Power = state; state == string(t.in.Action) {
				t.res.Unknown = "" // whatever became of the reply
				return nil
			}
			err = fmt.Errorf("power reads %q", state)
		}
		if time.Now().Add(wait).After(aside) {
			t.place.release()
		}
		if time.Now().Add(wait).After(end) || !t.idle(ctx, wait) {
			break
		}
	}
	t.place.release()
	if t.res.Unknown == "" {
		t.res.Unknown = fmt.Sprintf("acknowledged, but not seen to be %s %s: %v", t.in.Action, t.looked(ctx), err)
	}
	if t.in.Action == On && !canceled(ctx) {
		return harmless(unknown("power on %s: %s", t.m.FQDN, t.res.Unknown))
	}
	return nil
}
