package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// display shows a job to whoever follows it.
type display interface {
	show(j api.JobDetail)
	tick(now time.Time)
	trouble(err error) // the job cannot be seen just now
}

const (
	// troublePause is before a job is looked for again that could not be seen.
	troublePause = 2 * time.Second
	// troubleLimit is how long that may be so: longer than a restart of everything.
	troubleLimit = 10 * time.Minute
)

// seen is one look at a job.
type seen struct {
	job api.JobDetail
	err error
}

// follow shows each change of a job until it has ended, and returns it. The job
// goes on whatever becomes of this process.
func follow(ctx context.Context, look func(context.Context) (api.JobDetail, error), d display) (api.JobDetail, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	looks := make(chan seen)
	go func() {
		for {
			j, err := look(ctx)
			select {
			case looks <- seen{j, err}:
			case <-ctx.Done():
				return
			}
			if err == nil && j.State != stateRunning {
				return
			}
			if err != nil {
				pause(ctx, troublePause)
			}
		}
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	lost := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return api.JobDetail{}, ctx.Err()
		case now := <-ticker.C:
			d.tick(now)
		case s := <-looks:
			if s.err == nil {
				lost = time.Time{}
				d.show(s.job)
				if s.job.State != stateRunning {
					return s.job, nil
				}
				continue
			}
			if lost.IsZero() {
				lost = time.Now()
			}
			if !passing(s.err) || time.Since(lost) > troubleLimit {
				return api.JobDetail{}, s.err
			}
			d.trouble(s.err)
		}
	}
}

// stateRunning is the state of a job that has not ended.
const stateRunning = "running"

// passing reports whether a look may succeed later.
func passing(err error) bool {
	if r, ok := errors.AsType[*api.Refusal](err); ok {
		return r.Status >= 500 || r.Status == 429
	}
	return errors.Is(err, api.ErrNoAnswer) || errors.Is(err, starter.ErrUnavailable)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// lines prints attempts as they end, one line each: for a pipe or a log.
type lines struct {
	out, errOut io.Writer
	printed     int
	said        string
	loanSaid    bool
}

func (l *lines) show(j api.JobDetail) {
	l.said = ""
	if j.OnLoan != nil && !l.loanSaid {
		l.loanSaid = true
		fmt.Fprintln(l.out, onLoan(j))
	}
	for _, at := range j.Attempts[min(l.printed, len(j.Attempts)):] {
		if at.Outcome == workflows.Running {
			break
		}
		fmt.Fprintf(l.out, "%s  %-18s %-10s %s\n", at.EndedAt.Local().Format(time.TimeOnly), at.Rung, at.Outcome, printable(at.Why))
		l.printed++
	}
}

// onLoan says who has the machine of a job.
func onLoan(j api.JobDetail) string {
	return printable(j.WorkerGroup + "/" + j.WorkerID + " is on loan " + j.OnLoan.String())
}

func (l *lines) tick(time.Time) {}

func (l *lines) trouble(err error) {
	if l.said != err.Error() {
		l.said = err.Error()
		fmt.Fprintln(l.errOut, "roller: the job cannot be seen now, and goes on:", printable(l.said))
	}
}

// silent shows nothing: the job's end is all that is asked for.
type silent struct{}

func (silent) show(api.JobDetail) {}
func (silent) tick(time.Time)     {}
func (silent) trouble(error)      {}

// printable is a text of a device's or a server's without what a terminal would
// take for a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
