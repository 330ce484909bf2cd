package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/starter"
)

type startedCase struct {
	path     string
	headers  map[string]string
	job      starter.Job     // its task ID is filled in by the test
	want     starter.Request // client and worker IDs are filled in by the test
	decision string
}

func startedCases() map[string]startedCase {
	return map[string]startedCase{
		"path of the seed": {
			path: "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ping",
			want: starter.Request{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
		"later path": {
			path:    "/api/v1/workers/MS1-10/jobs?task_name=ipmi_reset&worker_group=mdc1&provisioner_id=releng-hardware&worker_type=gecko-t-linux-talos",
			headers: map[string]string{"Origin": "https://tools.taskcluster.net"},
			want: starter.Request{
				Task: "ipmi_reset", WorkerID: "ms1-10", WorkerGroup: "mdc1", ProvisionerID: "releng-hardware",
				WorkerType: "gecko-t-linux-talos", HTTPOrigin: "https://tools.taskcluster.net",
			},
		},
		"blank is absent": {
			path: "/api/v1/workers/ms1-10/jobs?task_name=ping&worker_group=&provisioner_id=%20&worker_type=",
			want: starter.Request{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "none"},
		},
		"longest names": {
			path: "/api/v1/workers/" + strings.Repeat("a", 128) + "/group/" + strings.Repeat("b", 128) + "/jobs?task_name=ping",
			want: starter.Request{Task: "ping", WorkerID: strings.Repeat("a", 128), WorkerGroup: strings.Repeat("b", 128)},
		},
		"bulk": {
			path: "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset&priority=bulk",
			want: starter.Request{Task: "ipmi_reset", WorkerID: "ms1-10", WorkerGroup: "mdc1", Bulk: true},
		},
		"drained": {
			path: "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset&drain=true&provisioner_id=p&worker_type=w",
			want: starter.Request{Task: "ipmi_reset", WorkerID: "ms1-10", WorkerGroup: "mdc1", Drain: new(true), ProvisionerID: "p", WorkerType: "w"},
		},
		"drained of the inventory": { // which this API does not know
			path: "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset&drain=true",
			want: starter.Request{Task: "ipmi_reset", WorkerID: "ms1-10", WorkerGroup: "mdc1", Drain: new(true)},
		},
		"not drained": {
			path: "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset&drain=false",
			want: starter.Request{Task: "ipmi_reset", WorkerID: "ms1-10", WorkerGroup: "mdc1", Drain: new(false)},
		},
		"joined": {
			path: "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset", job: starter.Job{Joined: true}, decision: "joined",
			want: starter.Request{Task: "ipmi_reset", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
		"repeated": {
			path: "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ipmi_reset", job: starter.Job{Joined: true, Repeated: true}, decision: "repeated",
			want: starter.Request{Task: "ipmi_reset", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
		"query in any order and encoding": {
			path: "/api/v1/workers/ms1%2D10/group/mdc1/jobs?z=%2f&task_name=p%69ng&a=1",
			want: starter.Request{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
		"forwarded headers are not believed": {
			path:    "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ping",
			headers: map[string]string{"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test", "X-Forwarded-Port": "444", "Forwarded": "host=evil.test;proto=https"},
			want:    starter.Request{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
		"strange origin is dropped": {
			path:    "/api/v1/workers/ms1-10/group/mdc1/jobs?task_name=ping",
			headers: map[string]string{"Origin": "https://x.test/<script>"},
			want:    starter.Request{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		},
	}
}

func TestStarted(t *testing.T) {
	t.Parallel()
	for name, tc := range startedCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			tc.job.TaskID = taskID
			h.starter.job = tc.job
			r := h.request(tc.path, sheriff)
			for key, value := range tc.headers {
				r.Header.Set(key, value)
			}
			a := h.do(r)
			require.Equal(t, http.StatusCreated, a.status, a.body)
			tc.want.ClientID = sheriff.ClientID
			tc.want.Repeats = []starter.Repeat{{Key: signatureHash(r.Header.Get("Authorization")), For: 31 * time.Minute, Bound: true}}
			require.Equal(t, []starter.Request{tc.want}, h.starter.requests())
			golden(t, a)
			line := h.line()
			if tc.decision == "" {
				tc.decision = "started"
			}
			for key, value := range map[string]any{
				"msg": "request", "decision": tc.decision, "client_id": sheriff.ClientID, "task": tc.want.Task,
				"worker_id": tc.want.WorkerID, "worker_group": tc.want.WorkerGroup, "status": float64(201),
				"request_id": "request-1", "task_id": taskID, "peer": "127.0.0.1", "method": "POST",
			} {
				require.Equal(t, value, line[key], key)
			}
			require.Contains(t, line, "duration_ms")
		})
	}
}
