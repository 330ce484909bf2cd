package activities

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// rig is one simulated machine with its devices and the activities of a worker
// that has it in its inventory.
type rig struct {
	*Activities
	lab     *lab.Lab
	machine *lab.Machine
	name    config.Name
}

// Times of the rig: a machine boots in 250 ms, which is five probes.
const (
	rigProbe = 50 * time.Millisecond
	rigBoot  = 250 * time.Millisecond
	rigWatch = config.Duration(10 * time.Second)
)

// newRig starts the lab and reads the files it writes as a worker would.
func newRig(t *testing.T, spec lab.Spec) *rig {
	t.Helper()
	return newRigDuring(t, spec, nil)
}

// newRigDuring is newRig with devices that stop in mid-command.
func newRigDuring(t *testing.T, spec lab.Spec, during lab.During) *rig {
	t.Helper()
	spec.WorkerID, spec.WorkerGroup = "ms1-10", "mdc1"
	if spec.Timing == (lab.Timing{}) {
		spec.Timing = lab.Timing{Shutdown: 50 * time.Millisecond, Boot: rigBoot, SSHDelay: 50 * time.Millisecond, Cycle: 100 * time.Millisecond, PDUDelay: 200 * time.Millisecond}
	}
	l, err := lab.Start(lab.Options{Machines: []lab.Spec{spec}, Seed: 1, During: during})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	env, err := l.WriteFiles(t.TempDir())
	require.NoError(t, err)
	environ := []string{
		"PROBE_INTERVAL=50ms", "PROBE_TIMEOUT=500ms", "DOWN_PROBES=3", "SSH_TIMEOUT=5s",
		"IPMI_TIMEOUT=2s", "SNMP_TIMEOUT=2s", "SNMP_VERIFY_TIMEOUT=10s",
	}
	for k, v := range env {
		environ = append(environ, k+"="+v)
	}
	cfg, err := config.Load(environ)
	require.NoError(t, err)
	inv, err := config.LoadInventory(cfg.Files)
	require.NoError(t, err)
	return &rig{
		Activities: New(cfg, func() *config.Inventory { return inv }),
		lab:        l, machine: l.Machines()[0], name: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"},
	}
}

// entry is the machine as the inventory has it.
func (r *rig) entry(t *testing.T) config.Machine {
	t.Helper()
	m, err := r.lookup(r.name)
	require.NoError(t, err)
	return m
}

// command is for whatever device the machine's entry names.
func (r *rig) command(action Action, down config.Duration) Command {
	c := Command{Machine: r.name, Action: action, DownTimeout: down}
	if m, err := r.lookup(r.name); err == nil && (action == Off || action == On) {
		c.Target = Target{Outlets: targetOutlets(m.Outlets), BMC: targetBMC(m.IPMI), VM: targetVM(m.Xen), ILO: targetILO(m.ILO)}
	}
	return c
}

// call is how one activity is executed.
type call struct {
	details any                                   // heartbeat details of the attempt before
	stop    chan struct{}                         // the worker's stop channel
	onBeat  func(details converter.EncodedValues) // called for each heartbeat
	wrap    func(context.Context) context.Context // changes the activity's context
}

// execute runs an activity as a worker does.
func execute[I, O any](t *testing.T, fn func(context.Context, I) (O, error), in I, c call) (O, error) {
	t.Helper()
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	if c.details != nil {
		env.SetHeartbeatDetails(c.details)
	}
	if c.stop != nil {
		env.SetWorkerStopChannel(c.stop)
	}
	if c.onBeat != nil {
		env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) { c.onBeat(details) })
	}
	act := func(ctx context.Context, in I) (O, error) {
		if c.wrap != nil {
			ctx = c.wrap(ctx)
		}
		return fn(ctx, in)
	}
	env.RegisterActivityWithOptions(act, activity.RegisterOptions{Name: "act"})
	var out O
	value, err := env.ExecuteActivity("act", in)
	if err == nil {
		require.NoError(t, value.Get(&out))
	}
	return out, err
}

// requireMeaning checks what crosses the wire, and returns its message.
func requireMeaning(t *testing.T, err error, want Meaning, retry bool) string {
	t.Helper()
	app, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, string(want), app.Type(), app.Message())
	require.Equal(t, retry, !app.NonRetryable(), app.Message())
	require.NotContains(t, err.Error(), lab.BMCPassword)
	require.NotContains(t, err.Error(), lab.CommunityWrite)
	return app.Message()
}
