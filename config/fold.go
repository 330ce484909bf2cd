package config

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// numbered is a worker ID that ends in a number of at most nine digits.
var numbered = regexp.MustCompile(`\A(.*?)([0-9]{1,9})\z`)

// series are the machines whose names differ by the number at their end only.
type series struct {
	stem    string // "mdc1/t-linux64-ms-"
	width   int    // of a number with zeros before it; 0 of one without
	numbers []int
}

// FoldNames writes many names in little room: "mdc1/ms-[001-045,047], mdc1/xen1".
func FoldNames(names []Name) string {
	padded := map[string]bool{} // stems and lengths of numbers with a zero before them
	for _, n := range names {
		if stem, number := numberOf(n); strings.HasPrefix(number, "0") {
			padded[sized(stem, len(number))] = true
		}
	}
	index := map[string]*series{}
	for _, n := range names {
		stem, number := numberOf(n)
		width := 0
		if padded[sized(stem, len(number))] {
			width = len(number)
		}
		s := index[sized(stem, width)]
		if s == nil {
			s = &series{stem: stem, width: width}
			index[sized(stem, width)] = s
		}
		if i, err := strconv.Atoi(number); err == nil {
			s.numbers = append(s.numbers, i)
		}
	}
	all := slices.SortedFunc(maps.Values(index), func(a, b *series) int {
		return cmp.Or(cmp.Compare(a.stem, b.stem), cmp.Compare(a.width, b.width))
	})
	texts := make([]string, len(all))
	for i, s := range all {
		texts[i] = s.String()
	}
	return strings.Join(texts, ", ")
}

func sized(stem string, length int) string { return fmt.Sprintf("%s %d", stem, length) }

// numberOf takes the number off a name; "" is none.
func numberOf(n Name) (stem, number string) {
	m := numbered.FindStringSubmatch(n.WorkerID)
	if m == nil {
		return n.String(), ""
	}
	return n.WorkerGroup + "/" + m[1], m[2]
}

// String returns the form that people and shells read.
func (s *series) String() string {
	slices.Sort(s.numbers)
	var runs []string
	for i := 0; i < len(s.numbers); {
		end := i
		for end+1 < len(s.numbers) && s.numbers[end+1] == s.numbers[end]+1 {
			end++
		}
		run := s.digits(i)
		if end > i {
			run += "-" + s.digits(end)
		}
		runs = append(runs, run)
		i = end + 1
	}
	switch {
	case len(runs) == 0:
		return s.stem
	case len(s.numbers) == 1:
		return s.stem + runs[0]
	}
	return s.stem + "[" + strings.Join(runs, ",") + "]"
}

func (s *series) digits(i int) string { return fmt.Sprintf("%0*d", s.width, s.numbers[i]) }
