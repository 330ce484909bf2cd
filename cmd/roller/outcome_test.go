package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// documentedStatuses are the outcomes in docs/commands.md's table.
func documentedStatuses(t *testing.T) map[workflows.Outcome]int {
	t.Helper()
	text, err := os.ReadFile("../../docs/commands.md")
	require.NoError(t, err)
	out := map[workflows.Outcome]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1) {
		status, err := strconv.Atoi(row[1])
		require.NoError(t, err)
		words, _, _ := strings.Cut(row[2], ";")
		for _, word := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(words, -1) {
			if _, known := statuses[workflows.Outcome(word[1])]; known {
				out[workflows.Outcome(word[1])] = status
			}
		}
	}
	return out
}

func TestStatusesAreDocumented(t *testing.T) {
	t.Parallel()
	require.Equal(t, statuses, documentedStatuses(t))
	for _, o := range workflows.JobOutcomes {
		if o != workflows.Running {
			require.Contains(t, statuses, o)
		}
	}
}

const apiToken = "the-access-token-of-a-sheriff"

var aLoan = workflows.LoanReading{
	ClientID: "mozilla-auth0/sheriff", Why: "bug 1", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Bug: "https://bugs.example/7",
}

// oneJob is a starter whose only job is what the test says.
type oneJob struct {
	mu    sync.Mutex
	view  starter.View
	err   error
	asked []starter.Request
}

func (o *oneJob) Start(_ context.Context, r starter.Request) (starter.Job, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, r)
	return o.view.Job, o.err
}

func (o *oneJob) Page(context.Context, starter.Filter, int, []byte) ([]starter.View, []byte, error) {
	return []starter.View{o.view}, nil, nil
}

func (o *oneJob) Find(context.Context, config.Name, string) (starter.View, error) {
	return o.view, nil
}

func (o *oneJob) Show(context.Context, string, string) (starter.View, error) { return o.view, nil }

func (o *oneJob) AwaitChange(ctx context.Context, _ starter.View) error {
	<-ctx.Done()
	return ctx.Err()
}

func (o *oneJob) Loans(context.Context) (map[string]workflows.LoanReading, error) {
	return map[string]workflows.LoanReading{"mdc1/ms1-10": aLoan}, nil
}

func (o *oneJob) Cancel(context.Context, string, string) error { return o.err }

// served is a real API before that job, and the environment of somebody who asks it.
func served(t *testing.T, o *oneJob) (env []string) {
	t.Helper()
	auth := lab.NewAuth(lab.Client{ID: "sheriff", AccessToken: apiToken, Scopes: []string{"project:releng:roller:*"}},
		lab.Client{ID: "stranger", AccessToken: apiToken})
	root, err := auth.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = auth.Close() })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := "http://" + listener.Addr().String()
	cfg, err := config.Load([]string{"ROLLER_CONFIGURATION=Test", "PUBLIC_URL=" + address, "TASKCLUSTER_ROOT_URL=" + root, "TASK_NAMES=reboot,ping,file_bugzilla_bug"})
	require.NoError(t, err)
	machine := config.Machine{Name: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: "ms1-10.test.releng.mdc1.mozilla.com"}
	inventory := config.NewInventory(machine)
	a, err := api.New(cfg, api.Deps{Starter: o, Inventory: func() *config.Inventory { return inventory }, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: a}}
	server.Start()
	t.Cleanup(server.Close)
	return []string{
		"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "ROLLER_API_URL=" + address,
		"TASKCLUSTER_CLIENT_ID=sheriff", "TASKCLUSTER_ACCESS_TOKEN=" + apiToken,
	}
}

