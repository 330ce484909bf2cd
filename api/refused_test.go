package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
)

const pingPath = "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ping"

// refusedCase is one bad request. What it does not say is as in a good one.
type refusedCase struct {
	path    string
	who     tcclient.Credentials
	setup   []setup
	harness func(*harness)
	request func(*http.Request)

	status  int
	code    code
	message string // a part of it
	asks    bool   // the starter was asked, and refused
}

func refusedCases() map[string]refusedCase {
	cases := map[string]refusedCase{}
	for _, some := range []map[string]refusedCase{loginCases(), scopeCases(), inputCases(), placeCases(), backendCases()} {
		maps.Copy(cases, some)
	}
	return cases
}

func header(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", value) }
}

func loginCases() map[string]refusedCase {
	clock := func(d time.Duration) func(*harness) {
		return func(h *harness) { h.auth.Now = func() time.Time { return time.Now().Add(d) } }
	}
	return map[string]refusedCase{
		"no header": {
			request: func(r *http.Request) { r.Header.Del("Authorization") },
			status:  401, code: authFailed, message: "the Authorization header is missing",
		},
		"bearer": {request: header("Bearer eyJjbGllbnRJZCI6IngifQ=="), status: 401, code: authFailed, message: "Bearer is not accepted"},
		"basic":  {request: header("Basic c2hlcmlmZjp4"), status: 401, code: authFailed, message: "only Hawk"},
		"hawk without attributes": {
			request: header("Hawk"), status: 401, code: authFailed, message: "not a complete Hawk signature",
		},
		"wrong token": {
			who:    tcclient.Credentials{ClientID: sheriff.ClientID, AccessToken: "another"},
			status: 401, code: authFailed, message: "the signature does not match",
		},
		"unknown client": {
			who:    tcclient.Credentials{ClientID: "nobody", AccessToken: accessToken},
			status: 401, code: authFailed, message: "no such Taskcluster client",
		},
		"stale":      {harness: clock(16 * time.Minute), status: 401, code: authFailed, message: "more than 15 minutes off"},
		"far future": {harness: clock(-16 * time.Minute), status: 401, code: authFailed, message: "more than 15 minutes off"},
		"signed for another query": {
			request: func(r *http.Request) { r.URL.RawQuery += "&worker_type=x" },
			status:  401, code: authFailed, message: "the signature does not match",
		},
		"signed for another site": {
			request: func(r *http.Request) {
				r.URL.Host = "evil.test"
				if err := sheriff.SignRequest(r); err != nil {
					panic(err)
				}
				r.URL.Host, r.Host = "roller.test", "roller.test"
				r.Header.Set("X-Forwarded-Host", "evil.test")
			},
			status: 401, code: authFailed, message: "the signature does not match",
		},
		"a time that is no number": {
			request: func(r *http.Request) { r.Header.Set("Authorization", signedAt("tomorrow")) },
			status:  401, code: authFailed, message: "ts must be a number of seconds",
		},
		"more scopes than held": {
			who:    tcclient.Credentials{ClientID: sheriff.ClientID, AccessToken: accessToken, AuthorizedScopes: []string{"project:releng:roller:reboot"}},
			status: 401, code: authFailed, message: "do not have the scopes",
		},
		"unknown task without a login": {
			path:    "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=reimage",
			request: func(r *http.Request) { r.Header.Del("Authorization") },
			status:  401, code: authFailed, message: "the Authorization header is missing",
		},
	}
}

