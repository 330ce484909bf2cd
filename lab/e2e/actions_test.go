package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// roller runs the command line as an operator does.
func (s *site) roller(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Roller, args...)
	cmd.Env = s.Environ()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		require.NoError(t, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// TestActionsByName: an action by its old name, given a machine of the
// inventory, is a job that can be found, and the terminal follows it.
func TestActionsByName(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, lab.Spec{WorkerID: "ms1-11", WorkerGroup: "mdc1"})
	m, other := s.lab.Machines()[0], s.lab.Machines()[1]

	out, status := s.roller(t, "ssh_reboot", "MS1-10", "mdc1")
	require.Zero(t, status, out)
	require.Contains(t, out, "started: ")
	require.Contains(t, out, "back")
	require.Equal(t, []string{"ssh reboot"}, s.executed(m))
	v, err := s.door.Show(t.Context(), workflows.MachineID(name(m)), "")
	require.NoError(t, err)
	require.Equal(t, "ssh_reboot", v.Task)

	out, status = s.roller(t, "snmp_rebootdelay", m.FQDN())
	require.Zero(t, status, out)
	require.Equal(t, []string{"ssh reboot", "pdu set AA1 off", "pdu set AA1 on"}, s.executed(m))

	out, status = s.roller(t, "ipmi_off", "ms1-11")
	require.Zero(t, status, out)
	require.False(t, other.State().Power)
	out, status = s.roller(t, "ssh_reboot", "ms1-11", "mdc1") // off: skipped, and nothing else to try
	require.Equal(t, 9, status, out)
	out, status = s.roller(t, "ipmi_status", "ms1-11", "mdc1")
	require.Zero(t, status, out)
	require.Contains(t, out, "Chassis Power is off")
	out, status = s.roller(t, "reboot", other.FQDN())
	require.Zero(t, status, out)
	require.True(t, other.State().Power)
}
