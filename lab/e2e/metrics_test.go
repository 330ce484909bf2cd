package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/worker"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Each documented metric is one of a real API's or a real worker's, on a port of
// its own.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{ // of notices only those are counted that nobody took
		"NOTIFY_WEBHOOK_URL": "http://127.0.0.1:1", "NOTIFY_WEBHOOK_KEY": strings.Repeat("k", 32), "NOTIFY_LIMIT": "1s", "SITES": "two=mdc2",
	}, lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, lab.Spec{WorkerID: "ms1-11", WorkerGroup: "mdc1", Faults: lab.Faults{RefuseControl: true}})
	s.API.Stop()
	s.Workers[0].Stop()
	address := map[string]string{}
	for _, of := range []string{"api", "worker"} {
		port, err := stack.Port(0)
		require.NoError(t, err)
		address[of] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	s.Env["METRICS_ADDR"] = address["api"]
	require.NoError(t, s.StartAPI(t.Context()))
	s.Env["METRICS_ADDR"] = address["worker"]
	_, err := s.StartWorker()
	require.NoError(t, err)

	r, _ := s.end(t, s.job(t, "reboot", s.lab.Machine("ms1-10")))
	require.Equal(t, workflows.Back, r.Outcome)
	s.end(t, s.job(t, "ipmi_reset", s.lab.Machine("ms1-11")))
	want := slices.Sorted(slices.Values(slices.Concat(api.Metrics, workflows.Metrics, worker.Metrics, []string{"roller_build_info", "roller_site_workers"})))
	require.Eventually(t, func() bool { // a notice is given up a little later
		found := map[string]bool{}
		for _, at := range address {
			for _, name := range regexp.MustCompile(`(?m)^# TYPE (roller_\w+) `).FindAllStringSubmatch(scrape(t, at), -1) {
				found[name[1]] = true
			}
		}
		return slices.Equal(want, slices.Sorted(maps.Keys(found)))
	}, enough, 200*time.Millisecond, "%v", want)
	require.Regexp(t, `(?m)^roller_api_decisions_total\{decision="started",task="reboot"\} 1$`, scrape(t, address["api"]))
	require.Regexp(t, `(?m)^roller_jobs_total\{.*outcome="back",rung="ssh_reboot",task="reboot".*\} 1$`, scrape(t, address["worker"]))
	require.Regexp(t, `(?m)^roller_recovery_seconds_count\{.*rung="ssh_reboot".*\} 1$`, scrape(t, address["worker"]))
	require.Regexp(t, `(?m)^roller_activity_errors_total\{activity_type="IPMIPower",.*meaning="Refused".*\} 1$`, scrape(t, address["worker"]))
	require.Regexp(t, `(?m)^roller_activities\{activity_type="AwaitUp".*\} 0$`, scrape(t, address["worker"]))
	require.Regexp(t, `(?m)^temporal_\w+`, scrape(t, address["worker"]))
}

func scrape(t *testing.T, address string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}
