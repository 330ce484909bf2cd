package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/worker"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// series are roller's own metrics, as expressions name them.
func series() []string {
	return slices.Concat(api.Metrics, workflows.Metrics, worker.Metrics, []string{"roller_build_info", "roller_site_workers"})
}

// uses returns roller's metrics that an expression names.
func uses(expr string) []string {
	var found []string
	for _, name := range regexp.MustCompile(`\broller_[a-z_]+`).FindAllString(expr, -1) {
		found = append(found, strings.TrimSuffix(name, "_bucket"))
	}
	return found
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("prometheus/roller.rules.yml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &rules))
	require.Len(t, rules.Groups, 1)
	runbook, err := os.ReadFile("../docs/runbook.md")
	require.NoError(t, err)
	tests, err := os.ReadFile("prometheus/roller.test.yml")
	require.NoError(t, err)
	for _, r := range rules.Groups[0].Rules {
		for _, name := range uses(r.Expr) {
			require.Contains(t, series(), name, r.Alert)
		}
		require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.Equal(t, "docs/runbook.md#"+strings.ToLower(r.Alert), r.Annotations["runbook"])
		require.Contains(t, string(runbook), "\n### "+r.Alert+"\n")
		require.Contains(t, string(tests), r.Alert, "is in no test")
	}
	require.Equal(t, len(rules.Groups[0].Rules), strings.Count(string(runbook), "\n### "), "each section is an alert's")
}

// Prometheus's own tool runs the tests of the rules, where it is installed.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool (Debian's package prometheus), which CI installs")
	}
	for _, args := range [][]string{{"check", "rules", "roller.rules.yml"}, {"test", "rules", "roller.test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = "prometheus"
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("grafana/roller.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	var shown []string
	for _, p := range dashboard.Panels {
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for _, target := range p.Targets {
			for _, name := range uses(target.Expr) {
				require.Contains(t, series(), name, p.Title)
				shown = append(shown, name)
			}
		}
	}
	slices.Sort(shown)
	want := series()
	slices.Sort(want)
	require.Equal(t, want, slices.Compact(shown), "every metric is shown")
}

// The runbook has a line for every way in which a job ends.
func TestOutcomesInRunbook(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("../docs/runbook.md")
	require.NoError(t, err)
	contract, err := os.ReadFile("../workflows/contract.go")
	require.NoError(t, err)
	outcomes := regexp.MustCompile(`Outcome = "([a-z_]+)"`).FindAllStringSubmatch(string(contract), -1)
	outcomes = append(outcomes, regexp.MustCompile(`(?m)^\t[A-Z]\w+ +Outcome += "([a-z_]+)"`).FindAllStringSubmatch(string(contract), -1)...)
	require.Greater(t, len(outcomes), 12)
	for _, o := range outcomes {
		if o[1] != string(workflows.Running) {
			require.Contains(t, string(runbook), "\n| `"+o[1]+"` |")
		}
	}
}
