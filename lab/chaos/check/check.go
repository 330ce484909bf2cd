package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Check is one promise and the function that holds the facts against it.
type Check struct {
	Name string
	Says string // what it says when nothing is found
	Of   func(*Facts) []Violation
}

// Checks are all of them, in the order of the report.
func Checks() []Check {
	return []Check{
		{"ended", "every run has ended, by its own code", Ended},
		{"outcomes", "every job ended in a true state", Outcomes},
		{"left_off", "no machine was left off that is not reported so", LeftOff},
		{"once", "no command was sent twice for one rung, and none that no job accounts for", Once},
		{"one_job", "no machine had two jobs at one time", OneJob},
		{"turns", "no two commands met at a device, or came sooner than it rests", Turns},
		{"posts", "every accepted POST is a job that ran and ended", Posts},
		{"strikes", "as many processes were killed as planned, at least half of them in mid-command", Strikes},
		{"texts", "no secret and no crash in logs, histories, answers and bugs", Texts},
	}
}

// All runs every check.
func All(f *Facts) []Violation {
	var all []Violation
	for _, c := range Checks() {
		all = append(all, c.Of(f)...)
	}
	return all
}

// broken makes violations of one check.
type broken struct {
	check string
	found []Violation
}

func (b *broken) add(machine string, at time.Time, format string, args ...any) {
	b.found = append(b.found, Violation{Check: b.check, Machine: machine, At: at, Text: fmt.Sprintf(format, args...)})
}

// sorted returns what was found in the order of time.
func (b *broken) sorted() []Violation {
	slices.SortStableFunc(b.found, func(x, y Violation) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Machine, y.Machine))
	})
	return b.found
}
