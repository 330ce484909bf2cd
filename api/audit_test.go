package api

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
)

// Each request leaves one line that says who asked for what, and what became of
// it; and nothing of what it carried. (The harness looks for headers in all logs.)
func TestAudit(t *testing.T) {
	t.Parallel()
	const jobs = "/api/v1/workers/ms1-10/group/mdc1/jobs"
	machine := map[string]any{"worker_id": "ms1-10", "worker_group": "mdc1"}
	one := map[string]any{"worker_id": "ms1-10", "worker_group": "mdc1", "task_id": taskID}
	for name, tc := range map[string]struct {
		method, path string
		who          tcclient.Credentials
		decision     string
		status       int
		also         map[string]any
	}{
		"history":              {"GET", jobs, monitor, "answered", 200, machine},
		"one job":              {"GET", jobs + "/" + taskID, monitor, "answered", 200, one},
		"cancel":               {"DELETE", jobs + "/" + taskID, sheriff, "cancelled", 202, one},
		"cancel, not allowed":  {"DELETE", jobs + "/" + taskID, monitor, "InsufficientScopes", 403, one},
		"history, not allowed": {"GET", jobs, stranger, "InsufficientScopes", 403, machine},
		"workers":              {"GET", "/api/v1/workers", monitor, "answered", 200, nil},
		"start, not allowed":   {"POST", jobs + "?task_name=ping", stranger, "InsufficientScopes", 403, map[string]any{"task": "ping", "worker_id": "ms1-10"}},
		"start, wrong":         {"POST", jobs + "?task_name=ping&priority=high", sheriff, "InputValidationError", 400, map[string]any{"task": "ping"}},
		"not signed":           {"GET", jobs, tcclient.Credentials{}, "AuthenticationFailed", 401, machine},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, withInventory())
			h.starter.view = climbing()
			r := h.signed(tc.method, tc.path, tc.who)
			want := map[string]any{
				"msg": "request", "level": "INFO", "decision": tc.decision, "method": tc.method, "path": r.URL.Path,
				"status": float64(tc.status), "client_id": tc.who.ClientID, "peer": "127.0.0.1", "request_id": "request-1",
			}
			if tc.who.ClientID == "" {
				r.Header.Set("Authorization", "Bearer eyJhY2Nlc3NUb2tlbiI6InNlY3JldCJ9")
				want["client_id"] = nil
			}
			maps.Copy(want, tc.also)
			a := h.do(r)
			require.Equal(t, tc.status, a.status, a.body)
			line := h.line()
			for key, value := range want {
				require.Equal(t, value, line[key], key)
			}
			known := []string{"time", "duration_ms", "reason", "err", "task", "worker_id", "worker_group", "task_id", "via"}
			for key := range line {
				require.True(t, slices.Contains(known, key) || want[key] != nil, "%s is no part of the line", key)
			}
			require.Equal(t, tc.status >= http.StatusBadRequest, line["reason"] != nil)
		})
	}
}
