package workflows

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/activities"
)

// queues runs a job and returns the task queues that its activities went to, by
// the activity's name.
func queues(w *world, run func()) map[string]string {
	found := map[string]string{}
	w.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		found[info.ActivityType.Name] = info.TaskQueue
	})
	run()
	return found
}

// What touches a machine goes to the workers of its site, if it has any, and
// nothing else does.
func TestSiteQueues(t *testing.T) {
	t.Parallel()
	for own, want := range map[bool][2]string{
		false: {"roller", "roller.watch"},
		true:  {"roller.one", "roller.one.watch"},
	} {
		w := newWorld(t, "reboot", "ssh_reboot", "snmp_rebootdelay", "file_bugzilla_bug")
		w.plan.Site, w.plan.OwnWorkers = "one", own
		w.answers, w.ups = []answer{ignored, isOff, isOn}, []activities.Sight{up}
		got := queues(w, func() { _, _ = w.run(t, "reboot") })
		require.Equal(t, "roller", got["ResolveJob"])
		require.Equal(t, want[0], got["SSHReboot"])
		require.Equal(t, want[0], got["SNMPOutlet"])
		require.Equal(t, want[1], got["AwaitUp"])

		w = newWorld(t, "ipmi_status")
		w.plan.Site, w.plan.OwnWorkers = "one", own
		got = queues(w, func() { _, _ = w.run(t, "ipmi_status") })
		require.Equal(t, want[0], got["IPMIStatus"])

		// So does what powers on after a run that was closed.
		w = newWorld(t, PowerOnType, "snmp_rebootdelay")
		w.recalled.Site, w.recalled.OwnWorkers = "one", own
		w.answers = []answer{isOn}
		got = queues(w, func() {
			w.env.ExecuteWorkflow(PowerOnType, LeftOff{Machine: ms1, Rung: "snmp_rebootdelay", WorkflowID: MachineID(ms1), RunID: "x"})
		})
		require.Equal(t, "roller", got["RecallOff"])
		require.Equal(t, want[0], got["SNMPOutlet"])
	}
}
