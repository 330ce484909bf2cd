package activities_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

const (
	bugzillaKey = "s3cret/bug zilla" // characters that a URL spells in other ways
	brokenFQDN  = "ms1-10.test.releng.mdc1.mozilla.com"
	ops         = "Infrastructure & Operations"
)

func brokenMachine() activities.Bug {
	return activities.Bug{
		Machine: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: brokenFQDN,
		RequestedBy: "mozilla-auth0/ad|Mozilla-LDAP|sheriff", Task: "reboot", TaskID: "0b7c",
		Attempts: []activities.BugLine{
			{Rung: "ssh_reboot", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Outcome: "not sent", Why: "roller@10.0.0.1: key /etc/roller/ssh.key refused"},
			{Rung: "ipmi_reset", Outcome: "no effect"},
		},
	}
}

const brokenText = brokenFQDN + ` did not come back.
reboot was requested by mozilla-auth0/ad|Mozilla-LDAP|sheriff.

- ssh_reboot: not sent (2026-01-02T03:04:05Z)
- ipmi_reset: no effect

roller task 0b7c`

type bugzillaBench struct {
	*lab.Bugzilla
	acts *activities.Activities
	url  string
}

func startBugzilla(t *testing.T) bugzillaBench {
	t.Helper()
	b := lab.NewBugzilla(bugzillaKey)
	url, err := b.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return bugzillaBench{b, bugzillaActivities(url), url}
}

func bugzillaActivities(url string) *activities.Activities {
	return &activities.Activities{Inventory: func() *config.Inventory { return config.NewInventory() }, Config: &config.Config{Bugzilla: config.Bugzilla{
		URL: url, APIKey: config.NewSecret(bugzillaKey), Timeout: config.Duration(10 * time.Second),
	}}}
}

func tracker(status string) lab.BugzillaBug {
	return lab.BugzillaBug{Alias: "ms1-10", Product: ops, Component: "CIDuty", Summary: "[MDC1] ms1-10 problem tracking", Status: status, Comments: []string{""}}
}

func rebootBug(status string) lab.BugzillaBug {
	return lab.BugzillaBug{Product: ops, Component: "DCOps", Summary: brokenFQDN + " is unreachable", Status: status, Comments: []string{"an older report"}}
}

func changed(b lab.BugzillaBug, edit func(*lab.BugzillaBug)) lab.BugzillaBug {
	edit(&b)
	return b
}

func TestBugzillaFile(t *testing.T) {
	t.Parallel()
	private := func(b *lab.BugzillaBug) { b.Private = true }
	cases := map[string]struct {
		there []lab.BugzillaBug
		want  activities.BugResult // without URL
		bugs  int                  // afterwards
	}{
		"nothing there":           {want: activities.BugResult{ID: 2, Created: true, Tracker: 1}, bugs: 2},
		"open tracker":            {there: []lab.BugzillaBug{tracker("ASSIGNED")}, want: activities.BugResult{ID: 2, Created: true, Tracker: 1}, bugs: 2},
		"closed tracker":          {there: []lab.BugzillaBug{tracker("RESOLVED")}, want: activities.BugResult{ID: 2, Created: true, Tracker: 1}, bugs: 2},
		"open bug":                {there: []lab.BugzillaBug{tracker("NEW"), rebootBug("NEW")}, want: activities.BugResult{ID: 2, Commented: true, Tracker: 1}, bugs: 2},
		"closed bug":              {there: []lab.BugzillaBug{tracker("NEW"), rebootBug("RESOLVED")}, want: activities.BugResult{ID: 3, Created: true, Tracker: 1}, bugs: 3},
		"oldest of two":           {there: []lab.BugzillaBug{rebootBug("NEW"), tracker("NEW"), rebootBug("NEW")}, want: activities.BugResult{ID: 1, Commented: true, Tracker: 2}, bugs: 3},
		"private bugs are seen":   {there: []lab.BugzillaBug{changed(tracker("NEW"), private), changed(rebootBug("NEW"), private)}, want: activities.BugResult{ID: 2, Commented: true, Tracker: 1}, bugs: 2},
		"another component's bug": {there: []lab.BugzillaBug{tracker("NEW"), changed(rebootBug("NEW"), func(b *lab.BugzillaBug) { b.Component = "Other" })}, want: activities.BugResult{ID: 3, Created: true, Tracker: 1}, bugs: 3},
		"a longer summary":        {there: []lab.BugzillaBug{tracker("NEW"), changed(rebootBug("NEW"), func(b *lab.BugzillaBug) { b.Summary = "t-" + b.Summary })}, want: activities.BugResult{ID: 3, Created: true, Tracker: 1}, bugs: 3},
	}
	for name, c := range cases {
		for _, mode := range []lab.BugzillaMode{lab.BugzillaUpstream, lab.BugzillaBMO} {
			t.Run(name+", "+string(mode), func(t *testing.T) {
				t.Parallel()
				b := startBugzilla(t)
				b.SetMode(mode)
				for _, bug := range c.there {
					b.Add(bug)
				}
				got, err := b.acts.BugzillaFile(t.Context(), brokenMachine())
				require.NoError(t, err)
				require.Equal(t, b.url+"/show_bug.cgi?id="+string(rune('0'+c.want.ID)), got.URL)
				got.URL = ""
				require.Equal(t, c.want, got)
				bugs := b.Bugs()
				require.Len(t, bugs, c.bugs)
				require.True(t, bugs[got.Tracker-1].Open())
				require.Equal(t, []int{got.Tracker}, bugs[got.ID-1].Blocks)
				require.Equal(t, brokenText, bugs[got.ID-1].Comments[len(bugs[got.ID-1].Comments)-1])
				requireKeyPlaces(t, mode, b.Requests())
			})
		}
	}
}

