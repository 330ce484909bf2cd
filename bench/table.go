package main

import (
	"fmt"
	"strconv"
	"strings"
)

// Markdown draws the table, with the machine above it.
func (r *Results) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.Machine)
	b.WriteString("| row | measure | roller | baseline | ratio (spread) | limit | |\n|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		name := row.Name
		for _, m := range row.Measures {
			fmt.Fprintf(&b, "| %s | %s |\n", name, strings.Join(m.cells(), " | "))
			name = ""
		}
	}
	b.WriteString("\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "- %s, %s%s: %s.\n", row.Name, row.At.Format("2006-01-02 15:04 UTC"), loaded(row.Load), row.Setup)
		for _, m := range row.Missing {
			fmt.Fprintf(&b, "  Not measured: %s.\n", m)
		}
	}
	return b.String()
}

func loaded(load string) string {
	if load == "" {
		return ""
	}
	return ", at a load average of " + load
}

func (m Measure) cells() []string {
	cells := []string{m.Name, number(m.Value) + " " + m.Unit, "", "", "", ""}
	if m.Baseline != nil {
		cells[2] = number(*m.Baseline) + " " + m.Unit
	}
	if m.Ratio != nil {
		cells[3] = fmt.Sprintf("%s (%s to %s)", number(m.Ratio.Median), number(m.Ratio.Least), number(m.Ratio.Most))
	}
	if m.Limit != nil {
		cells[4], cells[5] = m.Limit.String(), map[bool]string{true: "met", false: "**missed**"}[m.Met()]
	}
	return cells
}

// String is the measure in one line.
func (m Measure) String() string {
	said := []string{m.Name}
	for i, cell := range m.cells()[1:] {
		if cell != "" {
			said = append(said, [...]string{"", "baseline ", "ratio ", "limit ", ""}[i]+cell)
		}
	}
	return strings.Join(said, ", ")
}

// String is the limit in words.
func (l *Limit) String() string {
	if l.AtMost != 0 {
		return "at most " + number(l.AtMost)
	}
	return "at least " + number(l.AtLeast)
}

// String is a sample in one line, its measures by their names.
func (s Sample) String() string {
	var said []string
	for name, v := range sorted(s) {
		said = append(said, name+" "+number(round(v)))
	}
	return strings.Join(said, ", ")
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
