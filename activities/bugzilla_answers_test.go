package activities_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/lab"
)

// Answers that are possible but rare, each in the place of the stand-in's own.
func TestBugzillaFileOddAnswers(t *testing.T) {
	t.Parallel()
	const (
		alias  = "GET /rest/bug/ms1-10"
		search = "GET /rest/bug"
		create = "POST /rest/bug"
		whoami = "GET /rest/whoami"
		bug    = `{"bugs":[{"id":7,"is_open":true,"product":"Infrastructure & Operations","component":"DCOps","summary":"` + brokenFQDN + ` is unreachable"}]}`
	)
	cases := map[string]struct {
		request string
		status  int
		answer  string
		meaning activities.Meaning // "": the report is filed as if nothing was odd
		text    string
	}{
		"whoami is nobody":        {request: whoami, status: 200, answer: `{"id":0}`},
		"whoami wants a login":    {request: whoami, status: 401, answer: `{"error":true,"code":410,"message":"log in"}`},
		"code in quotes":          {request: alias, status: 400, answer: `{"error":true,"code":"100","message":"no such alias"}`},
		"alias without a bug":     {request: alias, status: 200, answer: `{"bugs":[]}`},
		"search ignores product":  {request: search, status: 200, answer: strings.Replace(bug, "Infra", "Ultra", 1)},
		"search ignores part":     {request: search, status: 200, answer: strings.Replace(bug, "DCOps", "Other", 1)},
		"search ignores closed":   {request: search, status: 200, answer: strings.Replace(bug, "true", "false", 1)},
		"search, other shape":     {request: search, status: 200, answer: `{"bugs":{}}`, meaning: activities.NotSent, text: "bugzilla: GET /rest/bug: JSON of another shape"},
		"search, locked account":  {request: search, status: 401, answer: `{"error":true,"code":301,"message":"disabled"}`, meaning: activities.Refused, text: "bugzilla: GET /rest/bug: disabled (code 301)"},
		"alias, locked account":   {request: alias, status: 401, answer: `{"error":true,"code":301,"message":"disabled"}`, meaning: activities.Refused, text: "bugzilla: GET /rest/bug/ms1-10: disabled (code 301)"},
		"rate limit by status":    {request: search, status: 429, answer: `{}`, meaning: activities.NotSent, text: "bugzilla: GET /rest/bug: status 429"},
		"rate limit by code":      {request: search, status: 400, answer: `{"error":true,"code":32000,"message":"slow down"}`, meaning: activities.NotSent, text: "bugzilla: GET /rest/bug: slow down (code 32000)"},
		"Bugzilla's own mistake":  {request: search, status: 400, answer: `{"error":true,"code":-32000,"message":"oops"}`, meaning: activities.NotSent, text: "bugzilla: GET /rest/bug: oops (code -32000)"},
		"error with status 200":   {request: create, status: 200, answer: `{"error":true,"code":104,"message":"illegal field"}`, meaning: activities.Refused, text: "bugzilla: POST /rest/bug: illegal field (code 104)"},
		"refused without a code":  {request: create, status: 403, answer: `{}`, meaning: activities.Refused, text: "bugzilla: POST /rest/bug: status 403"},
		"created without number":  {request: create, status: 200, answer: `{}`, meaning: activities.NotSent, text: "bugzilla: no bug number in the answer (the answer was lost)"},
		"longer than can be read": {request: search, status: 200, answer: `"` + strings.Repeat("x", 8<<20) + `"`, meaning: activities.NotSent, text: "bugzilla: GET /rest/bug: the answer is longer than 8388608 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := lab.NewBugzilla(bugzillaKey)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				// The tracker is created as ever; the odd answer is for the report.
				if r.Method+" "+r.URL.Path != c.request || r.Method == http.MethodPost && len(b.Bugs()) == 0 {
					b.ServeHTTP(w, r)
					return
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.answer)) // fails when the client has read enough
			}))
			t.Cleanup(server.Close)
			got, err := bugzillaActivities(server.URL).BugzillaFile(t.Context(), brokenMachine())
			if c.meaning != "" {
				requireMeaning(t, err, c.meaning)
				require.Equal(t, c.text, appMessage(t, err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, activities.BugResult{ID: 2, URL: server.URL + "/show_bug.cgi?id=2", Created: true, Tracker: 1}, got)
		})
	}
}
