package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// screen draws the ladder on a terminal, and draws it again in its place.
type screen struct {
	out   io.Writer
	width func() int

	drawn int // lines that stand there
	job   api.JobDetail
	lost  string
}

func (s *screen) show(j api.JobDetail) {
	s.job, s.lost = j, ""
	s.draw(time.Now())
}

func (s *screen) tick(now time.Time) {
	if s.job.TaskID != "" {
		s.draw(now)
	}
}

func (s *screen) trouble(err error) { s.lost = printable(err.Error()) }

// up moves to the first of the lines that stand there, and clears from there on
// (ECMA-48: CUU, ED).
func (s *screen) up() string {
	if s.drawn == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\x1b[J", s.drawn)
}

func (s *screen) draw(now time.Time) {
	text := climbed(s.job, now)
	if s.lost != "" {
		text = append(text, "cannot be seen now, and goes on: "+s.lost)
	}
	var b strings.Builder
	b.WriteString(s.up())
	for _, line := range text {
		b.WriteString(cut(line, s.width()) + "\n")
	}
	s.drawn = len(text)
	_, _ = io.WriteString(s.out, b.String())
}

// climbed is a job as lines: what it is, each rung, what happens now, what follows.
func climbed(j api.JobDetail, now time.Time) []string {
	end := j.EndedAt
	if end.IsZero() {
		end = now
	}
	text := []string{fmt.Sprintf("%s of %s/%s  %s  %s", j.TaskName, j.WorkerGroup, j.WorkerID, word(j), took(j.StartedAt, end))}
	if j.OnLoan != nil {
		text = append(text, "  "+onLoan(j))
	}
	for i, at := range j.Attempts {
		ended, what := at.EndedAt, at.Why
		if at.Outcome == workflows.Running {
			ended, what = now, j.Now
		}
		text = append(text, fmt.Sprintf("  %d %-18s %-10s %6s  %s", i+1, at.Rung, at.Outcome, took(at.StartedAt, ended), printable(what)))
	}
	if len(j.Attempts) == 0 && j.Now != "" {
		text = append(text, "  now: "+printable(j.Now))
	}
	if len(j.Next) > 0 {
		text = append(text, "  next: "+strings.Join(j.Next, ", "))
	}
	if j.Off != "" {
		text = append(text, "  OFF: "+j.Off+" powered it off, and it has not been seen on again")
	}
	return text
}

// word says how a job stands.
func word(j api.JobDetail) string {
	switch {
	case j.State == stateRunning && j.Cancelling:
		return "being cancelled"
	case j.State == stateRunning && !j.Live:
		return "running, and no worker answers"
	case j.Outcome != "":
		return string(j.Outcome)
	}
	return j.State
}

// took is a time as people say it: 0:07, 1:02:03.
func took(from, to time.Time) string {
	if from.IsZero() || to.Before(from) {
		return "0:00"
	}
	seconds := int(to.Sub(from).Seconds())
	if seconds < 3600 {
		return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}

// cut shortens a line to a terminal's width: a longer one would be two, and the
// next drawing would begin in the wrong place.
func cut(line string, width int) string {
	r := []rune(line)
	if width <= 0 || len(r) < width {
		return line
	}
	return string(r[:max(width-1, 0)])
}
