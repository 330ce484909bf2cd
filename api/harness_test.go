package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const (
	public      = "http://roller.test"
	accessToken = "the-access-token-of-a-sheriff"
	taskID      = "e62c4d06-8101-4074-b3c2-c639005a4430"
)

// Who may ping and command BMCs, who may only look, and who may do nothing.
var (
	sheriff  = tcclient.Credentials{ClientID: "mozilla-auth0/ad|sheriff", AccessToken: accessToken}
	monitor  = tcclient.Credentials{ClientID: "monitor", AccessToken: accessToken}
	stranger = tcclient.Credentials{ClientID: "stranger", AccessToken: accessToken}
)

// fakeStarter answers every question alike and remembers what it was asked for.
type fakeStarter struct {
	job  starter.Job
	view starter.View // the one job that there is
	next []byte       // the token of the page after it
	err  error        // of everything
	// loans are the machines that are on loan.
	loans map[string]workflows.LoanReading
	// What becomes of the job while somebody waits for it, each time.
	change func(context.Context, starter.View) (starter.View, error)
	onShow func(context.Context)

	mu        sync.Mutex
	asked     []starter.Request
	filters   []starter.Filter
	tokens    []string
	cancelled []string
	deadlines map[string]time.Time // of the last question of each kind
}

func (f *fakeStarter) note(ctx context.Context, what string) {
	if f.deadlines == nil {
		f.deadlines = map[string]time.Time{}
	}
	f.deadlines[what], _ = ctx.Deadline()
}

func (f *fakeStarter) Page(ctx context.Context, filter starter.Filter, size int, token []byte) ([]starter.View, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(ctx, "page")
	f.filters, f.tokens = append(f.filters, filter), append(f.tokens, fmt.Sprintf("%d %s", size, token))
	if f.err != nil || f.view.TaskID == "" {
		return nil, nil, f.err
	}
	return []starter.View{f.view}, f.next, nil
}

func (f *fakeStarter) Find(ctx context.Context, machine config.Name, id string) (starter.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(ctx, "find")
	if f.err == nil && (id != f.view.TaskID || machine.String() != f.view.Machine) {
		return starter.View{}, starter.ErrNoJob
	}
	return f.view, f.err
}

func (f *fakeStarter) Show(ctx context.Context, _, _ string) (starter.View, error) {
	if f.onShow != nil {
		f.onShow(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view, f.err
}

func (f *fakeStarter) AwaitChange(ctx context.Context, seen starter.View) error {
	v, err := f.change(ctx, seen)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view = v
	return err
}

func (f *fakeStarter) Loans(ctx context.Context) (map[string]workflows.LoanReading, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(ctx, "loans")
	return f.loans, f.err
}

func (f *fakeStarter) Cancel(ctx context.Context, workflowID, runID string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(ctx, "cancel")
	f.cancelled = append(f.cancelled, workflowID+" "+runID)
	if f.view.Status != "Running" {
		return fmt.Errorf("%w (completed)", starter.ErrClosed)
	}
	return f.err
}

func (f *fakeStarter) Start(ctx context.Context, r starter.Request) (starter.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
	if err := ctx.Err(); err != nil {
		return starter.Job{}, err
	}
	if r.NoStart && f.err == nil && !f.job.Joined && !f.job.Repeated {
		return starter.Job{}, starter.ErrNotStarted
	}
	return f.job, f.err
}

func (f *fakeStarter) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeStarter) requests() []starter.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// harness is the API on loopback as http://roller.test, with the stand-in for
// Taskcluster's auth service behind it.
type harness struct {
	t       *testing.T
	auth    *lab.Auth
	root    string // of the deployment that it plays
	starter *fakeStarter
	logs    *logBuffer
	client  *http.Client
}

// setup changes what a harness is built of.
type setup func(*config.Config, *server)

func newHarness(t *testing.T, changes ...setup) *harness {
	t.Helper()
	h := &harness{
		t: t, logs: &logBuffer{}, starter: &fakeStarter{job: starter.Job{TaskID: taskID}},
		auth: lab.NewAuth(lab.Client{
			ID: sheriff.ClientID, AccessToken: accessToken,
			Scopes: []string{"project:releng:roller:ping", "project:releng:roller:ipmi_*", "queue:*", "auth:create-client:" + sheriff.ClientID + "/*"},
		}, lab.Client{ID: monitor.ClientID, AccessToken: accessToken, Scopes: []string{"project:releng:roller:view"}},
			lab.Client{ID: stranger.ClientID, AccessToken: accessToken, Scopes: []string{"queue:*"}}),
	}
	root, err := h.auth.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.auth.Close()) })
	h.root = root
	h.serve(testConfig(root), changes)
	return h
}

func testConfig(rootURL string) *config.Config {
	return &config.Config{
		API: config.API{
			PublicURL: public, CORSOrigin: "https://tools.taskcluster.net",
			AllowedHosts: []string{"localhost", "[::1]"},
			TaskNames:    []string{"ping", "reboot", "ipmi_reset"},
			ScopeSets:    [][]string{{"project:releng:roller:{task_name}"}},
			StartTimeout: config.Duration(10 * time.Second),
		},
		Taskcluster: config.Taskcluster{RootURL: rootURL, Timeout: config.Duration(10 * time.Second)},
	}
}

