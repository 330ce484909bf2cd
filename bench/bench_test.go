package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain is the program itself for a row that is run in a network of its own.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// small is the options of a run that shows only that the rows work, with roller's and
// the lab's programs built as for production.
func small(t *testing.T) options {
	t.Helper()
	bin := t.TempDir()
	for name, from := range map[string]string{"roller": "../cmd/roller", "lab": "../lab/cmd"} {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, name), from).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	temporal := os.Getenv("ROLLER_TEST_TEMPORAL")
	if temporal == "" {
		temporal = "../.bin/temporal"
	}
	temporal, err := filepath.Abs(temporal)
	require.NoError(t, err)
	require.FileExists(t, temporal, "run `make test`, which builds Temporal's CLI first")
	require.NoError(t, os.Symlink(temporal, filepath.Join(bin, "temporal")))
	return options{bin: bin, dir: t.TempDir(), rounds: 1, small: true}
}

// Every row works: it measures all that it names, within its limit of time.
func TestRows(t *testing.T) {
	t.Parallel()
	o := small(t)
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{options: o, say: t.Logf}
			measured, err := b.measure(t.Context(), r)
			require.NoError(t, err)
			for _, m := range measured.Measures {
				require.Positive(t, m.Value, "%s", m)
				if m.Baseline != nil {
					require.Positive(t, *m.Baseline, "%s", m)
					require.Len(t, m.Rounds, o.rounds)
				}
			}
			if len(measured.Missing) > 0 { // CI has all that is needed
				t.Skipf("not all is measured here: %s", measured.Missing)
			}
			require.NotEmpty(t, measured.Measures)
		})
	}
}

// The document shows the stored numbers.
func TestDocument(t *testing.T) {
	t.Parallel()
	results, err := readResults("results.json")
	require.NoError(t, err)
	require.NotEmpty(t, results.Rows)
	doc, err := os.ReadFile("../docs/performance.md")
	require.NoError(t, err)
	drawn, err := redraw(string(doc), results.Markdown())
	require.NoError(t, err)
	require.Equal(t, drawn, string(doc), "run `make bench`, which draws the table anew")
}

func TestCompareTakesTheMedianOfTheRatios(t *testing.T) {
	t.Parallel()
	// The second round met a machine that was busy with something else.
	rounds := []Round{
		{Sample{"rate": 100}, Sample{"rate": 90}},
		{Sample{"rate": 20}, Sample{"rate": 17}},
		{Sample{"rate": 110}, Sample{"rate": 88}},
	}
	m := compare(rounds, "rate", "1/s", atLeast(0.8))
	require.Equal(t, Spread{Median: 0.85, Least: 0.8, Most: 0.9}, *m.Ratio)
	require.InDelta(t, 100, *m.Baseline, 0)
	require.InDelta(t, 88, m.Value, 0)
	require.True(t, m.Met())
	m.Limit = atLeast(0.86)
	require.False(t, m.Met())
	require.Contains(t, m.String(), "missed")
	m.Limit = atMost(0.84)
	require.False(t, m.Met())
	require.False(t, value("events", "events", 31, atMost(30)).Met())
}

func TestAlternate(t *testing.T) {
	t.Parallel()
	var order string
	by := func(who string) measurer {
		return func(context.Context) (Sample, error) { order += who; return Sample{"n": 1}, nil }
	}
	b := &bench{say: t.Logf}
	rounds, err := b.alternate(t.Context(), 3, by("b"), by("s"))
	require.NoError(t, err)
	require.Len(t, rounds, 3)
	require.Equal(t, "bssbbs", order)
}

// Numbers of another machine are no company for this one's, and a row that is
// measured again takes its own place.
func TestResultsKeep(t *testing.T) {
	t.Parallel()
	r := &Results{Machine: Machine{Hardware: Hardware{Cores: 2}}, Rows: []Row{{Name: "events", Took: "1s"}}}
	r.on(Machine{Hardware: Hardware{Cores: 2}})
	r.keep(Row{Name: "events", Took: "2s"})
	require.Equal(t, []Row{{Name: "events", Took: "2s"}}, r.Rows)
	r.on(Machine{Hardware: Hardware{Cores: 4}})
	require.Empty(t, r.Rows)
}
