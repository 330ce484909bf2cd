package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/worker"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Every metric is documented, and what is documented is one. (The end-to-end test
// of the metrics finds each of them in real processes.)
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operate.md")
	require.NoError(t, err)
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(roller_[a-z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, row[1])
	}
	require.ElementsMatch(t, slices.Concat([]string{metricBuild, metricSites}, api.Metrics, workflows.Metrics, worker.Metrics), documented)
}

func scrape(t *testing.T, address string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	require.NoError(t, err)
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return string(text)
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	m, err := newMetrics(logger)
	require.NoError(t, err)
	port, err := stack.Port(0)
	require.NoError(t, err)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	stop, err := m.serve(t.Context(), logger, address)
	require.NoError(t, err)
	defer stop()
	jobs := m.handler.WithTags(map[string]string{"task": "reboot", "outcome": "back"}).Counter(workflows.MetricJobs)
	jobs.Inc(1)
	jobs.Inc(2)
	// Other labels under a name are no mistake, and no panic.
	m.handler.WithTags(map[string]string{"rung": "ssh_reboot"}).Counter(workflows.MetricJobs).Inc(1)
	text := scrape(t, address)
	require.Contains(t, text, `roller_jobs_total{outcome="back",task="reboot"} 3`)
	require.Contains(t, text, `roller_jobs_total{rung="ssh_reboot"} 1`)
	require.Contains(t, text, metricBuild+`{version="dev"} 1`)
	require.Contains(t, text, "go_goroutines ")

	_, err = m.serve(t.Context(), logger, address)
	require.ErrorContains(t, err, "listen (METRICS_ADDR): ")
	again, err := m.serve(t.Context(), logger, "")
	require.NoError(t, err)
	again()
}