// signedAt is a true signature of a ping, with a time of one's own.
func signedAt(ts string) string {
	text := []string{"hawk.1.header", ts, "nonce", http.MethodPost, pingPath, "roller.test", "80", "", "", ""}
	mac := hmac.New(sha256.New, []byte(accessToken))
	mac.Write([]byte(strings.Join(text, "\n")))
	return fmt.Sprintf(`Hawk id="%s", ts="%s", nonce="nonce", mac="%s"`, sheriff.ClientID, ts, base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func scopeCases() map[string]refusedCase {
	const reboot = "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=reboot"
	sets := func(sets ...[]string) []setup {
		return []setup{withConfig(func(c *config.Config) { c.API.ScopeSets = sets })}
	}
	return map[string]refusedCase{
		"missing scope": {
			path: reboot, status: 403, code: insufficientScopes,
			message: "is missing the scope project:releng:roller:reboot",
		},
		"missing both sets": {
			path: reboot, setup: sets([]string{"a:{task_name}", "queue:x"}, []string{"b:{task_name}"}),
			status: 403, code: insufficientScopes, message: "is missing the scope a:reboot, or b:reboot",
		},
		"no scope configured": {setup: sets(), status: 403, code: insufficientScopes, message: "none is configured"},
		"empty scope set":     {setup: sets([]string{}), status: 403, code: insufficientScopes, message: "none is configured"},
		"limited to no scope": {
			who:    tcclient.Credentials{ClientID: sheriff.ClientID, AccessToken: accessToken, AuthorizedScopes: []string{}},
			status: 403, code: insufficientScopes, message: "is missing the scope project:releng:roller:ping",
		},
		"missing scope before a wrong name": {
			path:   "/api/v1/workers/-x/group/mdc1/jobs?task_name=reboot",
			status: 403, code: insufficientScopes, message: "project:releng:roller:reboot",
		},
	}
}

func inputCases() map[string]refusedCase {
	jobs := func(id, group, task string) string {
		return fmt.Sprintf("/api/v1/workers/%s/group/%s/jobs?task_name=%s", id, group, task)
	}
	lends := []setup{withConfig(func(c *config.Config) {
		c.API.TaskNames, c.API.ScopeSets = []string{"loan", "return_loan"}, [][]string{{"project:releng:roller:ping"}}
	})}
	managed := []setup{withConfig(func(c *config.Config) { c.API.WorkerIDs = `ms\d+-\d+` })}
	return map[string]refusedCase{
		"unknown task":      {path: jobs("ms1-10", "mdc1", "reimage"), status: 400, code: inputInvalid, message: `task_name: "reimage" is not one of ping, reboot, ipmi_reset`},
		"no task":           {path: "/api/v1/workers/ms1-10/group/mdc1/jobs", status: 400, code: inputInvalid, message: "task_name: is required"},
		"empty worker id":   {path: jobs("", "mdc1", "ping"), status: 400, code: inputInvalid, message: "worker_id: must be 1 to 128 characters"},
		"empty group":       {path: jobs("ms1-10", "", "ping"), status: 400, code: inputInvalid, message: "worker_group: must be 1 to 128 characters"},
		"long worker id":    {path: jobs(strings.Repeat("a", 129), "mdc1", "ping"), status: 400, code: inputInvalid, message: "worker_id: must be 1 to 128 characters"},
		"long group":        {path: jobs("ms1-10", strings.Repeat("a", 129), "ping"), status: 400, code: inputInvalid, message: "worker_group: must be 1 to 128 characters"},
		"leading dash":      {path: jobs("-f", "mdc1", "ping"), status: 400, code: inputInvalid, message: "must not begin with -"},
		"slash in the id":   {path: jobs("a%2Fb", "mdc1", "ping"), status: 400, code: inputInvalid, message: "worker_id: must be"},
		"newline in the id": {path: jobs("a%0A", "mdc1", "ping"), status: 400, code: inputInvalid, message: "worker_id: must be"},
		"wrong optionals": {
			path:   "/api/v1/workers/ms1-10/jobs?task_name=ping&worker_group=a.b&provisioner_id=a/b&worker_type=" + strings.Repeat("a", 129),
			status: 400, code: inputInvalid, message: "worker_type: must be 1 to 128 characters",
		},
		"two tasks":       {path: jobs("ms1-10", "mdc1", "ping&task_name=ipmi_reset"), status: 400, code: inputInvalid, message: "task_name: must stand there once"},
		"malformed query": {path: jobs("ms1-10", "mdc1", "ping&x=%zz"), status: 400, code: inputInvalid, message: "query: is malformed: % must be followed by two hexadecimal digits"},
		"all at once":     {path: jobs("a%20b", "-", "nothing"), status: 400, code: inputInvalid, message: "task_name: \"nothing\" is not one of"},
		"strange priority": {
			path:   "/api/v1/workers/ms1-10/jobs?task_name=ping&priority=1",
			status: 400, code: inputInvalid, message: "priority: must be bulk",
		},
		"strange drain": {
			path:   "/api/v1/workers/ms1-10/jobs?task_name=ipmi_reset&drain=perhaps",
			status: 400, code: inputInvalid, message: "drain: must be true, false or absent",
		},
		"a drained read": {
			path:   "/api/v1/workers/ms1-10/jobs?task_name=ping&drain=true",
			status: 400, code: inputInvalid, message: `drain: is nothing that "ping" can do`,
		},
		"a reason for a reboot": {
			path:   "/api/v1/workers/ms1-10/jobs?task_name=ipmi_reset&why=x",
			status: 400, code: inputInvalid, message: "why: is for loan and return_loan only",
		},
		"a reason of two lines": {
			path: "/api/v1/workers/ms1-10/jobs?task_name=loan&why=x%0Ay", setup: lends,
			status: 400, code: inputInvalid, message: "why: must be one line of at most 200 bytes",
		},
		"a reboot without a reimage": {
			path:   "/api/v1/workers/ms1-10/jobs?task_name=ipmi_reset&reimage=false",
			status: 400, code: inputInvalid, message: "reimage: must be false, for return_loan, or absent",
		},
		"a drained loan": {
			path: "/api/v1/workers/ms1-10/jobs?task_name=loan&drain=true", setup: lends,
			status: 400, code: inputInvalid, message: `drain: is nothing that "loan" can do`,
		},
		"drained of what": {
			path:   "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset&drain=true&worker_type=w",
			setup:  []setup{withInventory()},
			status: 400, code: inputInvalid, message: "provisioner_id: is needed, and so is worker_type: the inventory does not name",
		},
		"body": {
			request: func(r *http.Request) { setBody(r, "{}", 2) },
			status:  400, code: inputInvalid, message: "body: must be empty: the signature does not cover it",
		},
		"long idempotency key": {
			request: func(r *http.Request) { r.Header.Set("Idempotency-Key", strings.Repeat("a", 256)) },
			status:  400, code: inputInvalid, message: "Idempotency-Key: must be 1 to 255 visible ASCII characters",
		},
		"two idempotency keys": {
			request: func(r *http.Request) { r.Header["Idempotency-Key"] = []string{"a", "b"} },
			status:  400, code: inputInvalid, message: "Idempotency-Key: must stand there once",
		},
		"body of unknown length": {
			request: func(r *http.Request) { setBody(r, "{}", -1) },
			status:  400, code: inputInvalid, message: "body: must be empty",
		},
		"not managed": {
			path: jobs("t-linux64-ms-001", "mdc1", "ipmi_reset"), setup: managed,
			status: 404, code: notFound, message: "Not a managed host.",
		},
		"unknown machine": {
			path: jobs("ms1-11", "mdc1", "ping"), setup: []setup{withInventory()},
			status: 404, code: notFound, message: `machine "ms1-11" is not in worker group "mdc1"`,
		},
		"unknown group": {
			path: jobs("ms1-10", "mdc9", "ping"), setup: []setup{withInventory()},
			status: 404, code: notFound, message: `worker group "mdc9" is not in the inventory`,
		},
	}
}

func placeCases() map[string]refusedCase {
	return map[string]refusedCase{
		"wrong host": {request: func(r *http.Request) { r.Host = "evil.test" }, status: 400, code: inputInvalid, message: "does not answer for the host"},
		"host that only begins like ours": {
			request: func(r *http.Request) { r.Host = "roller.test.evil.test" },
			status:  400, code: inputInvalid, message: "does not answer for the host",
		},
		"preflight for a wrong host": {
			request: func(r *http.Request) { r.Method, r.Host = http.MethodOptions, "evil.test" },
			status:  400, code: inputInvalid, message: "does not answer for the host",
		},
		"no such path":   {path: "/api/v1/nothing", status: 404, code: notFound, message: "nothing at this path"},
		"trailing slash": {path: "/api/v1/workers/ms1-10/jobs/?task_name=ping", status: 404, code: notFound, message: "nothing at this path"},
		"wrong method": {
			request: func(r *http.Request) { r.Method = http.MethodPut },
			status:  405, code: methodNotAllowed, message: "does not take PUT",
		},
	}
}

func backendCases() map[string]refusedCase {
	fails := func(err error) func(*harness) { return func(h *harness) { h.starter.err = err } }
	fault := func(f lab.AuthFault) func(*harness) { return func(h *harness) { h.auth.SetFault(f) } }
	// What never answers is not waited for: the answer does not depend on how long.
	soon := []setup{withConfig(func(c *config.Config) { c.Taskcluster.Timeout = config.Duration(300 * time.Millisecond) })}
	running := starter.Job{Task: "reboot", TaskID: taskID}
	const authDown, temporalDown = "the authentication service does not answer", "jobs cannot be started now"
	return map[string]refusedCase{
		"auth refuses connections": {
			setup:  []setup{withConfig(func(c *config.Config) { c.Taskcluster.RootURL = "http://127.0.0.1:1" }), soon[0]},
			status: 503, code: unavailable, message: authDown,
		},
		"auth fails":         {setup: soon, harness: fault(lab.AuthUnavailable), status: 503, code: unavailable, message: authDown},
		"auth is silent":     {setup: soon, harness: fault(lab.AuthSlow), status: 503, code: unavailable, message: authDown},
		"auth talks garbage": {setup: soon, harness: fault(lab.AuthGarbage), status: 503, code: unavailable, message: authDown},
		"auth is not there": {
			setup: soon, harness: func(h *harness) { require.NoError(h.t, h.auth.Close()) },
			status: 503, code: unavailable, message: authDown,
		},
		"auth has another path": {
			setup:  []setup{withConfig(func(c *config.Config) { c.Taskcluster.RootURL += "/elsewhere" })},
			status: 500, code: internal, message: failedMessage,
		},
		"temporal is down": {
			harness: fails(fmt.Errorf("%w: dial tcp 10.0.0.7:7233: refused", starter.ErrUnavailable)), asks: true,
			status: 503, code: unavailable, message: temporalDown,
		},
		"another job is running": {
			harness: fails(&starter.Conflict{Running: running}), asks: true,
			status: 409, code: conflict, message: "reboot (task_id " + taskID + ") is running on this machine",
		},
		"job is being cancelled": {
			harness: fails(fmt.Errorf("start: %w", &starter.Conflict{Running: running, Cancelling: true})), asks: true,
			status: 409, code: conflict, message: "is being cancelled on this machine",
		},
		"idempotency key of another request": {
			harness: fails(&starter.Reused{First: running}), asks: true,
			status: 409, code: conflict, message: "Idempotency-Key: it was used before, for reboot (task_id " + taskID + ")",
		},
		"joined too often": {
			harness: fails(fmt.Errorf("%w: reboot (task_id %s)", starter.ErrCrowded, taskID)), asks: true,
			status: 429, code: tooMany, message: "too many requests have joined the running job: reboot",
		},
		"over the limit": {
			setup: []setup{func() setup {
				limited, _ := withLimits(config.Limit{Jobs: 1, Per: time.Hour}, config.Limit{})
				return limited
			}(), withServer(func(s *server) {
				_, settle := s.limits.take(sheriff.ClientID)
				settle(true)
			})},
			harness: fails(starter.ErrNotStarted), asks: true, path: resetPath,
			status: 429, code: tooMany, message: "too many jobs were started: ask again later",
		},
		"starter is wrong": {harness: fails(errors.New("a backend's own text")), asks: true, status: 500, code: internal, message: failedMessage},
		"panic": {
			setup:  []setup{withServer(func(s *server) { s.Starter = nil })},
			status: 500, code: internal, message: failedMessage,
		},
	}
}

// setBody gives a signed request a body.
func setBody(r *http.Request, text string, length int64) {
	r.Body, r.ContentLength = http.NoBody, length
	if text != "" {
		r.Body = readCloser{strings.NewReader(text)}
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// withInventory gives the API an inventory of ms1-10 in mdc1.
func withInventory() setup {
	return withServer(func(s *server) {
		dir, err := os.MkdirTemp("", "inventory")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		text := map[string]string{
			"ipmi": `{"ms1-10.test.releng.mdc1.mozilla.com": {"ipmi": {"user": "u", "password": "p"}}}`,
			"ssh":  "{}", "pdus": "{}", "xen": "{}",
		}
		for name, content := range text {
			if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(content), 0o600); err != nil {
				panic(err)
			}
		}
		cfg, err := config.Load([]string{
			"ROLLER_CONFIGURATION=Test",
			"FQDN_TO_IPMI_FILE=" + dir + "/ipmi.json", "FQDN_TO_SSH_FILE=" + dir + "/ssh.json",
			"FQDN_TO_PDU_FILE=" + dir + "/pdus.json", "FQDN_TO_XEN_FILE=" + dir + "/xen.json",
		})
		if err != nil {
			panic(err)
		}
		inventory, err := config.LoadInventory(cfg.Files)
		if err != nil {
			panic(err)
		}
		s.Inventory = func() *config.Inventory { return inventory }
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range refusedCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, tc.setup...)
			if tc.harness != nil {
				tc.harness(h)
			}
			if tc.who.ClientID == "" {
				tc.who = sheriff
			}
			if tc.path == "" {
				tc.path = pingPath
			}
			r := h.request(tc.path, tc.who)
			if tc.request != nil {
				tc.request(r)
			}
			a := h.do(r)
			require.Equal(t, tc.status, a.status, a.body)
			require.Contains(t, a.body, `"code":"`+string(tc.code)+`"`)
			golden(t, a)
			requireMessage(t, tc.message, a)
			if !tc.asks {
				require.Empty(t, h.starter.requests())
			}
			line := h.line()
			require.Equal(t, string(tc.code), line["decision"])
			require.EqualValues(t, tc.status, line["status"])
		})
	}
}
