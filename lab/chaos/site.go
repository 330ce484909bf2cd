package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
)

// timing is that of machines that boot in a second or two. HEARTBEAT_TIMEOUT is
// the least that roller takes: a worker that is gone is noticed by it.
var timing = map[string]string{
	"TASK_NAMES": "reboot,ping,ipmi_status,ssh_reboot,ipmi_reset,ipmi_cycle,ipmi_on,ipmi_off,ipmi_reboot," +
		"snmp_reboot,snmp_rebootdelay,ilo_reboot,moonshot_reset,xenapi_reboot",
	"REBOOT_METHODS": "ssh_reboot,ipmi_reset,ilo_reboot,moonshot_reset,xenapi_reboot,snmp_rebootdelay,file_bugzilla_bug",
	"DOWN_TIMEOUT":   "6s", "UP_TIMEOUT": "10s", "LAST_LOOK": "3s", "RUNG_RETRY": "2s", "RETRY_INTERVAL": "1s",
	"DEVICE_INTERVAL": rest.String(), "BMC_INTERVAL": "0.1s", "CHASSIS_INTERVAL": chassisRest.String(), "TURN_WAIT": "3s",
	"OFF_DELAY": "1s", "SNMP_REBOOT_DELAY": "2s", "ON_ALARM": "20s", "ON_RETRY": "3s", "ON_LIMIT": "2h",
	"BUG_WAIT": "10s", "BUG_RETRY": "10s", "COMMAND_TIMEOUT": "20s", "HEARTBEAT_TIMEOUT": "10s", "WORKER_STOP_TIMEOUT": "15s",
	"PROBE_INTERVAL": "0.25s", "PROBE_TIMEOUT": "2s", "SSH_TIMEOUT": "3s",
	"IPMI_TIMEOUT": "3s", "IPMI_SESSION_TIMEOUT": "5s", "IPMI_POWER_STATUS_WAIT": "4s", "IPMI_POWER_STATUS_INTERVAL": "1s",
	"SNMP_TIMEOUT": "3s", "SNMP_VERIFY_TIMEOUT": "6s", "ILO_TIMEOUT": "5s", "ILO_VERIFY_TIMEOUT": "10s",
	"XEN_TIMEOUT": "3s", "XEN_SHUTDOWN_TIMEOUT": "5s",
	"CLIENT_LIMIT": "none", "TOTAL_LIMIT": "none", // one sheriff clicks for all, often through the one API that is left
}

// rest is the least time between two turns at a PDU or a Xen pool, chassisRest at
// a chassis manager: one is Temporal's to wait for, the other the worker's.
const (
	rest        = time.Second
	chassisRest = 200 * time.Millisecond
)

// rests is the same by the lab's kinds of device. A BMC or an iLO is one machine's.
var rests = map[string]time.Duration{lab.DevicePDU: rest, lab.DeviceXen: rest, lab.DeviceMoonshot: chassisRest, lab.DeviceBMC: 0, lab.DeviceILO: 0}

// frozen is how long a worker is frozen: longer than HEARTBEAT_TIMEOUT, and than
// TURN_WAIT, DOWN_TIMEOUT and COMMAND_TIMEOUT together, which is a command's
// start-to-close timeout.
const frozen = 30 * time.Second

// sheriff may ask for everything.
const sheriff = "mozilla-auth0/ad|Mozilla-LDAP|sheriff"

// site is the fleet, what stands in for the services around roller, and
// roller's processes.
type site struct {
	*stack.Stack
	lab     *lab.Lab
	auth    *lab.Auth
	bugs    *lab.Bugzilla
	client  client.Client
	door    *starter.Starter
	token   string            // the sheriff's
	secrets map[string]string // what must be found nowhere, by what it is called
	slots   []*slot           // the processes, each of which may be killed and comes back
	striker *striker

	production *stack.Production // nil where Temporal is the dev server
}

