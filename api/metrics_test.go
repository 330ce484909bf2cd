package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
)

// measured gives the API numbers that the test reads.
func measured(t *testing.T) (setup, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	require.NoError(t, err)
	return withServer(func(s *server) { s.metrics = m }), registry
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	numbers, registry := measured(t)
	h := newHarness(t, numbers)
	h.do(h.request(pingPath, sheriff))
	h.starter.job.Joined = true
	h.do(h.request(resetPath, sheriff))
	h.starter.fail(&starter.Conflict{})
	h.do(h.request(resetPath, sheriff))
	h.do(h.request(pingPath, stranger))
	h.do(h.request("/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=made-up", sheriff))
	h.do(h.request("/nothing/"+strings.Repeat("x", 100), sheriff))
	made := h.request(pingPath, sheriff)
	made.Method = "BREW"
	h.do(made)
	other := sheriff
	other.AccessToken = "another one"
	h.do(h.request(pingPath, other))
	h.auth.SetFault(lab.AuthGarbage)
	h.do(h.request(pingPath, sheriff))

	const jobs = `/api/v1/workers/:worker_id/group/:worker_group/jobs`
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP roller_api_requests_total Requests that were answered, by route, method and status.
# TYPE roller_api_requests_total counter
roller_api_requests_total{code="201",method="POST",route="`+jobs+`"} 2
roller_api_requests_total{code="400",method="POST",route="`+jobs+`"} 1
roller_api_requests_total{code="401",method="POST",route="`+jobs+`"} 1
roller_api_requests_total{code="403",method="POST",route="`+jobs+`"} 1
roller_api_requests_total{code="404",method="POST",route="none"} 1
roller_api_requests_total{code="405",method="none",route="none"} 1
roller_api_requests_total{code="409",method="POST",route="`+jobs+`"} 1
roller_api_requests_total{code="503",method="POST",route="`+jobs+`"} 1
# HELP roller_api_decisions_total What became of requests, as the log has it (started, joined, repeated, cancelled, answered, or an error's code), by task.
# TYPE roller_api_decisions_total counter
roller_api_decisions_total{decision="AuthenticationFailed",task="ping"} 1
roller_api_decisions_total{decision="InputValidationError",task="none"} 1
roller_api_decisions_total{decision="InsufficientScopes",task="ping"} 1
roller_api_decisions_total{decision="MethodNotAllowed",task=""} 1
roller_api_decisions_total{decision="RequestConflict",task="ipmi_reset"} 1
roller_api_decisions_total{decision="ResourceNotFound",task=""} 1
roller_api_decisions_total{decision="ServiceUnavailable",task="ping"} 1
roller_api_decisions_total{decision="joined",task="ipmi_reset"} 1
roller_api_decisions_total{decision="started",task="ping"} 1
`), "roller_api_requests_total", "roller_api_decisions_total"))

	families, err := registry.Gather()
	require.NoError(t, err)
	var names []string
	verdicts := map[string]uint64{}
	for _, f := range families {
		names = append(names, f.GetName())
		for _, m := range f.GetMetric() {
			if f.GetName() == "roller_api_auth_seconds" {
				verdicts[m.GetLabel()[0].GetValue()] = m.GetHistogram().GetSampleCount()
			}
		}
	}
	require.Equal(t, slices.Sorted(slices.Values(Metrics)), names)
	require.Equal(t, map[string]uint64{"login": 5, "refused": 1, "error": 1}, verdicts)
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	cfg := testConfig("http://127.0.0.1:1")
	_, err := New(cfg, Deps{Starter: &fakeStarter{}, Metrics: registry})
	require.NoError(t, err)
	_, err = New(cfg, Deps{Starter: &fakeStarter{}, Metrics: registry})
	require.ErrorContains(t, err, "api: duplicate metrics")
}
