package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Results are what is known of one machine.
type Results struct {
	Machine Machine `json:"machine"`
	Rows    []Row   `json:"rows"`
}

// Row is one row's result.
type Row struct {
	Name     string    `json:"name"`
	About    string    `json:"about"`
	At       time.Time `json:"at"`
	Took     string    `json:"took"`
	Load     string    `json:"load,omitempty"` // the machine's load average when the row began: what else it was busy with
	Setup    string    `json:"setup"`          // of the run: how many, how many at once, with what
	Measures []Measure `json:"measures"`
	Missing  []string  `json:"missing,omitempty"` // what could not be measured, and why
}

// Measure is one number, beside that of the baseline where there is one.
type Measure struct {
	Name     string       `json:"name"`
	Unit     string       `json:"unit"`
	Value    float64      `json:"value"`              // of roller: the median of the rounds
	Baseline *float64     `json:"baseline,omitempty"` // likewise
	Ratio    *Spread      `json:"ratio,omitempty"`    // of roller's to the baseline's, of each round
	Limit    *Limit       `json:"limit,omitempty"`    // of the ratio's median, or of the value without a baseline
	Rounds   [][2]float64 `json:"rounds,omitempty"`   // baseline and roller
}

// Spread is a median and the extremes about it.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// Limit is what a number must keep.
type Limit struct {
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
}

func atLeast(v float64) *Limit { return &Limit{AtLeast: v} }

func atMost(v float64) *Limit { return &Limit{AtMost: v} }

// Met reports whether the limit is kept; true without one.
func (m Measure) Met() bool {
	v := m.Value
	if m.Ratio != nil {
		v = m.Ratio.Median
	}
	return m.Limit == nil || v >= m.Limit.AtLeast && (m.Limit.AtMost == 0 || v <= m.Limit.AtMost)
}

// readResults returns the results of earlier runs, none if there is no such file.
func readResults(path string) (*Results, error) {
	text, err := os.ReadFile(path) //nolint:gosec // named by who runs the benchmark
	if errors.Is(err, fs.ErrNotExist) {
		return &Results{}, nil
	}
	if err != nil {
		return nil, err
	}
	var r Results
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

// on says which machine is measured. The numbers of another one are dropped.
func (r *Results) on(m Machine) {
	if r.Machine.Hardware != m.Hardware {
		r.Rows = nil
	}
	r.Machine = m
}

// keep puts a row in the place of its earlier numbers.
func (r *Results) keep(measured Row) {
	r.Rows = slices.DeleteFunc(r.Rows, func(old Row) bool { return old.Name == measured.Name })
	r.Rows = append(r.Rows, measured)
	order := rowNames()
	slices.SortStableFunc(r.Rows, func(a, b Row) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
}

// write keeps the results, and draws the document's table anew.
func (r *Results) write(o options) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.out, append(text, '\n'), 0o644); err != nil { //nolint:gosec // a document for everybody
		return err
	}
	if o.doc == "" {
		return nil
	}
	doc, err := os.ReadFile(o.doc)
	if err != nil {
		return err
	}
	drawn, err := redraw(string(doc), r.Markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", o.doc, err)
	}
	return os.WriteFile(o.doc, []byte(drawn), 0o644) //nolint:gosec // a document for everybody
}

// The marks between which a document has the table.
const (
	tableBegins = "<!-- results: drawn by make bench -->\n"
	tableEnds   = "<!-- end of results -->"
)

// redraw puts a table between the marks of a document.
func redraw(doc, table string) (string, error) {
	before, rest, begins := strings.Cut(doc, tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return "", fmt.Errorf("the marks %q and %q are missing", strings.TrimSpace(tableBegins), tableEnds)
	}
	return before + tableBegins + table + tableEnds + after, nil
}
