package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
)

// A hundred jobs that end blind on one day file one bug and say nothing more; the
// next day's first one says so in a comment.
func TestBugzillaFileSite(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	b.acts.Config.Bugzilla.RebootTemplate = `{"product":"P","component":"C","summary":"{fqdn} is down","description":"Ask {requester}.","cc":["ops@example.com"]}`
	first := time.Date(2026, 1, 2, 23, 0, 0, 0, time.UTC)
	result, err := b.acts.BugzillaFileSite(t.Context(), activities.SiteBug{Site: "mdc1", Since: first})
	require.NoError(t, err)
	require.True(t, result.Created)
	require.Contains(t, result.URL, "show_bug.cgi?id=")
	for range 3 {
		again, err := b.acts.BugzillaFileSite(t.Context(), activities.SiteBug{Site: "mdc1", Since: first.Add(10 * time.Minute)})
		require.NoError(t, err)
		require.Equal(t, result.ID, again.ID)
		require.False(t, again.Commented)
	}
	require.Len(t, b.Bugs(), 1, "no tracker: it is no machine's")
	fields := b.Bugs()[0].Fields
	require.Equal(t, "[MDC1] roller cannot see this site", fields["summary"])
	require.Equal(t, "P", fields["product"])
	require.Equal(t, []any{"ops@example.com"}, fields["cc"])
	require.Contains(t, fields["description"], "on 2026-01-02 (UTC) none of the canary hosts")
	require.NotContains(t, fields["description"], "requester")
	require.Len(t, b.Bugs()[0].Comments, 1)

	next, err := b.acts.BugzillaFileSite(t.Context(), activities.SiteBug{Site: "mdc1", Since: first.Add(2 * time.Hour)})
	require.NoError(t, err)
	require.Equal(t, result.ID, next.ID)
	require.True(t, next.Commented)
	require.Len(t, b.Bugs()[0].Comments, 2)

	other, err := b.acts.BugzillaFileSite(t.Context(), activities.SiteBug{Site: "mdc2", Since: first})
	require.NoError(t, err)
	require.True(t, other.Created)
	require.NotEqual(t, result.ID, other.ID)

	_, err = b.acts.BugzillaFileSite(t.Context(), activities.SiteBug{Since: first})
	require.ErrorContains(t, err, "the site has no name")
}
