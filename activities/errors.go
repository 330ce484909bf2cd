package activities

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
)

// Meaning is what an error says about the command that failed. It crosses the
// wire as the ApplicationError's type, and the ladder decides by nothing else.
type Meaning string

const (
	// NotSent means that the command is known not to have reached the device. It may be
	// tried again.
	NotSent Meaning = "NotSent"
	// Unknown means that the command may have been carried out. Look before acting.
	Unknown Meaning = "Unknown"
	// Refused means that the device answered and will answer the same again (a wrong
	// password, an unknown outlet). Trying again is of no use.
	Refused Meaning = "Refused"

	// Blind means that nothing was sent because none of the site's canaries
	// answers: the machine cannot be judged. The same is tried again once they do.
	Blind Meaning = "Blind"

	// NoAnswer means that a ping was not answered as asked.
	NoAnswer Meaning = "NoAnswer"
	// Handover means that the worker is stopping and another one must go on. It may be
	// tried again at once; nothing is known to be wrong.
	Handover Meaning = "Handover"

	// UnknownMachine means that the inventory has no such machine, or not one alone.
	UnknownMachine Meaning = "unknown_machine"
	// NoRung means that the machine is known, but nothing in the inventory can act on it.
	NoRung Meaning = "no_rung"
	// BadInput means that the job's input is not of the form that is accepted.
	BadInput Meaning = "bad_input"
)

// Error is an error with a meaning. Inside this package it may be wrapped with
// %w; fail turns it into what crosses the wire.
type Error struct {
	Meaning Meaning
	Err     error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func notSent(format string, args ...any) error { return meaning(NotSent, format, args...) }
func unknown(format string, args ...any) error { return meaning(Unknown, format, args...) }
func refused(format string, args ...any) error { return meaning(Refused, format, args...) }

func meaning(m Meaning, format string, args ...any) error {
	return &Error{Meaning: m, Err: fmt.Errorf(format, args...)}
}

// MeaningOf returns the meaning of an error made in this package, and Unknown
// for every other: what nobody understood may have been carried out.
func MeaningOf(err error) Meaning {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Meaning
	}
	return Unknown
}

// fail is an activity's last act: it puts the meaning into the outermost error,
// where Temporal looks for it. Only what mayTryAgain is retried.
func fail(err error) error {
	if err == nil {
		return nil
	}
	// A cancel is no failure, and its details say what was sent before it.
	if canceled, ok := errors.AsType[*temporal.CanceledError](err); ok {
		return canceled
	}
	m := MeaningOf(err)
	switch {
	case mayTryAgain(err) && isNoTurn(err):
		return temporal.NewApplicationErrorWithOptions(err.Error(), string(m), temporal.ApplicationErrorOptions{NextRetryDelay: turnAgain})
	case mayTryAgain(err):
		return temporal.NewApplicationError(err.Error(), string(m))
	}
	return temporal.NewNonRetryableApplicationError(err.Error(), string(m), nil)
}

// again overrides whether an error may be tried again.
type again struct {
	error
	may bool
}

// Unwrap returns the error itself.
func (a *again) Unwrap() error { return a.error }

// final forbids another attempt of what would have one: its time is over.
func final(err error) error { return &again{err, false} }

// harmless allows another attempt of what may have been carried out already:
// to do it twice is to do it once (power on).
func harmless(err error) error { return &again{err, true} }

func mayTryAgain(err error) bool {
	if a, ok := errors.AsType[*again](err); ok {
		return a.may
	}
	m := MeaningOf(err)
	return m == NotSent || m == Handover
}
