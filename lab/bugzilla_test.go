package lab_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

const bugzillaKey = "s3cret-bugzilla"

// bugzillaPeer is a stand-in that is served, with the plainest of clients.
type bugzillaPeer struct {
	*lab.Bugzilla
	url string
}

func startBugzilla(t *testing.T) bugzillaPeer {
	t.Helper()
	b := lab.NewBugzilla(bugzillaKey)
	url, err := b.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return bugzillaPeer{b, url}
}

func (p bugzillaPeer) ask(t *testing.T, method, path, key, body string) (status int, header http.Header, text string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if key != "" {
		req.Header.Set("X-BUGZILLA-API-KEY", key)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(all), err
}

func TestBugzillaCodes(t *testing.T) {
	t.Parallel()
	const form = `"product":"P","component":"C","summary":"S","version":"unspecified"`
	const withKey = `"api_key":"` + bugzillaKey + `",`
	cases := map[string]struct {
		mode                       lab.BugzillaMode
		method, path, header, body string
		status, code               int
		text                       string // part of the answer
	}{
		"bug by alias":            {method: "GET", path: "/rest/bug/ms1-1", status: 200, text: `"alias":["ms1-1"]`},
		"bug by number":           {method: "GET", path: "/rest/bug/1", status: 200, text: `"is_open":true`},
		"unknown alias":           {method: "GET", path: "/rest/bug/ms1-9", status: 400, code: 100},
		"missing number":          {method: "GET", path: "/rest/bug/99", status: 404, code: 101},
		"bad key":                 {method: "GET", path: "/rest/bug/1?api_key=bad", status: 400, code: 306},
		"bad key in a body":       {method: "POST", path: "/rest/bug", body: `{"api_key":"bad"}`, status: 400, code: 306},
		"no login":                {method: "POST", path: "/rest/bug", body: `{` + form + `}`, status: 401, code: 410},
		"missing field":           {method: "POST", path: "/rest/bug", body: `{` + withKey + `"product":"P"}`, status: 400, code: 50},
		"duplicate alias":         {method: "POST", path: "/rest/bug", body: `{` + withKey + form + `,"alias":"MS1-1"}`, status: 400, code: 103},
		"numeric alias":           {method: "POST", path: "/rest/bug", body: `{` + withKey + form + `,"alias":"12"}`, status: 400, code: 103},
		"created":                 {method: "POST", path: "/rest/bug", body: `{` + withKey + form + `,"alias":"ms1-2"}`, status: 200, text: `{"id":3}`},
		"created, key in query":   {method: "POST", path: "/rest/bug?api_key=" + bugzillaKey, body: `{` + form + `}`, status: 200, text: `{"id":3}`},
		"commented":               {method: "POST", path: "/rest/bug/1/comment", body: `{` + withKey + `"comment":"hello"}`, status: 201, text: `"id":1001`},
		"empty comment":           {method: "POST", path: "/rest/bug/1/comment", body: `{` + withKey + `"comment":" "}`, status: 400, code: 50},
		"unknown status":          {method: "PUT", path: "/rest/bug/1", body: `{` + withKey + `"status":"NOPE"}`, status: 404, code: 51},
		"blocks an unknown bug":   {method: "PUT", path: "/rest/bug/1", body: `{` + withKey + `"blocks":{"add":[99]}}`, status: 404, code: 101},
		"malformed body":          {method: "PUT", path: "/rest/bug/1", body: `{`, status: 400, code: 32000},
		"private to a stranger":   {method: "GET", path: "/rest/bug/2", status: 401, code: 102},
		"private with the key":    {method: "GET", path: "/rest/bug/2?api_key=" + bugzillaKey, status: 200},
		"upstream's header":       {method: "GET", path: "/rest/bug/2", header: bugzillaKey, status: 401, code: 102},
		"bmo's header":            {mode: lab.BugzillaBMO, method: "GET", path: "/rest/bug/2", header: bugzillaKey, status: 200},
		"bmo ignores the query":   {mode: lab.BugzillaBMO, method: "GET", path: "/rest/bug/2?api_key=" + bugzillaKey, status: 401, code: 102},
		"a GET's body is ignored": {method: "GET", path: "/rest/bug/2", body: `{` + withKey + `"x":1}`, status: 401, code: 102},
		"upstream has no whoami":  {method: "GET", path: "/rest/whoami", header: bugzillaKey, status: 404, code: 32614},
		"bmo's whoami":            {mode: lab.BugzillaBMO, method: "GET", path: "/rest/whoami", header: bugzillaKey, status: 200, text: `"id":1`},
		"bmo's whoami, stranger":  {mode: lab.BugzillaBMO, method: "GET", path: "/rest/whoami", status: 401, code: 410},
		"search finds parts":      {method: "GET", path: "/rest/bug?summary=TRACK&resolution=---&product=P", status: 200, text: `"id":1`},
		"search hides private":    {method: "GET", path: "/rest/bug?summary=hidden", status: 200, text: `{"bugs":[]}`},
		"search, wrong component": {method: "GET", path: "/rest/bug?summary=track&component=D", status: 200, text: `{"bugs":[]}`},
		"page":                    {method: "GET", path: "/show_bug.cgi?id=1", status: 200, text: "<h1>1 - &lt;b&gt; tracking</h1>"},
		"nothing there":           {method: "GET", path: "/rest/nope", status: 404, code: 32614},
		"no such method":          {method: "PUT", path: "/rest/bug/1/comment", body: `{` + withKey + `"x":1}`, status: 404, code: 32614},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			if c.mode != "" {
				b.SetMode(c.mode)
			}
			b.Add(lab.BugzillaBug{Alias: "ms1-1", Product: "P", Component: "C", Summary: "<b> tracking", Status: "CONFIRMED", Comments: []string{""}})
			b.Add(lab.BugzillaBug{Product: "P", Component: "C", Summary: "hidden", Status: "NEW", Private: true})
			status, _, text, err := b.ask(t, c.method, c.path, c.header, c.body)
			require.NoError(t, err)
			require.Equal(t, c.status, status, text)
			require.Contains(t, text, c.text)
			if c.code != 0 {
				var problem struct {
					Error bool
					Code  int
				}
				require.NoError(t, json.Unmarshal([]byte(text), &problem))
				require.True(t, problem.Error)
				require.Equal(t, c.code, problem.Code, text)
			}
		})
	}
}

