package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// spans is what a stand-in for a collector took, by OTLP over HTTP.
type spans struct {
	mu    sync.Mutex
	taken []*tracepb.Span
	text  string
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += protojson.Format(&request)
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			s.taken = append(s.taken, scope.GetSpans()...)
		}
	}
}

// of returns the names of the spans of the trace in which a span of the given name is.
func (s *spans) of(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var id []byte
	for _, span := range s.taken {
		if span.GetName() == name {
			id = span.GetTraceId()
		}
	}
	var names []string
	for _, span := range s.taken {
		if id != nil && string(span.GetTraceId()) == string(id) {
			names = append(names, span.GetName())
		}
	}
	return names
}

// One trace goes from the request over the job to the dialogue with the device,
// across three processes, and holds no secret. Logs have its ID.
func TestTraces(t *testing.T) {
	t.Parallel()
	taken := &spans{}
	stand := httptest.NewServer(taken)
	t.Cleanup(stand.Close)
	s := newSite(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": stand.URL, "OTEL_BSP_SCHEDULE_DELAY": "100", "REBOOT_METHODS": "snmp_reboot"},
		lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	job := s.job(t, "reboot", s.lab.Machine("ms1-10"))
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome)
	want := []string{"POST", "RunWorkflow:reboot", "RunActivity:ResolveJob", "StartActivity:SNMPOutlet", "RunActivity:SNMPOutlet", "RunActivity:AwaitUp"}
	require.Eventually(t, func() bool {
		names := taken.of("RunWorkflow:reboot")
		for _, name := range want {
			if !slices.Contains(names, name) {
				return false
			}
		}
		return true
	}, enough, 100*time.Millisecond, "%v", want)
	logs, err := s.Logs()
	require.NoError(t, err)
	require.Regexp(t, `"msg":"request".*"trace_id":"[0-9a-f]{32}"`, logs)
	taken.mu.Lock()
	defer taken.mu.Unlock()
	require.Contains(t, taken.text, "machine/mdc1/ms1-10")
	for _, secret := range []string{accessToken, apiKey, lab.BMCPassword, lab.CommunityWrite, "Hawk "} {
		require.NotContains(t, taken.text, secret)
	}
}
