package activities_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

func TestBugzillaFileErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		arrange func(b bugzillaBench)
		in      func(in *activities.Bug)
		meaning activities.Meaning
		text    string
		bugs    int
	}{
		"html":            {arrange: func(b bugzillaBench) { b.SetFaults(lab.BugzillaFaults{HTML: true}) }, meaning: activities.NotSent, text: `bugzilla: GET /rest/whoami: status 200 with "text/html; charset=UTF-8" in the place of JSON`},
		"down":            {arrange: func(b bugzillaBench) { b.SetFaults(lab.BugzillaFaults{Down: true}) }, meaning: activities.NotSent, text: "bugzilla: GET /rest/whoami: status 500"},
		"sent elsewhere":  {arrange: func(b bugzillaBench) { b.SetFaults(lab.BugzillaFaults{Redirect: 302}) }, meaning: activities.NotSent, text: `bugzilla: GET /rest/whoami: status 302 with "text/html; charset=utf-8" in the place of JSON`},
		"moved":           {arrange: func(b bugzillaBench) { b.SetFaults(lab.BugzillaFaults{Redirect: 301}) }, meaning: activities.Refused, text: "bugzilla: GET /rest/whoami: status 301: BUGZILLA_URL has moved"},
		"slow":            {arrange: slowBugzilla, meaning: activities.NotSent, text: "bugzilla: GET /rest/whoami: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"},
		"not there":       {arrange: func(b bugzillaBench) { b.acts.Config.Bugzilla.URL = "http://127.0.0.1:1" }, meaning: activities.NotSent, text: "bugzilla: GET /rest/whoami: dial tcp 127.0.0.1:1: connect: connection refused"},
		"bad key":         {arrange: badBugzillaKey, meaning: activities.Refused, text: "bugzilla: GET /rest/bug/ms1-10: The API key you specified is invalid. Please check that you typed it correctly. (code 306)"},
		"bad key, bmo":    {arrange: func(b bugzillaBench) { b.SetMode(lab.BugzillaBMO); badBugzillaKey(b) }, meaning: activities.Refused, text: "bugzilla: GET /rest/whoami: The API key you specified is invalid. Please check that you typed it correctly. (code 306)"},
		"no key":          {arrange: func(b bugzillaBench) { b.acts.Config.Bugzilla.APIKey = config.Secret{} }, meaning: activities.Refused, text: "BUGZILLA_API_KEY is not set"},
		"no URL":          {arrange: func(b bugzillaBench) { b.acts.Config.Bugzilla.URL = "https://user:s3cret@/x" }, meaning: activities.Refused, text: "BUGZILLA_URL is not the http or https address of a Bugzilla"},
		"broken template": {arrange: func(b bugzillaBench) { b.acts.Config.Bugzilla.TrackerTemplate = "{}" }, meaning: activities.Refused, text: "BUGZILLA_WORKER_TRACKER_TEMPLATE: product is not a string with text in it; component is not a string with text in it; summary is not a string with text in it"},
		"missing field":   {arrange: emptyComponent, meaning: activities.Refused, text: "bugzilla: POST /rest/bug: The function create requires a component argument, and that argument was not set. (code 50)", bugs: 1},
		"no machine":      {in: func(in *activities.Bug) { in.FQDN = "" }, meaning: activities.BadInput, text: "bugzilla: the machine has no name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			in := brokenMachine()
			if c.arrange != nil {
				c.arrange(b)
			}
			if c.in != nil {
				c.in(&in)
			}
			_, err := b.acts.BugzillaFile(t.Context(), in)
			requireMeaning(t, err, c.meaning)
			require.Equal(t, c.text, appMessage(t, err))
			require.Len(t, b.Bugs(), c.bugs)
		})
	}
}

func slowBugzilla(b bugzillaBench) {
	b.SetFaults(lab.BugzillaFaults{Slow: time.Hour})
	b.acts.Config.Bugzilla.Timeout = config.Duration(50 * time.Millisecond)
}

func badBugzillaKey(b bugzillaBench) {
	b.acts.Config.Bugzilla.APIKey = config.NewSecret("wrong key")
}

func emptyComponent(b bugzillaBench) {
	b.acts.Config.Bugzilla.RebootTemplate = `{"product":"P","component":"{cc}","summary":"S"}`
}

// A peer that repeats the URL, the body and the headers in all that it says
// cannot make roller repeat the key.
func TestBugzillaKeyStaysSecret(t *testing.T) {
	t.Parallel()
	dump := func(r *http.Request) string {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body) // a GET has none
		key, _ := body["api_key"].(string)
		return r.URL.String() + " " + r.Header.Get("X-Bugzilla-Api-Key") + " " + r.URL.Query().Get("api_key") + " " + key
	}
	cases := map[string]http.HandlerFunc{
		"in a message": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": true, "code": 306, "message": dump(r)})
		},
		"cut in the middle": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": true, "code": 306, "message": strings.Repeat("x", 195) + bugzillaKey})
		},
		"in a page": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; "+dump(r))
			_, _ = w.Write([]byte(dump(r)))
		},
		"in a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/?"+r.URL.RawQuery, http.StatusFound)
		},
		"in a broken answer": func(w http.ResponseWriter, r *http.Request) {
			text := dump(r)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/9.9 " + text + "\r\n\r\n"))
				_ = conn.Close()
			}
		},
		"nowhere": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, answer := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/rest/whoami" { // as upstream, so that the key goes into the query
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"error":true,"code":32614,"message":"not found"}`))
					return
				}
				answer(w, r)
			}))
			t.Cleanup(server.Close)
			_, err := bugzillaActivities(server.URL).BugzillaFile(t.Context(), brokenMachine())
			require.ErrorContains(t, err, "bugzilla: GET /rest/bug/ms1-10: ")
			for _, part := range []string{"s3cret", "api_key=s", "s3c"} {
				require.NotContains(t, err.Error(), part)
			}
		})
	}
}

func TestBugzillaFileCancelled(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.acts.BugzillaFile(ctx, brokenMachine())
	requireMeaning(t, err, activities.NotSent)
	require.Empty(t, b.Bugs())
}
