package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// duration is written "300ms" in JSON, where time.Duration would be a count of
// nanoseconds that nobody can read.
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	*d = duration(v)
	return nil
}

// The plain types have the fields but not the methods, which would recurse.
type (
	plainFaults Faults

	// faultsJSON hides the embedded duration: the shallower field of a name wins.
	faultsJSON struct {
		*plainFaults
		SlowBoot duration `json:"slow_boot,omitempty"`
	}
	timingJSON struct {
		Shutdown duration `json:"shutdown,omitempty"`
		Boot     duration `json:"boot,omitempty"`
		SSHDelay duration `json:"ssh_delay,omitempty"`
		PDUDelay duration `json:"pdu_delay,omitempty"`
		PDULag   duration `json:"pdu_lag,omitempty"`
		Cycle    duration `json:"cycle,omitempty"`
		Install  duration `json:"install,omitempty"`
	}
)

// MarshalJSON implements json.Marshaler.
func (f Faults) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultsJSON{(*plainFaults)(&f), duration(f.SlowBoot)})
}

// UnmarshalJSON implements json.Unmarshaler. It fails on a fault it does not
// know, so that a misspelt one is not a healthy machine.
func (f *Faults) UnmarshalJSON(data []byte) error {
	var read Faults
	shadow := faultsJSON{plainFaults: (*plainFaults)(&read)}
	if err := strictJSON(data, &shadow); err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	read.SlowBoot = time.Duration(shadow.SlowBoot)
	*f = read
	return nil
}

// MarshalJSON implements json.Marshaler.
func (t Timing) MarshalJSON() ([]byte, error) {
	return json.Marshal(timingJSON{
		duration(t.Shutdown), duration(t.Boot), duration(t.SSHDelay),
		duration(t.PDUDelay), duration(t.PDULag), duration(t.Cycle), duration(t.Install),
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Timing) UnmarshalJSON(data []byte) error {
	var s timingJSON
	if err := strictJSON(data, &s); err != nil {
		return fmt.Errorf("timing: %w", err)
	}
	*t = Timing{
		time.Duration(s.Shutdown), time.Duration(s.Boot), time.Duration(s.SSHDelay),
		time.Duration(s.PDUDelay), time.Duration(s.PDULag), time.Duration(s.Cycle), time.Duration(s.Install),
	}
	return nil
}

func strictJSON(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
