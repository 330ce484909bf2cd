package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// began is when the jobs of these tests began.
var began = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// course is a job on its way: what is seen of it, look after look.
func course() []api.JobDetail {
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	one := workflows.Attempt{Rung: "ssh_reboot", StartedAt: at(0), Outcome: workflows.Running}
	oneEnded := workflows.Attempt{Rung: "ssh_reboot", StartedAt: at(0), EndedAt: at(62), Outcome: workflows.NoEffect, Why: "it did not\x1b[2J go down"}
	two := workflows.Attempt{Rung: "ipmi_reset", StartedAt: at(62), Outcome: workflows.Running}
	twoEnded := workflows.Attempt{Rung: "ipmi_reset", StartedAt: at(62), EndedAt: at(90), Outcome: workflows.Back, Why: "boot ID changed"}
	job := func(state string, outcome workflows.Outcome, now string, next []string, attempts ...workflows.Attempt) api.JobDetail {
		return api.JobDetail{JobView: api.JobView{
			TaskID: "e62c4d06", TaskName: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1", State: state, Outcome: outcome, StartedAt: began,
		}, Live: true, Now: now, Next: next, Attempts: attempts}
	}
	last := job("completed", workflows.Back, "", nil, oneEnded, twoEnded)
	last.EndedAt = at(90)
	return []api.JobDetail{
		job("running", workflows.Running, "finding the machine", nil),
		job("running", workflows.Running, "sending the command", []string{"ipmi_reset", "ipmi_cycle"}, one),
		job("running", workflows.Running, "watching", []string{"ipmi_cycle"}, oneEnded, two),
		last,
	}
}

// looks gives what is seen, one look after another.
func looks(all []api.JobDetail, errs ...error) func(context.Context) (api.JobDetail, error) {
	return func(ctx context.Context) (api.JobDetail, error) {
		if len(errs) > 0 {
			err := errs[0]
			errs = errs[1:]
			return api.JobDetail{}, err
		}
		if len(all) == 0 {
			<-ctx.Done()
			return api.JobDetail{}, ctx.Err()
		}
		j := all[0]
		all = all[1:]
		return j, nil
	}
}

// In a pipe each rung is one line, when it has ended, and once.
func TestFollowLines(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	j, err := follow(t.Context(), looks(course(), fmt.Errorf("%w: x", api.ErrNoAnswer)), &lines{out: &out, errOut: &errOut})
	require.NoError(t, err)
	require.Equal(t, workflows.Back, j.Outcome)
	local := func(seconds int) string {
		return began.Add(time.Duration(seconds) * time.Second).Local().Format(time.TimeOnly)
	}
	require.Equal(t, local(62)+"  ssh_reboot         no_effect  it did not [2J go down\n"+local(90)+"  ipmi_reset         back       boot ID changed\n", out.String())
	require.Equal(t, "roller: the job cannot be seen now, and goes on: no answer from the API: x\n", errOut.String())
}

// That the machine is on loan is said first, and once.
func TestFollowTellsOfALoan(t *testing.T) {
	t.Parallel()
	all := course()
	for i := range all[1:] {
		all[i+1].OnLoan = &aLoan
	}
	const says = "mdc1/ms1-10 is on loan to mozilla-auth0/sheriff since 2026-01-02 03:04:05 UTC (bug 1), https://bugs.example/7"
	var out bytes.Buffer
	_, err := follow(t.Context(), looks(all), &lines{out: &out})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(out.String(), says+"\n"), out.String())
	require.Equal(t, 1, strings.Count(out.String(), "is on loan"))
	require.Equal(t, "  "+says, climbed(all[1], began)[1])
}

func TestFollowEndsWhereLookingHelpsNoMore(t *testing.T) {
	t.Parallel()
	for _, want := range []error{errors.New("x"), &api.Refusal{Status: 403, Code: "InsufficientScopes"}} {
		_, err := follow(t.Context(), looks(nil, want), silent{})
		require.ErrorIs(t, err, want)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := follow(ctx, looks(nil), silent{})
	require.ErrorIs(t, err, context.Canceled)
}

// terminal is what a person sees: it carries out the two commands that the screen
// gives, and knows no other.
type terminal struct {
	t    *testing.T
	rows []string
}

var commands = regexp.MustCompile(`^\x1b\[(\d*)([AJ])`)

func (s *terminal) Write(b []byte) (int, error) {
	text := string(b)
	for text != "" {
		m := commands.FindStringSubmatch(text)
		switch {
		case m != nil && m[2] == "A":
			n, err := strconv.Atoi(m[1])
			require.NoError(s.t, err)
			require.LessOrEqual(s.t, n, len(s.rows), "it moves above what it drew")
			s.rows = s.rows[:len(s.rows)-n] // the J that follows clears them
			text = text[len(m[0]):]
			require.True(s.t, strings.HasPrefix(text, "\x1b[J"))
		case m != nil:
			text = text[len(m[0]):]
		default:
			row, rest, ended := strings.Cut(text, "\n")
			require.True(s.t, ended, "the cursor stays at a line's beginning")
			require.NotContains(s.t, row, "\x1b")
			s.rows = append(s.rows, row)
			text = rest
		}
	}
	return len(b), nil
}

// On a terminal the ladder is drawn in its place.
func TestFollowOnATerminal(t *testing.T) {
	t.Parallel()
	sees := &terminal{t: t, rows: []string{"started: e62c4d06"}}
	s := &screen{out: sees, width: func() int { return 60 }}
	all := course()
	for _, j := range all[:3] {
		s.show(j)
	}
	s.tick(began.Add(70 * time.Second))
	require.Equal(t, []string{
		"started: e62c4d06",
		"reboot of mdc1/ms1-10  running  1:10",
		"  1 ssh_reboot         no_effect    1:02  it did not [2J go",
		"  2 ipmi_reset         running      0:08  watching",
		"  next: ipmi_cycle",
	}, trimmed(sees.rows))
	s.trouble(errors.New("no answer"))
	s.tick(began.Add(71 * time.Second))
	require.Equal(t, "cannot be seen now, and goes on: no answer", sees.rows[len(sees.rows)-1])
	s.show(all[3])
	require.Equal(t, []string{
		"started: e62c4d06",
		"reboot of mdc1/ms1-10  back  1:30",
		"  1 ssh_reboot         no_effect    1:02  it did not [2J go",
		"  2 ipmi_reset         back         0:28  boot ID changed",
	}, trimmed(sees.rows))
}

func trimmed(rows []string) []string {
	var out []string
	for _, row := range rows {
		out = append(out, strings.TrimRight(row, " "))
	}
	return out
}

func TestTook(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{0: "0:00", 59 * time.Second: "0:59", 61 * time.Second: "1:01", 2*time.Hour + 3*time.Second: "2:00:03", -time.Second: "0:00"} {
		require.Equal(t, want, took(began, began.Add(d)))
	}
	require.Equal(t, "0:00", took(time.Time{}, began))
}

func TestCut(t *testing.T) {
	t.Parallel()
	require.Equal(t, "abc", cut("abcd", 4), "a full line would wrap")
	require.Equal(t, "abc", cut("abc", 4))
	require.Equal(t, "abcd", cut("abcd", 0), "a width that is not known")
	require.Equal(t, "éé", cut("éééé", 3))
}
