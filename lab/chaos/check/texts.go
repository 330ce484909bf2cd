package check

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

// crashes is what a process says that has made a mistake of its own.
var crashes = []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "nondeterministic", "Potential deadlock"}

// InText finds secrets, by what they are called, and crashes in one text.
func InText(where string, text []byte, secrets map[string]string) []Violation {
	b := broken{check: "texts"}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if bytes.Contains(text, []byte(secrets[name])) {
			b.add("", time.Time{}, "%s is in %s", name, where)
		}
	}
	for _, word := range crashes {
		if at := bytes.Index(text, []byte(word)); at >= 0 {
			b.add("", time.Time{}, "%s says: %s", where, text[at:min(len(text), at+400)])
		}
	}
	return b.found
}

// Texts gives what was found while the texts were read: they are too large, and
// may hold secrets, to be recorded.
func Texts(f *Facts) []Violation { return f.Found }
