package activities_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// A bug is public: whatever a rung's story holds besides plain words stays out.
func TestBugzillaFilePublic(t *testing.T) {
	t.Parallel()
	b := startBugzilla(t)
	in := brokenMachine()
	in.Attempts = []activities.BugLine{
		{Rung: "snmp_reboot pdu1.example:AB12", Outcome: "refused", Why: "community s3cret on pdu1.example:AA1"},
		{Rung: "ipmi_reset", Outcome: "10.1.2.3 said no", Why: "user rebooter"},
		{Rung: "ssh_reboot", Outcome: "went down, did not come back"},
	}
	_, err := b.acts.BugzillaFile(t.Context(), in)
	require.NoError(t, err)
	text := b.Bugs()[1].Comments[0]
	require.Contains(t, text, "- (not public): refused\n- ipmi_reset: (not public)\n- ssh_reboot: went down, did not come back\n")
	for _, secret := range []string{"pdu1", "10.1.2.3", "s3cret", "rebooter", "AB12"} {
		require.NotContains(t, text, secret)
	}
}

// What feeds the machine is told only where the operator says so, once, and
// nothing else of the inventory with it.
func TestBugzillaFilePublicDetails(t *testing.T) {
	t.Parallel()
	const fed = "pdu1.example:AB12, pdu2.example:BA3"
	for name, c := range map[string]struct {
		details  []string
		template string
		worker   string
		want     string // in the report; "" is no word of any outlet
	}{
		"not configured":              {worker: "ms1-10"},
		"not configured, in template": {worker: "ms1-10", template: `{"product":"P","component":"C","summary":"S","description":"on [{outlets}]"}`, want: "on []"},
		"configured":                  {worker: "ms1-10", details: []string{config.DetailOutlets}, want: "Fed by " + fed + "."},
		"in the template":             {worker: "ms1-10", details: []string{config.DetailOutlets}, template: `{"product":"P","component":"C","summary":"S","description":"on [{outlets}]"}`, want: "on [" + fed + "]"},
		"left the inventory":          {worker: "ms1-11", details: []string{config.DetailOutlets}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			file := filepath.Join(t.TempDir(), "pdus.json")
			require.NoError(t, os.WriteFile(file, []byte(`{"`+brokenFQDN+`": {"pdu": ["pdu1.example:AB12", "pdu2.example:BA3"], "port": 1161}}`), 0o600))
			inv, err := config.LoadInventory(config.Files{PDU: file})
			require.NoError(t, err)
			acts := activities.New(b.acts.Config, func() *config.Inventory { return inv })
			acts.Config.Bugzilla.PublicDetails, acts.Config.Bugzilla.RebootTemplate = c.details, c.template
			in := brokenMachine()
			in.Machine.WorkerID = c.worker
			_, err = acts.BugzillaFile(t.Context(), in)
			require.NoError(t, err)
			text := b.Bugs()[1].Comments[0]
			require.Contains(t, text, c.want)
			require.Equal(t, strings.Count(c.want, "pdu1"), strings.Count(text, "pdu1"))
			require.NotContains(t, text, "1161")
		})
	}
}

// Whom the inventory names is copied on a new bug, beside those of the template;
// one whom Bugzilla does not know keeps no bug from being filed.
func TestBugzillaFileCopies(t *testing.T) {
	t.Parallel()
	const template = `{"product":"P","component":"C","summary":"{fqdn} down"%s}`
	for name, c := range map[string]struct {
		template  string
		strangers []string
		want      any
		problem   string
	}{
		"the machine's":          {want: []any{"a@example.com", "b@example.com"}},
		"and the template's":     {template: `,"cc":["ops@example.com","b@example.com"]`, want: []any{"ops@example.com", "b@example.com", "a@example.com"}},
		"the old template's":     {template: `,"cc":"ops@example.com, x@example.com"`, want: []any{"ops@example.com", "x@example.com", "a@example.com", "b@example.com"}},
		"the old empty template": {template: `,"cc":"${cc}"`, want: []any{"a@example.com", "b@example.com"}},
		"a stranger":             {strangers: []string{"b@example.com"}, problem: "cc: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBugzilla(t)
			b.SetFaults(lab.BugzillaFaults{Strangers: c.strangers})
			in := brokenMachine()
			inventory := config.NewInventory(config.Machine{Name: in.Machine, BugCC: []string{"a@example.com", "b@example.com"}})
			b.acts.Inventory = func() *config.Inventory { return inventory }
			b.acts.Config.Bugzilla.RebootTemplate = fmt.Sprintf(template, c.template)
			result, err := b.acts.BugzillaFile(t.Context(), in)
			require.NoError(t, err)
			require.True(t, result.Created)
			require.NotZero(t, result.Tracker)
			if c.problem == "" {
				require.Empty(t, result.Problem)
			}
			require.Contains(t, result.Problem, c.problem)
			bugs := b.Bugs()
			require.Len(t, bugs, 2)
			require.Equal(t, c.want, bugs[1].Fields["cc"])
			require.NotContains(t, bugs[0].Fields, "cc", "the tracker is nobody's mail")
		})
	}
}
