package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

func loanOf(event activities.LoanEvent, taskID string) activities.LoanBug {
	return activities.LoanBug{
		Machine: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: brokenFQDN, Event: event,
		By: "sheriff", Why: "bug 5", TaskID: taskID,
	}
}

func loanBugOf(status string) lab.BugzillaBug {
	return lab.BugzillaBug{Product: ops, Component: "CIDuty", Summary: brokenFQDN + " is on loan", Status: status, Comments: []string{"an older loan"}}
}

// A loan's bug is filed once, told everything once, and closed at its end, also where
// each answer to a write is lost.
func TestBugzillaLoan(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.BugzillaMode{lab.BugzillaUpstream, lab.BugzillaBMO} {
		for _, lost := range []bool{false, true} {
			b := startBugzilla(t)
			b.SetMode(mode)
			tell := func(in activities.LoanBug) activities.BugResult {
				for try := 0; ; try++ {
					if lost && try == 0 {
						b.SetFaults(lab.BugzillaFaults{LoseWrites: 1})
					}
					got, err := b.acts.BugzillaLoan(t.Context(), in)
					if err == nil {
						return got
					}
					require.Less(t, try, 5, "%v", err)
				}
			}
			got := tell(loanOf(activities.LoanBegan, "1"))
			require.Equal(t, 1, got.Tracker)
			bug := func() lab.BugzillaBug { return b.Bugs()[got.ID-1] }
			require.Equal(t, []string{brokenFQDN + " is on loan to sheriff (bug 5). Its worker is quarantined until the machine is returned.\n\nroller task 1"}, bug().Comments)
			require.Equal(t, "CIDuty", bug().Component)
			require.Equal(t, []int{1}, bug().Blocks)
			b.Change(got.ID, func(bug *lab.BugzillaBug) { bug.Summary = "Loan for a person" })
			for i, event := range []activities.LoanEvent{activities.LoanAsked, activities.LoanStays, activities.LoanEnded} {
				in := loanOf(event, string(rune('2'+i)))
				in.ID, in.Reimage = got.ID, "not_back"
				require.True(t, bug().Open())
				tell(in)
				require.Len(t, bug().Comments, 2+i, "%s, once", event)
			}
			require.Contains(t, bug().Comments[2], "its reimage ended with: not_back. Its worker stays quarantined.")
			require.Equal(t, "RESOLVED FIXED", bug().Status+" "+bug().Resolution)
			require.Len(t, b.Bugs(), 2)
		}
	}
}

func TestBugzillaLoanMeets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		there    []lab.BugzillaBug
		in       activities.LoanBug
		bugs     int
		comments int // of the last bug
		open     bool
	}{
		"an open loan bug":               {[]lab.BugzillaBug{tracker("NEW"), loanBugOf("NEW")}, loanOf(activities.LoanBegan, "1"), 2, 2, true},
		"a closed one":                   {[]lab.BugzillaBug{tracker("NEW"), loanBugOf("RESOLVED")}, loanOf(activities.LoanBegan, "1"), 3, 1, true},
		"none at the end":                {[]lab.BugzillaBug{tracker("NEW")}, loanOf(activities.LoanEnded, "1"), 1, 1, true},
		"one that the loan did not know": {[]lab.BugzillaBug{tracker("NEW"), loanBugOf("NEW")}, loanOf(activities.LoanEnded, "1"), 2, 2, false},
		"one that somebody closed": {[]lab.BugzillaBug{tracker("NEW"), loanBugOf("RESOLVED")}, func() activities.LoanBug {
			in := loanOf(activities.LoanEnded, "1")
			in.ID = 2
			return in
		}(), 2, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			for _, bug := range test.there {
				b.Add(bug)
			}
			_, err := b.acts.BugzillaLoan(t.Context(), test.in)
			require.NoError(t, err)
			bugs := b.Bugs()
			require.Len(t, bugs, test.bugs)
			last := bugs[len(bugs)-1]
			require.Len(t, last.Comments, test.comments)
			require.Equal(t, test.open, last.Open())
		})
	}
}

// A quarantine's note is for later services; one of v44, which refuses it, gets the
// quarantine all the same.
func TestQuarantineNote(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		tc, err := lab.NewTaskcluster(lab.Client{ID: "roller", AccessToken: "s3cret-roller", Scopes: []string{"queue:quarantine-worker:p/*"}})
		require.NoError(t, err)
		tc.OldQueue = old
		root, err := tc.Start(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, tc.Close()) })
		tc.AddWorker("p/w", "mdc1", "ms1-10", time.Time{})
		acts := &activities.Activities{Config: &config.Config{Taskcluster: config.Taskcluster{
			RootURL: root, ClientID: "roller", AccessToken: config.NewSecret("s3cret-roller"), Timeout: config.Duration(10 * time.Second),
		}}}
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
		require.NoError(t, acts.QuarantineSet(t.Context(), activities.QuarantineChange{
			Worker: activities.TaskWorker{ProvisionerID: "p", WorkerType: "w", WorkerGroup: "mdc1", WorkerID: "ms1-10"}, Until: until, Note: "on loan",
		}))
		got, _ := tc.Quarantine("p/w", "mdc1", "ms1-10")
		require.Equal(t, until, got)
		if old {
			require.Empty(t, tc.Notes("p/w", "mdc1", "ms1-10"))
			require.Len(t, tc.Mistakes(), 1, "it was tried")
		} else {
			require.Equal(t, []string{"on loan"}, tc.Notes("p/w", "mdc1", "ms1-10"))
			require.Empty(t, tc.Mistakes())
		}
	}
}
