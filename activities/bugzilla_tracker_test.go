package activities_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/lab"
)

// Two create the tracker at the same moment: Bugzilla lets one win.
func TestBugzillaFileTrackerRace(t *testing.T) {
	t.Parallel()
	b := lab.NewBugzilla(bugzillaKey)
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			once.Do(func() { b.Add(tracker("NEW")) })
		}
		b.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	got, err := bugzillaActivities(server.URL).BugzillaFile(t.Context(), brokenMachine())
	require.NoError(t, err)
	require.Equal(t, 1, got.Tracker)
	require.Len(t, b.Bugs(), 2)
}

func TestBugzillaFileCannotLink(t *testing.T) {
	t.Parallel()
	b := lab.NewBugzilla(bugzillaKey)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":true,"code":115,"message":"not yours"}`))
			return
		}
		b.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	got, err := bugzillaActivities(server.URL).BugzillaFile(t.Context(), brokenMachine())
	require.NoError(t, err)
	require.Equal(t, activities.BugResult{
		ID: 2, URL: server.URL + "/show_bug.cgi?id=2", Created: true,
		Problem: "linking to tracker bug 1: bugzilla: PUT /rest/bug/2: not yours (code 115)",
	}, got)
}

// What Bugzilla holds against the tracker bug must not keep the report away.
func TestBugzillaFileWithoutTracker(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		template, workerID string
		there              []lab.BugzillaBug
		tracker            int
		problem            string
	}{
		"numeric worker ID": {workerID: "1", problem: "tracker bug: a numeric worker ID cannot be an alias (code 103)"},
		"refused alias":     {workerID: strings.Repeat("a", 41), problem: "tracker bug: bugzilla: GET /rest/bug/" + strings.Repeat("a", 41) + ": '" + strings.Repeat("a", 41) + "' is not a valid bug number nor an alias to a bug. (code 100)"},
		"cannot reopen":     {workerID: "ms1-10", there: []lab.BugzillaBug{tracker("CLOSED")}, tracker: 1, problem: "tracker bug: bugzilla: PUT /rest/bug/1: There is no status named 'NOPE'. (code 51)"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			b.acts.Config.Bugzilla.ReopenState = "NOPE"
			for _, bug := range c.there {
				b.Add(bug)
			}
			in := brokenMachine()
			in.Machine.WorkerID = c.workerID
			got, err := b.acts.BugzillaFile(t.Context(), in)
			require.NoError(t, err)
			require.True(t, got.Created)
			require.Equal(t, c.problem, got.Problem)
			require.Equal(t, c.tracker, got.Tracker)
			require.Equal(t, brokenFQDN+" is unreachable", b.Bugs()[got.ID-1].Summary)
		})
	}
}
