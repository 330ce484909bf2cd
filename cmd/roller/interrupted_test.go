package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

// TestInterrupted presses Ctrl-C while the machine is off, or on its way there.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec     lab.Spec
		args     func(t *testing.T, s *site) []string
		env      string
		controls []string // the first is there when Ctrl-C comes
	}{
		"snmp_rebootdelay": {
			args: func(_ *testing.T, s *site) []string {
				return args("snmp_rebootdelay", "--direct", "--delay", "10m", s.pdu())
			},
			controls: []string{"pdu set AA1 off", "pdu set AA1 on"},
		},
		"ipmi_reboot": {
			args: func(_ *testing.T, s *site) []string {
				return args("ipmi_reboot", "--direct", s.bmc(), "--delay", "10m", "--power-status-wait-interval", "0.1")
			},
			env: "IPMI_PASSWORD=" + lab.BMCPassword, controls: []string{"bmc chassis power soft", "bmc chassis power on"},
		},
		"ipmi_reboot, soft ignored": {
			spec: lab.Spec{Faults: lab.Faults{Hung: true}},
			args: func(_ *testing.T, s *site) []string {
				return args("ipmi_reboot", "--direct", s.bmc(), "--delay", "10m", "--power-status-wait", "2", "--power-status-wait-interval", "0.1")
			},
			env:      "IPMI_PASSWORD=" + lab.BMCPassword,
			controls: []string{"bmc chassis power soft", "bmc chassis power off", "bmc chassis power on"},
		},
		"ilo_reboot": {
			spec: lab.Spec{ILO: true, Faults: lab.Faults{Web: lab.WebFaults{Offers: "On,ForceOff"}}},
			args: func(t *testing.T, s *site) []string {
				return args("ilo_reboot", "--direct", "--delay", "10m", s.web(t))
			},
			env: "ILO_PASSWORD=" + lab.BMCPassword, controls: []string{"ilo reset ForceOff", "ilo reset On"},
		},
		"xenapi_reboot": {
			spec: lab.Spec{VM: true},
			args: func(_ *testing.T, s *site) []string {
				return args("xenapi_reboot", "--direct", "--delay", "10m", s.machine.VMUUID())
			},
			controls: []string{"xen VM.clean_shutdown", "xen VM.start"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.spec)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, rollerBinary, c.args(t, s)...)
			cmd.Env = append(s.env, c.env)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			require.NoError(t, cmd.Start())
			sent := func() bool { return len(s.lab.Entries(s.machine.FQDN(), isControl)) > 0 }
			require.NoError(t, s.lab.Wait(ctx, sent), "it was never told to go off")
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
			require.Error(t, cmd.Wait())
			require.NoError(t, ctx.Err(), "it did not end: %s", out.String())
			require.Equal(t, 1, cmd.ProcessState.ExitCode(), out.String())
			require.Equal(t, c.controls, s.sent(), out.String())
			require.Contains(t, out.String(), "interrupted: powering on first")
			require.Contains(t, out.String(), "powered on again")
			require.NoError(t, s.lab.Wait(ctx, func() bool { return s.machine.State().Up }), "the machine is dark")
		})
	}
}

// A machine that cannot be powered on again is never reported as anything else.
func TestStaysOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Spec{})
	env := append(s.env, "ON_ALARM=4s", "SNMP_VERIFY_TIMEOUT=1s")
	dies := make(chan error, 1)
	go func() {
		dies <- s.lab.Wait(t.Context(), func() bool { return len(s.controls()) == 1 })
		s.machine.SetFaults(lab.Faults{PDUDead: true})
	}()
	r := carry(t, env, "", args("snmp_rebootdelay", "--direct", "--delay", "2", s.pdu())...)
	require.NoError(t, <-dies)
	require.Equal(t, 1, r.status, "%+v", r)
	require.Contains(t, r.err, "roller: ms1-10.example.com IS OFF: it could not be powered on within 4s")
	require.Contains(t, r.err, "not on yet, trying again")
}
