package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// mistake is something wrong in an inventory file.
type mistake struct {
	path string
	line int // 0 where the file as a whole is meant
	text string
}

// Error implements error: "ssh.json:3: what is wrong".
func (m mistake) Error() string {
	return place{m.path, m.line}.String() + ": " + m.text
}

// place is where something stands in the inventory files.
type place struct {
	path string
	line int
}

// String returns the form that editors and compilers use, "ssh.json:3".
func (p place) String() string {
	if p.line == 0 {
		return p.path
	}
	return fmt.Sprintf("%s:%d", p.path, p.line)
}

// mistakes collects what is wrong in all files.
type mistakes struct{ list []mistake }

func (s *mistakes) at(p place, format string, args ...any) {
	s.list = append(s.list, mistake{p.path, p.line, fmt.Sprintf(format, args...)})
}

// err returns all mistakes, file by file in the order given and line by line;
// nil if there are none.
func (s *mistakes) err(order []string) error {
	slices.SortStableFunc(s.list, func(a, b mistake) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.path), slices.Index(order, b.path)), cmp.Compare(a.line, b.line))
	})
	var errs []error
	told := map[mistake]bool{} // a chassis's is found anew with each of its machines
	for _, m := range s.list {
		if !told[m] {
			errs = append(errs, m)
		}
		told[m] = true
	}
	return errors.Join(errs...)
}

// claims remembers who was the first to claim what only one machine may have
// (a BMC, an outlet, a name), and where.
type claims struct {
	*mistakes
	first map[string]claim
}

type claim struct {
	owner string
	at    place
}

// take notes a claim and reports a second one by another owner, in a sentence:
// what ("BMC 10.0.0.1:623"), verb ("belongs to"), owner.
func (c *claims) take(at place, what, verb, owner string) { c.takeAs(what, at, what, verb, owner) }

// takeAs is take for what has several names, by the one key of them all.
func (c *claims) takeAs(key string, at place, what, verb, owner string) {
	if had, ok := c.first[key]; !ok {
		c.first[key] = claim{owner, at}
	} else if had.owner != owner {
		c.at(at, "%s %s %s here, but %s at %s", what, verb, owner, had.owner, had.at)
	}
}

// quoted lists words for a message.
func quoted(words []string) string { return `"` + strings.Join(words, `", "`) + `"` }