// requireKeyPlaces checks that a server that reads the header finds the key
// nowhere else, and that the first question, which finds that out, is as careful.
func requireKeyPlaces(t *testing.T, mode lab.BugzillaMode, requests []lab.BugzillaRequest) {
	t.Helper()
	for i, r := range requests {
		want := []string{"header"}
		if mode == lab.BugzillaUpstream && i > 0 {
			want = append(want, map[bool]string{true: "query", false: "body"}[r.Method == http.MethodGet])
		}
		require.Equal(t, want, r.KeyIn, "%s %s", r.Method, r.Path)
	}
}

func TestBugzillaFileCreates(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	_, err := b.acts.BugzillaFile(t.Context(), brokenMachine())
	require.NoError(t, err)
	bugs := b.Bugs()
	require.Equal(t, map[string]any{
		"product": ops, "component": "CIDuty", "version": "unspecified", "alias": "ms1-10",
		"summary": "[MDC1] ms1-10 problem tracking", "description": "Tracks the problems of " + brokenFQDN + ".",
	}, bugs[0].Fields)
	require.Equal(t, map[string]any{
		"product": ops, "component": "DCOps", "version": "unspecified",
		"summary": brokenFQDN + " is unreachable", "description": brokenText,
	}, bugs[1].Fields)
}

func TestBugzillaFileOff(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	in := brokenMachine()
	in.Off = true
	const first = brokenFQDN + " was powered OFF by roller and could not be powered on again.\n"
	got, err := b.acts.BugzillaFile(t.Context(), in)
	require.NoError(t, err)
	in.TaskID = "another job"
	again, err := b.acts.BugzillaFile(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, got.ID, again.ID)
	texts := b.Bugs()[got.ID-1].Comments
	require.Len(t, texts, 2)
	for _, text := range texts {
		require.True(t, strings.HasPrefix(text, first), text)
	}
}

func TestBugzillaFileKeepsValues(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	b.acts.Config.Bugzilla.RebootTemplate = `{"product":"P","component":"C","summary":"{fqdn} \"down\"","description":"by {requester}","cc":["{requester}","dc@ops.example"],"cf_note":{"n":12345678901234567890}}`
	in := brokenMachine()
	in.RequestedBy = "a\"b\\c\nd {fqdn} ${task} <b>&amp; ü\u2028 ', \"x\": \"y"
	_, err := b.acts.BugzillaFile(t.Context(), in)
	require.NoError(t, err)
	fields := b.Bugs()[1].Fields
	require.Equal(t, brokenFQDN+` "down"`, fields["summary"])
	require.True(t, strings.HasPrefix(fields["description"].(string), "by "+in.RequestedBy+"\n\n- ssh_reboot"))
	require.Equal(t, []any{in.RequestedBy, "dc@ops.example"}, fields["cc"])
	require.NotContains(t, fields, "x")
}

