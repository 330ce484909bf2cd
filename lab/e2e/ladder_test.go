package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

func name(m *lab.Machine) config.Name {
	return config.Name{WorkerID: m.Spec().WorkerID, WorkerGroup: m.Spec().WorkerGroup}
}

// tried is what a ladder did, rung by rung.
func tried(r workflows.Result) map[string]workflows.Outcome {
	out := map[string]workflows.Outcome{}
	for _, at := range r.Attempts {
		out[at.Rung] = at.Outcome
	}
	return out
}

// executed is the control commands that a machine's devices carried out.
func (s *site) executed(m *lab.Machine) []string {
	var out []string
	for _, e := range s.lab.Controls(m.FQDN()) {
		if e.Executed {
			out = append(out, e.Device+" "+e.Command)
		}
	}
	return out
}

const ladder = "ssh_reboot,ipmi_reset,snmp_rebootdelay,file_bugzilla_bug"

func TestOutcomes(t *testing.T) {
	t.Parallel()
	specs := map[string]lab.Spec{
		"comes-back-after-ssh": {},
		"ignores-ssh":          {Faults: lab.Faults{IgnoreSSH: true}},
		"hung-with-a-dead-bmc": {Faults: lab.Faults{Hung: true, DeadBMC: true}},
		"never-comes-back":     {Faults: lab.Faults{NeverReturns: true}},
		"reboots-too-fast":     {SSHBootID: true, Faults: lab.Faults{TooFast: true}},
		"has-no-ssh":           {NoSSH: true},
		"loses-the-reply":      {Faults: lab.Faults{IgnoreSSH: true, LoseCommandReply: true}},
		"outlet-is-stuck":      {Faults: lab.Faults{Hung: true, DeadBMC: true, OutletStuck: true}},
		"wrong-host-key":       {Faults: lab.Faults{WrongHostKey: true}},
		"boots-slowly":         {Timing: lab.Timing{}, Faults: lab.Faults{SlowBoot: 3e9}},
	}
	want := map[string]struct {
		outcome  workflows.Outcome
		tried    map[string]workflows.Outcome
		executed []string
	}{
		"comes-back-after-ssh": {workflows.Back, map[string]workflows.Outcome{"ssh_reboot": workflows.Back}, []string{"ssh reboot"}},
		"ignores-ssh": {workflows.Back, map[string]workflows.Outcome{
			"ssh_reboot": workflows.NoEffect, "ipmi_reset": workflows.Back,
		}, []string{"bmc chassis power reset"}},
		"hung-with-a-dead-bmc": {
			workflows.Back,
			map[string]workflows.Outcome{
				"ssh_reboot": workflows.Skipped, "ipmi_reset": workflows.NotSent, "snmp_rebootdelay": workflows.Back,
			},
			[]string{"pdu set AA off", "pdu set AA on"},
		},
		"never-comes-back": {
			workflows.BugFiled,
			map[string]workflows.Outcome{
				"ssh_reboot": workflows.NotBack, "ipmi_reset": workflows.NotBack, "snmp_rebootdelay": workflows.NotBack,
			},
			[]string{"ssh reboot", "bmc chassis power reset", "pdu set AA off", "pdu set AA on"},
		},
		"reboots-too-fast": {workflows.Back, map[string]workflows.Outcome{"ssh_reboot": workflows.Back}, []string{"ssh reboot"}},
		"has-no-ssh": {workflows.Back, map[string]workflows.Outcome{
			"ssh_reboot": workflows.Skipped, "ipmi_reset": workflows.Back,
		}, []string{"bmc chassis power reset"}},
		"loses-the-reply": {workflows.Back, map[string]workflows.Outcome{
			"ssh_reboot": workflows.NoEffect, "ipmi_reset": workflows.Back,
		}, []string{"bmc chassis power reset"}},
		"outlet-is-stuck": {workflows.BugFiled, map[string]workflows.Outcome{
			"ssh_reboot": workflows.Skipped, "ipmi_reset": workflows.NotSent, "snmp_rebootdelay": workflows.NotBack,
		}, nil},
		"wrong-host-key": {workflows.Back, map[string]workflows.Outcome{
			"ssh_reboot": workflows.Refused, "ipmi_reset": workflows.Back,
		}, []string{"bmc chassis power reset"}},
		"boots-slowly": {workflows.Back, map[string]workflows.Outcome{"ssh_reboot": workflows.Back}, []string{"ssh reboot"}},
	}
	var machines []lab.Spec
	for id, spec := range specs {
		spec.WorkerID, spec.WorkerGroup = id, "mdc1"
		machines = append(machines, spec)
	}
	s := newSite(t, map[string]string{"REBOOT_METHODS": ladder}, machines...)
	t.Run("machines", func(t *testing.T) {
		for id, w := range want {
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				m := s.lab.Machine(id)
				before := m.State().BootID
				r, v := s.end(t, s.job(t, "reboot", m))
				require.Equal(t, w.outcome, r.Outcome, "%s", pretty(r))
				require.Equal(t, w.tried, tried(r), "%s", pretty(r))
				require.Equal(t, w.executed, outlets(s.executed(m)), "%s", pretty(r))
				require.Equal(t, string(w.outcome), v.Outcome, "the search attribute")
				require.Empty(t, v.Off)
				require.False(t, r.Off)
				if w.outcome == workflows.Back {
					require.True(t, m.State().Up)
					require.NotEqual(t, before, m.State().BootID)
				} else {
					require.NotZero(t, r.Bug.ID)
					require.Contains(t, r.Bug.URL, "show_bug.cgi?id=")
				}
			})
		}
	})
	t.Run("events", func(t *testing.T) { s.eventBudget(t) })
	t.Run("secrets", func(t *testing.T) { s.noSecrets(t, "comes-back-after-ssh") })
}

// outlets takes the outlets' numbers out, which the lab deals.
func outlets(commands []string) []string {
	var out []string
	for _, c := range commands {
		kept := []rune{}
		for _, r := range c {
			if r < '0' || r > '9' {
				kept = append(kept, r)
			}
		}
		out = append(out, string(kept))
	}
	return out
}
