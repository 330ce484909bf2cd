//go:build lab && linux

package netns

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// terminal is roller's own program, run inside the lab's network.
type terminal struct {
	t       *testing.T
	l       *Lab
	program string
	env     []string
	space   string // where it runs; "": in the lab's own
}

func newTerminal(t *testing.T, l *Lab) *terminal {
	t.Helper()
	dir := t.TempDir()
	s := &terminal{t: t, l: l, program: filepath.Join(dir, "roller")}
	_, err := rig.Run("go", "build", "-o", s.program, "github.com/mozilla-platform-ops/roller/cmd/roller")
	require.NoError(t, err)
	s.env = append(os.Environ(), "IPMI_PASSWORD="+BMCPassword, "IPMI_SESSION_TIMEOUT=5s")
	for k, v := range l.WriteFiles(dir) {
		s.env = append(s.env, k+"="+v)
	}
	return s
}

// say runs one command line; interrupt, if it is not nil, says when Ctrl-C comes.
func (s *terminal) say(interrupt func() bool, line ...string) (out string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := rig.Command(ctx, cmp.Or(s.space, s.l.space("lab")), s.program, line...)
	var said bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, &said, &said
	require.NoError(s.t, cmd.Start())
	if interrupt != nil {
		require.NoError(s.t, s.l.Wait(ctx, interrupt))
		require.NoError(s.t, cmd.Process.Signal(os.Interrupt))
	}
	_ = cmd.Wait() // the status says it
	require.NoError(s.t, ctx.Err(), "it did not end: %s", said.String())
	require.NotContains(s.t, said.String(), BMCPassword)
	s.t.Logf("roller %q: %d %s", line, cmd.ProcessState.ExitCode(), said.String())
	return said.String(), cmd.ProcessState.ExitCode()
}

// The commands ipmitool and ipmi_reboot --direct, by the ipmitool program and by
// the library, against OpenIPMI's BMC.
func TestIPMICommandsOnARealBMC(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	s := newTerminal(t, l)
	bmc := []string{"-H", m.BMC().Addr, "-I", "lanplus", "-L", "OPERATOR", "-p", "623", "-U", BMCUser, "-C", "3", "--timeout", "5"}
	with := func(first string, more ...string) []string { return append(append([]string{first}, bmc...), more...) }

	out, status := s.say(nil, with("ipmitool", "chassis", "power", "status")...)
	require.Zero(t, status)
	require.Equal(t, "Chassis Power is on\n", out)
	out, status = s.say(nil, "ipmitool", m.FQDN, "mc", "info") // suite 17 is refused, then 3
	require.Zero(t, status)
	require.Contains(t, out, "IPMI Version              : 2.0")
	out, status = s.say(nil, "ipmitool", m.ID, "mdc1", "sel", "list")
	require.Zero(t, status)
	require.Contains(t, out, "SEL has no entries")

	out, status = s.say(nil, with("ipmitool", "chassis", "power", "reset")...)
	require.Equal(t, 2, status)
	require.Contains(t, out, "say --direct")
	require.Empty(t, controls(l, m))
	began := rig.Now()
	_, status = s.say(nil, with("ipmitool", "--direct", "chassis", "power", "reset")...)
	require.Zero(t, status)
	require.Equal(t, []string{"chassis power reset"}, controls(l, m))
	edgeAfter(t, l, m, rig.Banner, began)

	s.env = append(s.env, "IPMI_PASSWORD=s3cret-wrong")
	out, status = s.say(nil, with("ipmitool", "mc", "info")...)
	require.Equal(t, 1, status)
	require.Contains(t, out, "refused: ")
	s.env = append(s.env, "IPMI_PASSWORD="+BMCPassword)

	began = rig.Now()
	out, status = s.say(nil, with("ipmi_reboot", "--direct", "--delay", "0.2", "--power-status-wait", "5", "--power-status-wait-interval", "0.2")...)
	require.Zero(t, status)
	require.Contains(t, out, "power is on")
	require.Equal(t, []string{"chassis power soft", "chassis power on"}, controls(l, m)[1:])
	edgeAfter(t, l, m, rig.Banner, began)

	off := func() bool { return !state(t, m).Power }
	began = rig.Now()
	out, status = s.say(off, with("ipmi_reboot", "--direct", "--delay", "10m", "--power-status-wait-interval", "0.2")...)
	require.Equal(t, 1, status)
	require.Contains(t, out, "interrupted: powering on first")
	require.Equal(t, []string{"chassis power soft", "chassis power on"}, controls(l, m)[3:])
	edgeAfter(t, l, m, rig.Banner, began)
	require.True(t, state(t, m).Power)
}
