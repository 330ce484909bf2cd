package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	batchpb "go.temporal.io/api/batch/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// sheriff may ask for everything.
const sheriff = "mozilla-auth0/ad|Mozilla-LDAP|sheriff"

// quick is the environment of roller where machines boot in no time.
var quick = map[string]string{
	"DEVICE_INTERVAL": "0", "BMC_INTERVAL": "0", "CHASSIS_INTERVAL": "0",
	"DOWN_TIMEOUT": "6s", "UP_TIMEOUT": "20s", "RUNG_RETRY": "1s", "SNMP_REBOOT_DELAY": "1s",
	"PROBE_INTERVAL": "0.1s", "PROBE_TIMEOUT": "1s", "RETRY_INTERVAL": "1s", "LAST_LOOK": "1s", "WORKER_STOP_TIMEOUT": "2s",
	"CLIENT_LIMIT": "none", "TOTAL_LIMIT": "none", "START_TIMEOUT": "30s", "TASKCLUSTER_TIMEOUT": "30s",
	"TASK_NAMES": "reboot,ping",
}

// site is a fleet, the services around roller, and Temporal. Roller's own
// processes each row starts as it needs them.
type site struct {
	*stack.Stack
	lab    *lab.Lab
	auth   *lab.Auth
	bugs   *lab.Bugzilla
	token  string // the sheriff's
	client client.Client
	door   *starter.Starter
}

// fleet is what a row's machines are.
type fleet struct {
	machines []lab.Spec
	during   lab.During        // holds commands; nil: nothing does
	env      map[string]string // of roller, beside quick
}

// site starts one with the row's name; close ends it, also after an error.
func (b *bench) site(ctx context.Context, name string, f fleet) (s *site, err error) {
	s = &site{token: rand.Text()}
	dir, err := filepath.Abs(filepath.Join(b.dir, name))
	if err != nil {
		return s, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, err
	}
	s.lab, err = lab.Start(lab.Options{Machines: f.machines, Seed: 1, During: f.during}) //nolint:contextcheck // it is stopped by close
	if err != nil {
		return s, err
	}
	env, err := s.services(ctx, filepath.Join(dir, "fleet"))
	if err != nil {
		return s, err
	}
	maps.Copy(env, quick)
	maps.Copy(env, f.env)
	s.Stack, err = stack.New(ctx, stack.Options{
		Dir: dir, Roller: filepath.Join(b.bin, "roller"), Temporal: filepath.Join(b.bin, "temporal"),
		Running: b.temporal, Namespace: b.namespace(), Env: env,
	})
	if err != nil {
		return s, err
	}
	if err := s.Setup(ctx); err != nil {
		return s, err
	}
	if s.client, err = s.Dial(ctx); err != nil {
		return s, err
	}
	info, err := s.client.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	if err != nil {
		return s, err
	}
	b.server = info.GetServerVersion()
	s.door = starter.New(s.client, s.Namespace, nil, 30*time.Second)
	return s, nil
}

// namespace is one of the benchmark's own where Temporal is not.
func (b *bench) namespace() string {
	if b.temporal == "" {
		return "default"
	}
	return "roller-bench"
}

// services starts the stand-ins for Taskcluster and Bugzilla, and returns roller's
// environment.
func (s *site) services(ctx context.Context, dir string) (map[string]string, error) {
	env, err := s.lab.WriteFiles(dir)
	if err != nil {
		return nil, err
	}
	s.auth = lab.NewAuth(lab.Client{ID: sheriff, AccessToken: s.token, Scopes: []string{"project:releng:roller:*"}})
	root, err := s.auth.Start(ctx)
	if err != nil {
		return nil, err
	}
	key := rand.Text()
	s.bugs = lab.NewBugzilla(key)
	tracker, err := s.bugs.Start(ctx)
	if err != nil {
		return nil, err
	}
	maps.Copy(env, map[string]string{
		"TASKCLUSTER_ROOT_URL": root, "BUGZILLA_URL": tracker, "BUGZILLA_API_KEY": key, "ALLOWED_HOSTS": "127.0.0.1",
	})
	return env, nil
}

// reboot starts a ladder as the API does, past the API.
func (s *site) reboot(ctx context.Context, m *lab.Machine) (starter.Job, error) {
	job, err := s.door.Start(ctx, starter.Request{Task: "reboot", WorkerID: m.Spec().WorkerID, WorkerGroup: m.Spec().WorkerGroup})
	if err != nil {
		return job, fmt.Errorf("reboot %s: %w", m.FQDN(), err)
	}
	return job, nil
}

// close stops everything that was started.
func (s *site) close(ctx context.Context) error {
	var errs []error
	if s.client != nil {
		errs = append(errs, s.clear(ctx))
		s.client.Close()
	}
	if s.Stack != nil {
		s.Close()
	}
	if s.auth != nil {
		errs = append(errs, s.auth.Close())
	}
	if s.bugs != nil {
		errs = append(errs, s.bugs.Close())
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}
	return errors.Join(errs...)
}

// clear ends what a row left running in a Temporal that lives on.
func (s *site) clear(ctx context.Context) error {
	if s.Running == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // also after a Ctrl-C
	defer cancel()
	_, err := s.client.WorkflowService().StartBatchOperation(ctx, &workflowservice.StartBatchOperationRequest{
		Namespace: s.Namespace, JobId: rand.Text(), Reason: "the benchmark has ended",
		VisibilityQuery: fmt.Sprintf(`ExecutionStatus = "Running" AND TaskQueue IN (%q, "bare") AND StartTime < %q`,
			workflows.TaskQueue, time.Now().UTC().Format(time.RFC3339Nano)), // the next row's are not meant
		Operation: &workflowservice.StartBatchOperationRequest_TerminationOperation{TerminationOperation: &batchpb.BatchOperationTermination{}},
	})
	return err
}