func TestBugzillaState(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	tracker := b.Add(lab.BugzillaBug{Alias: "ms1-1", Status: "RESOLVED", Resolution: "FIXED"})
	for _, request := range []struct{ method, path, body string }{
		{"POST", "/rest/bug", `{"product":"P","component":"C","summary":"S","version":"v","description":"first","blocks":[1],"api_key":"` + bugzillaKey + `"}`},
		{"PUT", "/rest/bug/ms1-1", `{"status":"REOPENED","api_key":"` + bugzillaKey + `"}`},
		{"POST", "/rest/bug/2/comment", `{"comment":"second","api_key":"` + bugzillaKey + `"}`},
	} {
		status, _, text, err := b.ask(t, request.method, request.path, "", request.body)
		require.NoError(t, err)
		require.Less(t, status, 300, text)
	}
	bugs := b.Bugs()
	require.Len(t, bugs, 2)
	require.Equal(t, "REOPENED", bugs[tracker-1].Status)
	require.True(t, bugs[tracker-1].Open())
	require.Empty(t, bugs[tracker-1].Resolution)
	require.Empty(t, bugs[1].Blocks, "dropped at creation")
	require.Equal(t, []string{"first", "second"}, bugs[1].Comments)
	require.NotContains(t, bugs[1].Fields, "api_key")

	for range 2 { // adding twice is adding once
		_, _, _, err := b.ask(t, "PUT", "/rest/bug/2", "", `{"blocks":{"add":[1]},"api_key":"`+bugzillaKey+`"}`)
		require.NoError(t, err)
	}
	require.Equal(t, []int{1}, b.Bugs()[1].Blocks)
	require.Equal(t, lab.BugzillaRequest{Method: "PUT", Path: "/rest/bug/2", KeyIn: []string{"body"}}, b.Requests()[4])
}

func TestBugzillaFaults(t *testing.T) {
	t.Parallel()
	const create = `{"product":"P","component":"C","summary":"S","version":"v","api_key":"` + bugzillaKey + `"}`
	cases := map[string]struct {
		faults  lab.BugzillaFaults
		lost    bool
		status  int
		header  string // of Content-Type or Location
		bugs    int    // after the first create
		recover bool   // the second create is answered
	}{
		"works":      {status: 200, header: "application/json", bugs: 1, recover: true},
		"html":       {faults: lab.BugzillaFaults{HTML: true}, status: 200, header: "text/html"},
		"down":       {faults: lab.BugzillaFaults{Down: true}, status: 500, header: "text/html"},
		"redirect":   {faults: lab.BugzillaFaults{Redirect: 302}, status: 302, header: "http://127.0.0.2:1/rest/bug"},
		"slow":       {faults: lab.BugzillaFaults{Slow: time.Millisecond}, status: 200, header: "application/json", bugs: 1, recover: true},
		"lose one":   {faults: lab.BugzillaFaults{LoseWrites: 1}, lost: true, bugs: 1, recover: true},
		"fail one":   {faults: lab.BugzillaFaults{FailWrites: 1}, status: 500, header: "text/html", bugs: 1, recover: true},
		"lose three": {faults: lab.BugzillaFaults{LoseWrites: 3}, lost: true, bugs: 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			b.SetFaults(c.faults)
			status, header, _, err := b.ask(t, "POST", "/rest/bug", "", create)
			if c.lost {
				require.ErrorIs(t, err, io.EOF)
			} else {
				require.NoError(t, err)
				require.Equal(t, c.status, status)
				require.Contains(t, header.Get("Content-Type")+header.Get("Location"), c.header)
			}
			require.Len(t, b.Bugs(), c.bugs)
			status, _, _, err = b.ask(t, "POST", "/rest/bug", "", create)
			require.Equal(t, c.recover, err == nil && status == 200 && len(b.Bugs()) == c.bugs+1)
		})
	}
}
