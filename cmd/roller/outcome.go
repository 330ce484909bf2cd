package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Exit statuses beside 1 (roller could not do or see it) and those of outcomes.
const (
	statusUsage      = 2
	statusFailed     = 9
	statusConflict   = 10
	statusNotAllowed = 11
	statusTooMany    = 12
	statusInterrupt  = 130 // as shells have it: 128 + SIGINT
)

// statuses are the exit statuses by which a followed job's outcome is told;
// docs/commands.md has the table.
var statuses = map[workflows.Outcome]int{
	workflows.Back: 0, workflows.Done: 0,
	workflows.BugFiled: 3, workflows.BugPending: 4,
	workflows.NotBack: 5, workflows.NoEffect: 5,
	workflows.StillOff: 6, workflows.Blind: 7, workflows.Cancelled: 8,
	workflows.NotSent: statusFailed, workflows.Refused: statusFailed, workflows.Failed: statusFailed,
}

// ended prints how a job ended, and says it by the exit status.
func ended(out io.Writer, j api.JobDetail) error {
	if j.Text != "" {
		fmt.Fprintln(out, j.Text)
	}
	if j.Bug != nil {
		fmt.Fprintln(out, "bug:", j.Bug)
	}
	status, known := statuses[j.Outcome]
	if j.TaskName == "file_bugzilla_bug" && j.Outcome == workflows.BugFiled {
		status = 0
	}
	switch {
	case !known:
		return &exit{status: statusFailed, err: fmt.Errorf("the job is %s", j.State)}
	case status == 0:
		fmt.Fprintln(out, j.Outcome)
		return nil
	case j.Why == "":
		return &exit{status: status, err: errors.New(string(j.Outcome))}
	}
	return &exit{status: status, err: fmt.Errorf("%s: %s", j.Outcome, j.Why)}
}

// withStatus gives the errors by which a job is refused their exit statuses.
func withStatus(err error) error {
	if _, ok := errors.AsType[*exit](err); err == nil || ok {
		return err
	}
	status := 0
	if _, ok := errors.AsType[*starter.Conflict](err); ok || errors.Is(err, starter.ErrClosed) {
		status = statusConflict
	}
	if errors.Is(err, starter.ErrCrowded) {
		status = statusTooMany
	}
	if r, ok := errors.AsType[*api.Refusal](err); ok {
		status = map[int]int{
			http.StatusBadRequest: statusUsage, http.StatusConflict: statusConflict, http.StatusUnauthorized: statusNotAllowed,
			http.StatusForbidden: statusNotAllowed, http.StatusTooManyRequests: statusTooMany,
		}[r.Status]
	}
	return &exit{status: cmp.Or(status, 1), err: err}
}
