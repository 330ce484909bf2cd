package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// recipes are the commands of docs/temporal.md by their headings.
func recipes(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/temporal.md")
	require.NoError(t, err)
	all := map[string][]string{}
	block := regexp.MustCompile("(?s)```sh\n(.*?)```")
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		heading, body, _ := strings.Cut(section, "\n")
		for _, found := range block.FindAllStringSubmatch(body, -1) {
			all[heading] = append(all[heading], strings.Split(strings.TrimSpace(found[1]), "\n")...)
		}
	}
	return all
}

// byTheBook runs a command of the docs in a shell, as a reader would.
func (s *site) byTheBook(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", command)
	shell.Env = []string{
		"PATH=" + filepath.Dir(temporalBinary(t)) + ":" + os.Getenv("PATH"), "HOME=" + s.Dir,
		"TEMPORAL_CLI_ADDRESS=" + s.Address, "TEMPORAL_ADDRESS=" + s.Address,
	}
	out, err := shell.CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, out)
	return string(out)
}

// TestRecipes runs every command of docs/temporal.md, and looks what it did.
func TestRecipes(t *testing.T) {
	t.Parallel()
	never := lab.Faults{NeverReturns: true}
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot", "UP_TIMEOUT": "20m"},
		lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1", Faults: never}, lab.Spec{WorkerID: "ms1-11", WorkerGroup: "mdc1", Faults: never},
		lab.Spec{WorkerID: "ms1-12", WorkerGroup: "mdc1", Faults: never}, lab.Spec{WorkerID: "ms2-10", WorkerGroup: "mdc2", Faults: never})
	book := recipes(t)
	ran := 0
	run := func(heading string, i int) string {
		t.Helper()
		require.Greater(t, len(book[heading]), i, "docs/temporal.md has no such command below %q", heading)
		ran++
		return s.byTheBook(t, book[heading][i])
	}
	jobOn := func(id string) starter.Job {
		return starter.Job{WorkflowID: workflows.MachineID(name(s.lab.Machine(id)))}
	}
	waits := func(r workflows.Result) bool { return strings.HasPrefix(r.Now, "waiting for the machine") }

	for i := range book["Start"] {
		run("Start", i)
	}
	for _, id := range []string{"ms1-10", "ms1-11"} {
		s.until(t, jobOn(id), "its job runs under the machine's ID", waits)
	}
	for i := range book["Look"] {
		out := run("Look", i)
		require.Contains(t, out, "ms1-10")
		if i < 3 { // from the running job itself
			require.Contains(t, out, "waiting for the machine to come back", book["Look"][i])
		}
	}
	require.Eventually(t, func() bool { return s.found(t, book["List"][0], "machine/mdc1/ms1-10") }, enough, time.Second)
	for i, want := range []string{"machine/mdc1/ms1-11", "machine/mdc1/ms1-10", "", "", "Total: 2"} {
		require.Contains(t, run("List", i), want, book["List"][i])
	}
	require.Len(t, book["List"], 5)

	for i, id := range []string{"ms1-10", "ms1-11"} {
		run("Cancel", i)
		r, _ := s.end(t, jobOn(id))
		require.Equal(t, workflows.Cancelled, r.Outcome)
	}
	require.Len(t, book["Cancel"], 2)

	for i, id := range []string{"ms1-12", "ms2-10"} {
		m := s.lab.Machine(id)
		job := s.job(t, "reboot", m)
		s.until(t, job, "it waits", waits)
		require.Eventually(t, func() bool { return s.found(t, book["List"][0], "machine/mdc1/ms1-12") || id != "ms1-12" }, enough, time.Second)
		run("Cancel all jobs of a site", i)
		r, _ := s.end(t, job)
		require.Equal(t, workflows.Cancelled, r.Outcome, id)
	}
	require.Len(t, book["Cancel all jobs of a site"], 2)

	for i := range book["Watch"] { // they have ended
		require.Contains(t, run("Watch", i), "WorkflowExecutionCanceled")
	}
	total := 0
	for _, commands := range book {
		total += len(commands)
	}
	require.Equal(t, total, ran, "every command of the page was run")
}

// found reports whether a list shows something yet: lists follow a moment later.
func (s *site) found(t *testing.T, list, what string) bool {
	t.Helper()
	return strings.Contains(s.byTheBook(t, list), what)
}