func (h *harness) serve(cfg *config.Config, changes []setup) {
	h.t.Helper()
	for _, change := range changes {
		change(cfg, nil)
	}
	s, err := newServer(cfg, Deps{Starter: h.starter, Logger: slog.New(slog.NewJSONHandler(h.logs, nil))})
	require.NoError(h.t, err)
	s.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	s.newID = func() string { return "request-1" }
	for _, change := range changes {
		change(nil, s)
	}
	web := httptest.NewServer(s.routes())
	h.t.Cleanup(web.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", web.Listener.Addr().String())
	}}
	h.t.Cleanup(transport.CloseIdleConnections)
	h.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func withConfig(change func(*config.Config)) setup {
	return func(cfg *config.Config, _ *server) {
		if cfg != nil {
			change(cfg)
		}
	}
}

func withServer(change func(*server)) setup {
	return func(_ *config.Config, s *server) {
		if s != nil {
			change(s)
		}
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// request returns a signed POST of a path and query.
func (h *harness) request(path string, who tcclient.Credentials) *http.Request {
	h.t.Helper()
	return h.signed(http.MethodPost, path, who)
}

func (h *harness) signed(method, path string, who tcclient.Credentials) *http.Request {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, public+path, nil)
	require.NoError(h.t, err)
	require.NoError(h.t, who.SignRequest(r))
	return r
}

// do sends a request and checks what holds for every answer: CORS headers, JSON,
// and nothing secret in answer or logs.
func (h *harness) do(r *http.Request) answer {
	h.t.Helper()
	response, err := h.client.Do(r)
	require.NoError(h.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(h.t, err)
	a := answer{response.StatusCode, response.Header, string(body)}
	require.Equal(h.t, "https://tools.taskcluster.net", a.header.Get("Access-Control-Allow-Origin"))
	require.Equal(h.t, "Authorization,Content-Type,If-None-Match,Idempotency-Key", a.header.Get("Access-Control-Allow-Headers"))
	require.Equal(h.t, "GET,POST,DELETE,OPTIONS", a.header.Get("Access-Control-Allow-Methods"))
	if a.status != http.StatusNotModified {
		require.Equal(h.t, "application/json; charset=utf-8", a.header.Get("Content-Type"))
		require.True(h.t, json.Valid(body), "%s", body)
	}
	h.keepsSecrets(r.Header.Get("Authorization"), a)
	requireDescribed(h.t, r, a)
	return a
}

var macAttribute = regexp.MustCompile(`mac="([^"]*)"`)

func (h *harness) keepsSecrets(authorization string, a answer) {
	h.t.Helper()
	secrets := []string{accessToken}
	if _, value, _ := strings.Cut(authorization, " "); len(value) > 3 {
		quoted, err := json.Marshal(value) // as it would stand in a JSON log line
		require.NoError(h.t, err)
		secrets = append(secrets, value, strings.Trim(string(quoted), `"`))
	}
	if mac := macAttribute.FindStringSubmatch(authorization); mac != nil {
		secrets = append(secrets, mac[1])
	}
	var headers strings.Builder
	require.NoError(h.t, a.header.Write(&headers))
	for _, secret := range secrets {
		for place, text := range map[string]string{
			"answer": a.body, "headers": headers.String(), "log": h.logs.String(), "standard log": standardLog.String(),
		} {
			require.NotContains(h.t, text, secret, place)
		}
	}
}

// line returns the log's last line.
func (h *harness) line() map[string]any {
	h.t.Helper()
	lines := strings.Split(strings.TrimSpace(h.logs.String()), "\n")
	var line map[string]any
	require.NoError(h.t, json.Unmarshal([]byte(lines[len(lines)-1]), &line))
	return line
}

// golden compares an answer, status and headers of its own included, with the
// file of the test.
func golden(t *testing.T, a answer) {
	t.Helper()
	var body any
	require.NoError(t, json.Unmarshal([]byte(a.body), &body))
	own := map[string]string{}
	for _, name := range []string{"Www-Authenticate", "Retry-After", "Allow", "X-Request-Id"} {
		if v := a.header.Get(name); v != "" {
			own[name] = v
		}
	}
	text, err := json.MarshalIndent(map[string]any{"status": a.status, "headers": own, "body": body}, "", "  ")
	require.NoError(t, err)
	name := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "_"))
	file := filepath.Join("testdata", name+".golden.json")
	if *update {
		require.NoError(t, os.WriteFile(file, append(text, '\n'), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(text)+"\n")
}

// TestGoldenFilesAreUsed finds files whose test is gone.
func TestGoldenFilesAreUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, names := range [][]string{keys("testrefused_", refusedCases()), keys("teststarted_", startedCases())} {
		for _, name := range names {
			used[filepath.Join("testdata", name+".golden.json")] = true
		}
	}
	files, err := filepath.Glob("testdata/*.golden.json")
	require.NoError(t, err)
	for _, file := range files {
		require.True(t, used[file], file)
	}
	require.Len(t, files, len(used))
}

func keys[V any](prefix string, cases map[string]V) []string {
	var names []string
	for name := range maps.Keys(cases) {
		names = append(names, prefix+strings.ToLower(strings.ReplaceAll(name, " ", "_")))
	}
	return names
}