// Whatever write's answer is lost, the next attempt finds what it did.
func TestBugzillaFileOnce(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		there    []lab.BugzillaBug
		faults   lab.BugzillaFaults
		attempts int
		want     activities.BugResult
		comments int
	}{
		"one lost":    {faults: lab.BugzillaFaults{LoseWrites: 1}, attempts: 2, want: activities.BugResult{ID: 2, Created: true, Tracker: 1}, comments: 1},
		"all lost":    {faults: lab.BugzillaFaults{LoseWrites: 3}, attempts: 4, want: activities.BugResult{ID: 2, Created: true, Tracker: 1}, comments: 1},
		"all failed":  {faults: lab.BugzillaFaults{FailWrites: 3}, attempts: 4, want: activities.BugResult{ID: 2, Created: true, Tracker: 1}, comments: 1},
		"the comment": {there: []lab.BugzillaBug{tracker("RESOLVED"), rebootBug("NEW")}, faults: lab.BugzillaFaults{LoseWrites: 3}, attempts: 4, want: activities.BugResult{ID: 2, Commented: true, Tracker: 1}, comments: 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			for _, bug := range c.there {
				b.Add(bug)
			}
			b.SetFaults(c.faults)
			for range c.attempts - 1 {
				_, err := b.acts.BugzillaFile(t.Context(), brokenMachine())
				requireMeaning(t, err, activities.NotSent)
				var app *temporal.ApplicationError
				require.ErrorAs(t, err, &app)
				require.Equal(t, 10*time.Second, app.NextRetryDelay(), "a lost write needs rest")
			}
			got, err := b.acts.BugzillaFile(t.Context(), brokenMachine())
			require.NoError(t, err)
			got.URL = ""
			require.Equal(t, c.want, got)
			require.Len(t, b.Bugs(), 2)
			require.Len(t, b.Bugs()[1].Comments, c.comments)
		})
	}
}

func TestBugzillaFileURL(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "/", "/rest", "/rest/", "/bugzilla-5.0-branch/rest/"} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			prefix := strings.TrimRight(strings.TrimSuffix(suffix, "rest/"), "/")
			prefix = strings.TrimSuffix(prefix, "/rest")
			server := httptest.NewServer(http.StripPrefix(prefix, lab.NewBugzilla(bugzillaKey)))
			t.Cleanup(server.Close)
			got, err := bugzillaActivities(server.URL+suffix).BugzillaFile(t.Context(), brokenMachine())
			require.NoError(t, err)
			require.Equal(t, server.URL+prefix+"/show_bug.cgi?id=2", got.URL)
		})
	}
}

func appMessage(t *testing.T, err error) string {
	t.Helper()
	app, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	return app.Message()
}

// requireMeaning checks the outermost error, where Temporal looks.
func requireMeaning(t *testing.T, err error, want activities.Meaning) {
	t.Helper()
	app, ok := err.(*temporal.ApplicationError) //nolint:errorlint // it must be the outermost
	require.True(t, ok, "%v", err)
	require.Equal(t, string(want), app.Type(), "%v", err)
	require.Equal(t, want != activities.NotSent, app.NonRetryable())
	require.NotContains(t, err.Error(), bugzillaKey)
}

// A bug that says that a machine is off is told once that it is on again; a
// machine of which none says so has none filed for it.
func TestBugzillaIsToldThatTheMachineIsOnAgain(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	off, on := brokenMachine(), brokenMachine()
	off.Off, on.On = true, true
	comments := func() []string {
		var out []string
		for _, bug := range b.Bugs() {
			if bug.Alias == "" {
				out = append(out, bug.Comments...)
			}
		}
		return out
	}
	_, err := b.acts.BugzillaFile(t.Context(), on)
	require.NoError(t, err)
	require.Empty(t, b.Bugs(), "nothing is filed")
	filed, err := b.acts.BugzillaFile(t.Context(), off)
	require.NoError(t, err)
	for range 2 { // a lost answer does not make two comments
		told, err := b.acts.BugzillaFile(t.Context(), on)
		require.NoError(t, err)
		require.Equal(t, filed.ID, told.ID)
	}
	require.Len(t, comments(), 2)
	require.Equal(t, brokenFQDN+" is powered ON again, by roller.\n\nroller task 0b7c", comments()[1])
	off.TaskID = "another"
	_, err = b.acts.BugzillaFile(t.Context(), off)
	require.NoError(t, err)
	_, err = b.acts.BugzillaFile(t.Context(), on)
	require.NoError(t, err)
	require.Len(t, comments(), 4, "each time it was off it is told anew")
}