// tell carries a command line out by the real program.
func tell(t *testing.T, env []string, line string) ran {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), rollerBinary, strings.Fields(line)...)
	cmd.Env, cmd.Dir = env, t.TempDir()
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		require.NoError(t, err)
	}
	require.NotContains(t, out.String()+errOut.String(), apiToken)
	return ran{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

func viewOf(task string, outcome workflows.Outcome) starter.View {
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	return starter.View{
		Job:     starter.Job{Task: task, TaskID: "e62c4d06-8101-4074-b3c2-c639005a4430", WorkflowID: "machine/mdc1/ms1-10"},
		Machine: "mdc1/ms1-10", Status: "Completed", Outcome: string(outcome), StartedAt: at, ClosedAt: at.Add(time.Minute),
		Result: &workflows.Result{
			Task: task, WorkerID: "ms1-10", WorkerGroup: "mdc1", Outcome: outcome, Why: "because",
			Attempts: []workflows.Attempt{{Rung: "ssh_reboot", StartedAt: at, EndedAt: at.Add(time.Minute), Outcome: workflows.NoEffect, Why: "it stayed up"}},
		},
	}
}

// A followed job's outcome is the real program's exit status, through a real API.
func TestOutcomesAreExitStatuses(t *testing.T) {
	t.Parallel()
	for outcome, status := range statuses {
		t.Run(string(outcome), func(t *testing.T) {
			t.Parallel()
			env := served(t, &oneJob{view: viewOf("reboot", outcome)})
			r := tell(t, env, "start reboot MS1-10 mdc1 --follow")
			require.Equal(t, status, r.status, "%+v", r)
			require.Contains(t, r.out, "started or joined: e62c4d06-8101-4074-b3c2-c639005a4430\n")
			require.Regexp(t, `\d\d:\d\d:\d\d  ssh_reboot +no_effect +it stayed up\n`, r.out)
			if status != 0 {
				require.Equal(t, fmt.Sprintf("roller: %s: because\n", outcome), r.err)
			}

			r = tell(t, env, "start reboot MS1-10 mdc1 --follow -o json")
			require.Equal(t, status, r.status)
			var j api.JobDetail
			require.NoError(t, json.Unmarshal([]byte(r.out), &j), r.out)
			require.Equal(t, outcome, j.Outcome)
		})
	}
	t.Run("a bug that was asked for", func(t *testing.T) {
		t.Parallel()
		r := tell(t, served(t, &oneJob{view: viewOf("file_bugzilla_bug", workflows.BugFiled)}), "start file_bugzilla_bug ms1-10 mdc1 -f")
		require.Zero(t, r.status, "%+v", r)
	})
	t.Run("no record", func(t *testing.T) {
		t.Parallel()
		v := viewOf("reboot", "")
		v.Status, v.Result = "Terminated", nil
		r := tell(t, served(t, &oneJob{view: v}), "start reboot ms1-10 mdc1 -f")
		require.Equal(t, 9, r.status, "%+v", r)
		require.Equal(t, "roller: the job is terminated\n", r.err)
	})
}

// An API that lets nobody wait is not asked more often for that.
func TestFollowingIsPaced(t *testing.T) {
	t.Parallel()
	asked := 0
	hasty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_ = json.NewEncoder(w).Encode(api.JobDetail{JobView: api.JobView{State: stateRunning}})
	}))
	t.Cleanup(hasty.Close)
	client, err := api.NewClient(hasty.URL, &config.Config{Taskcluster: config.Taskcluster{ClientID: "sheriff", AccessToken: config.NewSecret(apiToken)}})
	require.NoError(t, err)
	look, start := viaAPI{client}.watch(place{taskID: "x"}), time.Now()
	for range 3 {
		_, err := look(t.Context())
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, time.Since(start), 2*lookLeast)
	require.Equal(t, 3, asked)
}

