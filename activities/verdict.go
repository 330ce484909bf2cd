package activities

// Verdict is what a command did to a machine, as far as it is known.
type Verdict string

// The verdicts.
const (
	Undecided Verdict = "undecided" // the machine has to be awaited
	CameBack  Verdict = "came back" // it went down, or was down, and is up
	NoEffect  Verdict = "no effect" // it never went down, or did not restart
	StayedOff Verdict = "not back"  // it went down, or was down, and is not up
	Sightless Verdict = "blind"     // nothing could be seen; nothing is decided
)

// WentDown reports whether a watch saw the machine down, or proof of a restart.
func (s Sight) WentDown() bool { return s.Down || s.Rebooted }

// AfterCommand judges by what the watch for down saw. A machine that was down
// before cannot be seen going down: it is awaited in any case.
func (s Sight) AfterCommand(b Baseline) Verdict {
	switch {
	case s.Blind:
		return Sightless
	case s.WentDown() || !b.Up:
		return Undecided
	default:
		return NoEffect
	}
}

// AfterWait judges by what the wait for up saw, after the watch for down. A
// machine that answers is up, whatever the canaries do.
func (s Sight) AfterWait(down Sight) Verdict {
	switch {
	case s.Up && s.SameBoot && !down.Rebooted:
		return NoEffect
	case s.Up:
		return CameBack
	case s.Blind:
		return Sightless
	default:
		return StayedOff
	}
}
