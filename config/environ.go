package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// environ is the environment while it is read. It remembers every mistake, so
// that one start shows them all, and every name that was asked for, so that a
// test can hold .env-dist against them.
type environ struct {
	values   map[string]string
	read     []string
	mistakes []error
}

func newEnviron(pairs []string) *environ {
	e := &environ{values: map[string]string{}}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		e.values[name] = value
	}
	return e
}

// raw returns a variable as it stands. One that is set to nothing, as env files
// have them, counts as not set.
func (e *environ) raw(name string) string {
	e.read = append(e.read, name)
	return e.values[name]
}

// text returns a variable without white space around it.
func (e *environ) text(name, otherwise string) string {
	if v := strings.TrimSpace(e.raw(name)); v != "" {
		return v
	}
	return otherwise
}

// wrong notes a mistake in a variable whose value may be shown.
func (e *environ) wrong(name, value, want string) {
	e.mistakes = append(e.mistakes, fmt.Errorf("%s=%q: %s", name, value, want))
}

// hidden notes a mistake in a variable whose value may not be shown.
func (e *environ) hidden(name, want string) {
	e.mistakes = append(e.mistakes, fmt.Errorf("%s: %s", name, want))
}

func (e *environ) err() error { return errors.Join(e.mistakes...) }

// secret returns a variable as it stands, or what the file holds that NAME_FILE
// names, without the line end that editors put there: so services are given
// secrets by systemd (LoadCredential=) and by container engines. Other white space
// around it is a mistake, not removed: it is either part of the secret or of a
// careless copy.
func (e *environ) secret(name string) Secret {
	v, file := e.raw(name), e.text(name+"_FILE", "")
	switch {
	case file == "":
	case v != "":
		e.hidden(name, "is set, and so is "+name+"_FILE: set one of them")
	default:
		v = e.content(name+"_FILE", file)
		name += "_FILE"
	}
	if v != strings.TrimSpace(v) {
		e.hidden(name, "begins or ends with white space (the value is not shown)")
	}
	return NewSecret(v)
}

// content returns what a file holds, but for one line end.
func (e *environ) content(name, path string) string {
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		e.wrong(name, path, cause(err))
		return ""
	}
	v := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if v == "" {
		e.wrong(name, path, "is empty")
	}
	return v
}

func (e *environ) number(name string, otherwise, least, most int) int {
	v := e.text(name, strconv.Itoa(otherwise))
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		e.wrong(name, v, fmt.Sprintf("must be a whole number from %d to %d", least, most))
		return otherwise
	}
	return n
}

// duration returns a time that must be at least some other.
func (e *environ) duration(name string, otherwise, least time.Duration) Duration {
	v := e.text(name, otherwise.String())
	var d Duration
	if err := d.UnmarshalText([]byte(v)); err != nil {
		e.wrong(name, v, "must be a time: 60s, 5m or a number of seconds")
		return Duration(otherwise)
	}
	if d.D() < least {
		e.wrong(name, v, "must be "+least.String()+" or more")
		return Duration(otherwise)
	}
	return d
}

// list returns the entries of a list with commas, without white space and
// empty entries.
func (e *environ) list(name, otherwise string) []string {
	v := e.text(name, otherwise)
	entries := split(v, ",")
	if len(entries) == 0 && v != "" {
		e.wrong(name, v, "must be a list with commas between its entries")
	}
	return entries
}

// oneOf returns a word out of a few, in their letter case.
func (e *environ) oneOf(name, otherwise string, words ...string) string {
	v := e.text(name, otherwise)
	i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, v) })
	if i < 0 {
		e.wrong(name, v, "must be one of "+strings.Join(words, ", "))
		return otherwise
	}
	return words[i]
}

// subset returns a list whose entries must all be known and differ.
func (e *environ) subset(name, otherwise string, known []string) []string {
	entries := e.list(name, otherwise)
	for i, entry := range entries {
		entry = CanonicalTask(entry)
		entries[i] = entry
		if !slices.Contains(known, entry) {
			e.wrong(name, entry, "is not known; known are "+strings.Join(known, ", "))
		}
		if slices.Contains(entries[:i], entry) {
			e.wrong(name, entry, "stands there twice")
		}
	}
	return entries
}

// url returns an http or https URL without a slash at its end, or "".
func (e *environ) url(name, otherwise string) string {
	v := e.text(name, otherwise)
	if v == "" {
		return ""
	}
	const want = "must be an http or https URL with a host, like https://roller.example.com"
	u, err := url.Parse(v)
	switch {
	case strings.Contains(v, "@"): // before anything is shown: it may hold a password
		e.hidden(name, want+", and must not hold a user or password (the value is not shown)")
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", !isHost(u.Hostname()), u.RawQuery != "", u.Fragment != "":
		e.wrong(name, v, want)
	}
	return strings.TrimRight(v, "/")
}

// split cuts a list and drops white space and empty entries.
func split(list, separator string) []string {
	var entries []string
	for entry := range strings.SplitSeq(list, separator) {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}