func TestRefusalsAreExitStatuses(t *testing.T) {
	t.Parallel()
	running := starter.Job{Task: "ipmi_off", TaskID: "e62c4d06-8101-4074-b3c2-c639005a4430"}
	for name, tc := range map[string]struct {
		err    error
		env    []string
		line   string
		status int
		says   string
	}{
		"another job":    {&starter.Conflict{Running: running}, nil, "start reboot ms1-10 mdc1", 10, "ipmi_off (task_id e62c4d06-8101-4074-b3c2-c639005a4430) is running on this machine (RequestConflict, 409)"},
		"too many":       {starter.ErrNotStarted, nil, "start reboot ms1-10 mdc1", 12, "too many jobs were started"},
		"ended":          {starter.ErrClosed, nil, "cancel machine/mdc1/ms1-10", 10, "the job has ended already"},
		"no scope":       {nil, []string{"TASKCLUSTER_CLIENT_ID=stranger"}, "start reboot ms1-10 mdc1", 11, "is missing the scope project:releng:roller:reboot"},
		"wrong token":    {nil, []string{"TASKCLUSTER_ACCESS_TOKEN=x"}, "start reboot ms1-10 mdc1", 11, "the signature does not match"},
		"wrong input":    {nil, nil, "start ipmi_off ms1-10 mdc1", 2, "is not one of"},
		"no such task":   {nil, nil, "start dance ms1-10 mdc1", 2, `"dance" is not a task`},
		"no such output": {nil, nil, "start reboot ms1-10 mdc1 -o yaml", 2, "must be text or json"},
		"no API":         {nil, []string{"ROLLER_API_URL=http://127.0.0.1:1"}, "list", 1, "no answer from the API at http://127.0.0.1:1: dial tcp"},
		"a read's ID":    {nil, nil, "show read/ping/mdc1/ms1-10/x", 2, "--run must name the run"},
		"another ID":     {nil, nil, "show bug/mdc1/ms1-10", 2, "the API shows jobs of machines"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := tell(t, append(served(t, &oneJob{view: viewOf("reboot", workflows.Back), err: tc.err}), tc.env...), tc.line)
			require.Equal(t, tc.status, r.status, "%+v", r)
			require.Contains(t, r.err, tc.says)
		})
	}
}

// Show, list and cancel ask the API for what they ask Temporal for.
func TestJobsThroughTheAPI(t *testing.T) {
	t.Parallel()
	open := viewOf("reboot", workflows.Running)
	open.Result.Loan = &aLoan
	open.Status, open.ClosedAt, open.Live, open.Result.Why, open.Result.Now = "Running", time.Time{}, true, "", "watching"
	env := served(t, &oneJob{view: open})
	r := tell(t, env, "show machine/mdc1/ms1-10")
	require.Zero(t, r.status, "%+v", r)
	require.Contains(t, r.out, "reboot of mdc1/ms1-10  Running\ntask_id e62c4d06-8101-4074-b3c2-c639005a4430")
	require.Contains(t, r.out, "Now: watching")
	require.Contains(t, r.out, "**On loan** to mozilla-auth0/sheriff since 2026-01-02 03:04:05 UTC (bug 1), https://bugs.example/7\n")
	require.Contains(t, r.out, "1. `ssh_reboot` no_effect")
	for _, line := range []string{"list", "list --machine mdc1/ms1-10"} {
		r = tell(t, env, line)
		require.Zero(t, r.status, "%+v", r)
		require.Regexp(t, `reboot +mdc1/ms1-10 +running .*machine/mdc1/ms1-10 +e62c4d06`, r.out)
		r = tell(t, env, line+" -o json")
		var jobs []api.JobView
		require.NoError(t, json.Unmarshal([]byte(r.out), &jobs), r.out)
		require.Len(t, jobs, 1)
	}
	r = tell(t, env, "list --on-loan")
	require.Zero(t, r.status, "%+v", r)
	since := aLoan.Since.Local().Format(time.DateTime)
	require.Equal(t, "SINCE                MACHINE      CLIENT_ID              BUG                     WHY\n"+
		since+"  mdc1/ms1-10  mozilla-auth0/sheriff  https://bugs.example/7  bug 1\n", r.out)
	r = tell(t, env, "list --on-loan -o json")
	require.JSONEq(t, `[{"machine":"mdc1/ms1-10","client_id":"mozilla-auth0/sheriff","why":"bug 1","since":"2026-01-02T03:04:05Z","bug":"https://bugs.example/7"}]`, r.out)
	r = tell(t, env, "show machine/mdc1/ms1-10 --run e62c4d06-8101-4074-b3c2-c639005a4430 -o json")
	var j api.JobDetail
	require.NoError(t, json.Unmarshal([]byte(r.out), &j), r.out)
	require.Equal(t, "watching", j.Now)
	r = tell(t, env, "cancel machine/mdc1/ms1-10")
	require.Zero(t, r.status, "%+v", r)
	require.Equal(t, "cancellation requested\n", r.out)
	r = tell(t, env, "start ping ms1-10 mdc1")
	require.Contains(t, r.out, "see it with: roller show machine/mdc1/ms1-10 --run e62c4d06-8101-4074-b3c2-c639005a4430\n")
}

