package config

import (
	"fmt"
	"strconv"
	"time"
)

// Duration is a time.Duration that reads and prints as people write it
// ("60s", "5m0s"): in the environment, and in the inputs and results that a
// person reads in the Temporal Web UI. A bare number is seconds, which is what
// the old service's variables held.
type Duration time.Duration

// maxSeconds is some 290 years, near the longest time.Duration.
const maxSeconds = 9e9

// D returns the value as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String implements fmt.Stringer.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It fails on a negative
// value and on anything that is neither a number of seconds nor a Go duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if seconds, serr := strconv.ParseFloat(string(text), 64); serr == nil {
		// Beyond what a Duration can hold (and for NaN) the conversion would give
		// whatever the processor gives.
		if !(seconds >= 0 && seconds <= maxSeconds) {
			return fmt.Errorf("%q is not a duration: out of range", text)
		}
		v, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration: write 60s, 5m or a number of seconds", text)
	}
	*d = Duration(v)
	return nil
}
