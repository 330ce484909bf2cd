package starter

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

func TestWhatErrorsMeanForATask(t *testing.T) {
	t.Parallel()
	_, unknown := config.NewInventory().Resolve("ms1-10", "mdc1")
	require.Error(t, unknown)
	for name, test := range map[string]struct {
		err  error
		want any
	}{
		"another job":        {&Conflict{}, workflows.AskRefused},
		"crowded":            {ErrCrowded, workflows.AskRefused},
		"another wish's key": {&Reused{}, workflows.AskRefused},
		"temporal is down":   {unavailable(errors.Join(ErrUnavailable)), workflows.AskAgain},
		"no such machine":    {unknown, workflows.AskBad},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, ok := errors.AsType[*workflows.AskError](askError(test.err))
			require.True(t, ok)
			require.Equal(t, test.want, e.Meaning)
		})
	}
}

func TestHowATaskSeesItsJob(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	attempts := []workflows.Attempt{{Rung: "ssh_reboot", StartedAt: at, EndedAt: at.Add(time.Minute), Outcome: workflows.NoEffect, Why: "the machine did not go down"}}
	bug := &workflows.Bug{ID: 7, URL: "https://bugzilla.example/show_bug.cgi?id=7"}
	for name, test := range map[string]struct {
		view        View
		ended, good bool
		bug         string
		says        []string
	}{
		"under way": {View{Status: "Running", Result: &workflows.Result{Attempts: attempts}}, false, false, "", []string{"2026-01-02 03:05:05  ssh_reboot         no_effect  the machine did not go down\n"}},
		"off first": {View{Status: "Running", Result: &workflows.Result{Off: true, Attempts: attempts}}, false, false, "", []string{"OFF: roller powered"}},
		"back":      {View{Status: "Completed", Result: &workflows.Result{Outcome: workflows.Back}}, true, true, "", []string{"ended: back"}},
		"a read":    {View{Status: "Completed", Result: &workflows.Result{Outcome: workflows.Done, Text: "4 of 4"}}, true, true, "", []string{"4 of 4"}},
		"a bug": {
			View{Status: "Completed", Result: &workflows.Result{Task: "reboot", Outcome: workflows.BugFiled, Bug: bug}},
			true, false, bug.URL,
			[]string{"bug: " + bug.URL, "ended: bug_filed"},
		},
		"the bug that was asked for": {View{Status: "Completed", Result: &workflows.Result{Task: "file_bugzilla_bug", Outcome: workflows.BugFiled, Bug: bug}}, true, true, bug.URL, nil},
		"failed":                     {View{Status: "Failed", Result: &workflows.Result{Outcome: workflows.Failed, Why: "unknown_machine"}}, true, false, "", []string{"unknown_machine"}},
		"terminated":                 {View{Status: "Terminated"}, true, false, "", []string{"terminated"}},
		"no worker":                  {View{Status: "Running", Rung: "ipmi_reset"}, false, false, "", []string{"last known rung: ipmi_reset"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			look := lookOf(test.view)
			require.Equal(t, test.ended, look.Ended)
			require.Equal(t, test.good, look.Good)
			require.Equal(t, test.bug, look.Bug)
			for _, text := range test.says {
				require.Contains(t, look.Text, text)
			}
		})
	}
	require.Regexp(t, "^OFF", lookOf(View{Status: "Running", Result: &workflows.Result{Off: true, Attempts: attempts}}).Text, "the first line")
}
