package e2e

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// managed is a frontend as a managed Temporal has it: by TLS, for who has the API
// key, and with no way to namespaces and search attributes.
type managed struct {
	stack.Frontend

	key    atomic.Pointer[string]
	listed atomic.Bool // search attributes may be listed
	open   atomic.Bool // everything may be done, as by whoever makes the namespace
}

func newManaged(t *testing.T, dir, key string) *managed {
	t.Helper()
	ca := newAuthority(t, dir, "ca")
	ca.issue(t, dir, "server")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	require.NoError(t, err)
	m := &managed{}
	m.key.Store(&key)
	m.open.Store(true)
	m.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	m.Refuses = m.refuses
	return m
}

func (m *managed) refuses(method string, headers metadata.MD) error {
	if !slices.Equal(headers.Get("authorization"), []string{"Bearer " + *m.key.Load()}) {
		return stack.Unauthenticated("invalid API key")
	}
	switch path.Base(method) {
	case "RegisterNamespace", "UpdateNamespace", "AddSearchAttributes":
	case "ListSearchAttributes":
		if m.listed.Load() {
			return nil
		}
	default:
		return nil
	}
	if m.open.Load() {
		return nil
	}
	return stack.Forbidden("Request unauthorized.")
}

// setsUp runs `roller setup` for a namespace and returns what it says.
func (s *site) setsUp(t *testing.T, namespace string) (said string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.Roller, "setup")
	cmd.Env = append(s.Environ(), "TEMPORAL_NAMESPACE="+namespace)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// On a managed Temporal roller reads its API key from a file and speaks TLS; setup
// checks what it may not make, says what is missing, and may be repeated; a key
// that is replaced counts at once, and jobs that ran meanwhile go on.
func TestManagedTemporal(t *testing.T) {
	t.Parallel()
	const first, second = "the-first-api-key", "the-second-api-key"
	dir := t.TempDir()
	file := filepath.Join(dir, "api-key")
	require.NoError(t, os.WriteFile(file, []byte(first+"\n"), 0o600))
	m := newManaged(t, dir, first)
	s := newSiteOn(t, stack.Options{Production: production, Frontend: &m.Frontend, Env: map[string]string{
		"TEMPORAL_API_KEY_FILE": file, "TEMPORAL_TLS_SERVER_CA_CERT_PATH": filepath.Join(dir, "ca.pem"),
		"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "10s",
	}}, nil, lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	m.open.Store(false)
	s.setsUpByHand(t, m)

	// The key expires while the machine is off.
	machine := s.lab.Machine("ms1-10")
	job := s.job(t, "reboot", machine)
	s.saw(t, "the outlet is off", func() bool { return !machine.State().Power })
	m.key.Store(new(second))
	a := s.post(t, "reboot", "ms1-10", "mdc1")
	require.Equal(t, http.StatusServiceUnavailable, a.Status, "%s", a.Raw)
	require.NoError(t, os.WriteFile(file, []byte(second+"\n"), 0o600))
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome, pretty(r))
	require.Equal(t, []string{"pdu set AA off", "pdu set AA on"}, outlets(s.executed(machine)))
	logs, err := s.Logs()
	require.NoError(t, err)
	require.NotContains(t, logs, first)
	require.NotContains(t, logs, second)
}

// setsUpByHand goes by what setup says, until it is content.
func (s *site) setsUpByHand(t *testing.T, m *managed) {
	t.Helper()
	const namespace = "by-hand"
	said, err := s.setsUp(t, namespace)
	require.Error(t, err)
	require.Contains(t, said, "namespace by-hand (TEMPORAL_NAMESPACE) is not there, and may not be made from here: make it by hand, with a retention of 30 days")
	_, err = s.client.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: namespace, WorkflowExecutionRetentionPeriod: durationpb.New(7 * 24 * time.Hour),
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool { // every part of the server knows of it
		_, err := s.client.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
		return err == nil
	}, enough, 200*time.Millisecond)

	const missing = "RollerClientId=Keyword, RollerOff=Keyword, RollerOutcome=Keyword, RollerRequest=KeywordList, RollerRung=Keyword, RollerTask=Keyword, RollerWorkerGroup=Keyword, RollerWorkerId=Keyword"
	for _, listed := range []bool{true, false} {
		m.listed.Store(listed)
		said, err = s.setsUp(t, namespace)
		require.Error(t, err)
		require.Contains(t, said, "search attributes are missing, and may not be added from here: by hand, add to namespace by-hand "+missing)
	}
	attributes := map[string]enumspb.IndexedValueType{}
	for _, k := range workflows.SearchAttributes {
		attributes[k.GetName()] = k.GetValueType()
	}
	_, err = s.client.OperatorService().AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: attributes})
	require.NoError(t, err)
	for _, schedule := range []string{"created", "is there"} {
		require.Eventually(t, func() bool { // every part of the server knows of them
			said, err = s.setsUp(t, namespace)
			return err == nil
		}, enough, 200*time.Millisecond, "%s", said)
		require.Contains(t, said, "namespace by-hand keeps closed jobs for 7 days, and may not be changed from here: by hand, make it 30")
		require.Contains(t, said, "search attributes are there")
		require.Contains(t, said, "schedule power_on_left "+schedule)
	}
}
