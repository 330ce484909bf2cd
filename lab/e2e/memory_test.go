package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// enlarge adds machines like the first one to the inventory's files.
func (s *site) enlarge(t *testing.T, like string, to int) {
	t.Helper()
	for _, file := range []string{"FQDN_TO_SSH_FILE", "FQDN_TO_IPMI_FILE", "FQDN_TO_PDU_FILE"} {
		text, err := os.ReadFile(s.Env[file])
		require.NoError(t, err)
		entries := map[string]map[string]any{}
		require.NoError(t, json.Unmarshal(text, &entries))
		for n := len(entries); n < to; n++ {
			entry := maps.Clone(entries[like])
			entry["addr"], entry["port"] = fmt.Sprintf("192.0.2.%d", n%250), 1000+n // of documentation (RFC 5737): nothing is sent there
			if entry["pdu"] != nil {
				entry["pdu"] = fmt.Sprintf("pdu-%d.mdc1.example:AA1", n)
			}
			entries[strings.Replace(like, "ms1-10", fmt.Sprintf("ms9-%d", n), 1)] = entry
		}
		text, err = json.Marshal(entries)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(s.Env[file], text, 0o600))
	}
}

var anonymous = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)

// rssAnon is a process's anonymous resident memory in MiB (proc_pid_status(5)).
func rssAnon(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	kib, err := strconv.ParseFloat(anonymous.FindStringSubmatch(string(text))[1], 64)
	require.NoError(t, err)
	return kib / 1024
}

// An idle worker has less than 80 MiB of anonymous memory, and an API less than 50,
// as they are built for use, with the inventory of a large fleet and after some jobs.
func TestMemory(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "roller") // the race detector's is larger
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", plain, "../../cmd/roller").CombinedOutput()
	require.NoError(t, err, "%s", out)
	var specs []lab.Spec
	for n := range 8 {
		specs = append(specs, lab.Spec{WorkerID: fmt.Sprintf("ms1-1%d", n), WorkerGroup: "mdc1"})
	}
	s := newSite(t, nil, specs...)
	s.API.Stop()
	s.Workers[0].Stop()
	s.enlarge(t, s.lab.Machine("ms1-10").FQDN(), 1068) // 14 chassis of 45 cartridges, and the Macs
	s.Roller = plain
	require.NoError(t, s.StartAPI(t.Context()))
	worker, err := s.StartWorker()
	require.NoError(t, err)
	var jobs []starter.Job
	for _, m := range s.lab.Machines() {
		jobs = append(jobs, s.job(t, "reboot", m))
	}
	for _, job := range jobs {
		r, _ := s.end(t, job)
		require.Equal(t, workflows.Back, r.Outcome, pretty(r))
	}
	a := s.ask(t, tcclient.Credentials{ClientID: sheriff, AccessToken: accessToken}, http.MethodGet, "/api/v1/workers?limit=100")
	require.Equal(t, http.StatusOK, a.Status)
	require.NotEmpty(t, a.Body["continuationToken"], "the inventory is there")
	t.Logf("api %.1f MiB, worker %.1f MiB", rssAnon(t, s.API.PID()), rssAnon(t, worker.PID()))
	require.Less(t, rssAnon(t, s.API.PID()), 50.0)
	require.Less(t, rssAnon(t, worker.PID()), 80.0)
}
