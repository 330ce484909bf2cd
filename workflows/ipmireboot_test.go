package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

var softOff = config.Duration(2 * time.Minute)

// ipmi_reboot is off, a durable wait and on, as a rung and as a task.
func TestIPMIReboot(t *testing.T) {
	t.Parallel()
	for _, task := range []string{"reboot", "ipmi_reboot"} {
		t.Run(task, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, task, "ipmi_reboot")
			w.plan.Timing.SoftOff = softOff
			w.answers, w.ups = []answer{isOff, isOn}, []activities.Sight{up}
			r, err := w.run(t, task)
			require.NoError(t, err)
			require.Equal(t, Back, r.Outcome)
			require.Equal(t, []activities.Action{activities.Off, activities.On}, actions(w.commands))
			require.False(t, w.commands[1].Pending, "off was read")
			require.GreaterOrEqual(t, r.EndedAt.Sub(r.StartedAt), w.plan.Timing.OffDelay.D(), "the wait is the off delay")
		})
	}
}

// Promise 4: where the off was not read, it may still be under way; on is told.
func TestOnAwaitsASoftOffThatMayBeUnderWay(t *testing.T) {
	t.Parallel()
	lost := answer{err: temporal.NewNonRetryableApplicationError("?", string(activities.Unknown), nil)}
	unread := answer{result: activities.CommandResult{
		Sent: "chassis power soft", Power: "on", Unknown: "?", Baseline: wasUp,
		Watch: activities.Sight{Done: true, Up: true},
	}}
	for name, c := range map[string]struct {
		rung    string
		off     answer
		pending bool
	}{
		"lost":             {"ipmi_reboot", lost, true},
		"not read back":    {"ipmi_reboot", unread, true},
		"the PDU's is now": {"snmp_rebootdelay", unread, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "reboot", c.rung)
			w.plan.Timing.SoftOff = softOff
			w.answers = []answer{c.off, isOn}
			w.downs, w.ups = []activities.Sight{{Done: true, Down: true}}, []activities.Sight{up}
			_, _ = w.run(t, "reboot")
			require.Equal(t, []activities.Action{activities.Off, activities.On}, actions(w.commands))
			require.Equal(t, c.pending, w.commands[1].Pending)
		})
	}
}

// A run that was closed in the middle of a soft off: what powers on after it
// does not know how far it came.
func TestPowerOnAfterASoftOffIsPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "power_on", "ipmi_reboot")
	w.answers = []answer{isOn}
	w.env.ExecuteWorkflow(PowerOnType, LeftOff{Machine: ms1, Rung: "ipmi_reboot"})
	require.NoError(t, w.env.GetWorkflowError())
	require.Len(t, w.commands, 1)
	require.True(t, w.commands[0].Pending)
}

// The off may take the soft wait longer than any other command.
func TestSoftOffHasItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "reboot", "ipmi_reboot")
	w.plan.Timing.SoftOff = softOff
	var limit time.Duration
	w.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name == "IPMIReboot" && limit == 0 {
			limit = info.Deadline.Sub(info.StartedTime)
		}
	})
	w.answers, w.ups = []answer{isOff, isOn}, []activities.Sight{up}
	_, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Greater(t, limit, w.plan.Timing.Down.D()+w.plan.Timing.SoftOff.D()+2*time.Minute)
}