// Shells get tasks and machines, and nothing else.
func TestCompletion(t *testing.T) {
	t.Parallel()
	env := served(t, &oneJob{view: viewOf("reboot", workflows.Back)})
	inventory := newSite(t, lab.Spec{})
	for line, words := range map[string][]string{
		"__complete start ipmi_re":                  {"ipmi_reboot", "ipmi_reset"},
		"__complete start reboot ms":                {"ms1-10"},
		"__complete start reboot MS1":               {"ms1-10"},
		"__complete start reboot ms1-10 m":          {"mdc1"},
		"__complete start reboot ms1-10 mdc1 m":     nil,
		"__complete ssh_reboot ms":                  {"ms1-10"},
		"__complete show mach":                      {"machine/mdc1/ms1-10"},
		"__complete list --machine m":               {"mdc1/ms1-10"},
		"__complete start reboot ms1-10 mdc1 -o js": {"text", "json"}, // the shell chooses
	} {
		for from, env := range map[string][]string{"API": env, "inventory": append(inventory.env, "HOME="+t.TempDir())} {
			r := tell(t, env, line)
			var got []string
			for word := range strings.Lines(r.out) {
				if word = strings.TrimSpace(word); !strings.HasPrefix(word, ":") {
					got = append(got, word)
				}
			}
			require.Equal(t, words, got, "%s from the %s: %+v", line, from, r)
		}
	}
	require.Contains(t, tell(t, env, "completion powershell").out, "roller")
}

// Real shells complete by the scripts that the program prints.
func TestCompletionInShells(t *testing.T) {
	t.Parallel()
	const helpers = "/usr/share/bash-completion/bash_completion"
	for shell, script := range map[string]string{
		"bash": `. ` + helpers + `; source <(roller completion bash)
			COMP_WORDS=(roller start reb) COMP_CWORD=2 COMP_LINE="roller start reb" COMP_POINT=16 COMP_TYPE=9 COMP_KEY=9
			__start_roller 2>/dev/null; echo "${COMPREPLY[@]}"`,
		"fish": `roller completion fish | source; complete -C "roller start reb"`,
		"zsh":  `autoload -U compinit; compinit -u; source <(roller completion zsh); whence -w _roller >&2; roller __complete start reb | head -1`,
	} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			_, err := exec.LookPath(shell)
			if _, statErr := os.Stat(helpers); err != nil || shell == "bash" && statErr != nil {
				t.Skipf("%s is not installed here (Debian's packages zsh, fish and bash-completion); CI has it", shell)
			}
			home := t.TempDir()
			cmd := exec.CommandContext(t.Context(), shell, "-c", script)
			cmd.Dir = home
			cmd.Env = []string{"HOME=" + home, "TERM=dumb", "PATH=" + filepath.Dir(rollerBinary) + ":" + os.Getenv("PATH")}
			var errOut strings.Builder
			cmd.Stderr = &errOut
			out, err := cmd.Output()
			require.NoError(t, err, errOut.String())
			require.Equal(t, "reboot", strings.TrimSpace(string(out)), errOut.String())
			if shell == "zsh" {
				require.Contains(t, errOut.String(), "_roller: function")
			}
		})
	}
}