// start starts everything. What it started is stopped by close, also after an
// error.
func start(ctx context.Context, o options, specs []lab.Spec) (*site, error) {
	s := &site{token: rand.Text(), striker: &striker{}}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var err error
	s.lab, err = lab.Start(lab.Options{Machines: specs, Seed: o.seed, During: s.striker.during}) //nolint:contextcheck // it is stopped by Close
	if err != nil {
		return s, err
	}
	env, err := s.services(ctx, o.dir)
	if err != nil {
		return s, err
	}
	production, err := stack.NewProduction(ctx, ".")
	if err != nil {
		return s, err
	}
	s.production = production
	s.Stack, err = stack.New(ctx, stack.Options{
		Dir: o.dir, Roller: filepath.Join(o.bin, "roller"), Temporal: filepath.Join(o.bin, "temporal"), Database: true, Env: env,
		Production: production,
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
	s.door = starter.New(s.client, s.Namespace, nil, 5*time.Second)
	return s, s.processes(ctx)
}

// services starts Taskcluster's and Bugzilla's stand-ins and returns roller's
// environment.
func (s *site) services(ctx context.Context, dir string) (map[string]string, error) {
	own, key := rand.Text(), rand.Text()
	s.auth = lab.NewAuth(
		lab.Client{ID: "roller", AccessToken: own, Scopes: []string{"auth:authenticate-hawk"}},
		lab.Client{ID: sheriff, AccessToken: s.token, Scopes: []string{"project:releng:roller:*"}},
	)
	root, err := s.auth.Start(ctx)
	if err != nil {
		return nil, err
	}
	s.bugs = lab.NewBugzilla(key)
	tracker, err := s.bugs.Start(ctx)
	if err != nil {
		return nil, err
	}
	env, err := s.lab.WriteFiles(filepath.Join(dir, "fleet"))
	if err != nil {
		return nil, err
	}
	private, err := privateKey(filepath.Join(dir, "fleet", "ssh.key"))
	if err != nil {
		return nil, err
	}
	s.secrets = map[string]string{
		"the sheriff's access token": s.token, "roller's access token": own, "Bugzilla's API key": key,
		"the BMCs' password": lab.BMCPassword, "the SNMP community": lab.CommunityWrite, "the Xen pool's password": lab.XenPassword,
		"the private key": private,
	}
	maps.Copy(env, timing)
	maps.Copy(env, map[string]string{
		"TASKCLUSTER_ROOT_URL": root, "TASKCLUSTER_CLIENT_ID": "roller", "TASKCLUSTER_ACCESS_TOKEN": own,
		"BUGZILLA_URL": tracker, "BUGZILLA_API_KEY": key, "ALLOWED_HOSTS": "127.0.0.1",
	})
	return env, nil
}

// processes starts two APIs and two workers.
func (s *site) processes(ctx context.Context) error {
	s.slots = []*slot{{kind: check.Server, name: "temporal", process: s.Server, start: s.restartServer}}
	if s.production != nil {
		s.slots = append(s.slots, &slot{kind: check.Database, name: "postgres", process: s.production.Postgres.Process, start: s.restartDatabase})
	}
	for _, name := range []string{"api1", "api2"} {
		port, err := stack.Port(0)
		if err != nil {
			return err
		}
		s.slots = append(s.slots, &slot{
			kind: check.API, name: name, url: fmt.Sprintf("http://127.0.0.1:%d", port),
			start: func(ctx context.Context) (*stack.Process, error) { return s.RunAPI(ctx, name, port) },
		})
	}
	for _, name := range []string{"worker1", "worker2"} {
		s.slots = append(s.slots, &slot{
			kind: check.Worker, name: name,
			start: func(context.Context) (*stack.Process, error) { return s.RunWorker(name) },
		})
	}
	for _, p := range s.slots {
		if err := p.up(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) restartServer(ctx context.Context) (*stack.Process, error) {
	err := s.StartServer(ctx)
	return s.Server, err
}

func (s *site) restartDatabase(ctx context.Context) (*stack.Process, error) {
	err := s.production.Postgres.Start(ctx)
	return s.production.Postgres.Process, err
}

// kinds of processes that are killed.
func (s *site) kinds() []string {
	kinds := []string{check.Worker, check.API, check.Server}
	if s.production != nil {
		kinds = append(kinds, check.Database)
	}
	return kinds
}

// kind returns the slots of one kind of process.
func (s *site) kind(kind string) []*slot {
	var out []*slot
	for _, p := range s.slots {
		if p.kind == kind {
			out = append(out, p)
		}
	}
	return out
}

// stopRoller stops roller's processes, workers first.
func (s *site) stopRoller() {
	for _, kind := range []string{check.Worker, check.API} {
		for _, p := range s.kind(kind) {
			p.stop()
		}
	}
}

// close stops everything.
func (s *site) close() error {
	if s.client != nil {
		s.client.Close()
	}
	s.stopRoller()
	if s.Stack != nil {
		s.Server.Stop()
	}
	if s.production != nil {
		s.production.Postgres.Close()
	}
	var errs []error
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

// privateKey returns a line of the key that is in no other key.
func privateKey(path string) (string, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the lab's own file
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) < 4 {
		return "", fmt.Errorf("%s: %d lines are no private key", path, len(lines))
	}
	return lines[len(lines)-3], nil
}
