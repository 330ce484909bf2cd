package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// TestDirect carries each action out on a machine that is in no inventory.
func TestDirect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec     lab.Spec
		args     func(s *site) []string
		web      []string // in the place of args: what stands before the machine's iLO or chassis manager
		after    []string // and after it
		env      string
		stdin    string
		status   int
		out, err string
		controls []string
	}{
		"ssh_reboot": {
			args: func(s *site) []string { return args("ssh_reboot", "--direct", s.ssh(lab.SSHUser)) },
			out:  "sent: reboot", err: "warning: --direct", controls: []string{"ssh reboot"},
		},
		"ssh_reboot with a key that is not accepted": {
			args:   func(s *site) []string { return args("ssh_reboot", "--direct", s.ssh("root")) },
			status: 1, err: "roller: refused: ssh:",
		},
		"ssh_reboot without a listener": {
			args: func(s *site) []string {
				return args("ssh_reboot", "--direct", "-l", lab.SSHUser, "-i", s.key, "-p", "1", s.machine.Addr())
			},
			status: 1, err: "roller: nothing was sent: ssh: dial tcp",
		},
		"ssh_reboot of a stranger": {
			spec:   lab.Spec{Faults: lab.Faults{WrongHostKey: true}},
			args:   func(s *site) []string { return args("ssh_reboot", "--direct", s.ssh(lab.SSHUser)) },
			status: 1, err: "roller: refused: ssh:",
		},
		"ipmi_off": {
			args: func(s *site) []string { return args("ipmi_off", "--direct", s.bmc()) },
			env:  "IPMI_PASSWORD=" + lab.BMCPassword,
			out:  "sent: chassis power off; power is off", controls: []string{"bmc chassis power off"},
		},
		"ipmi_on of a machine that is on": {
			args: func(s *site) []string { return args("ipmi_on", "--direct", s.bmc()) },
			env:  "IPMI_PASSWORD=" + lab.BMCPassword, out: "nothing to do: power is on",
		},
		"ipmi_reset, password by stdin": {
			args:  func(s *site) []string { return args("ipmi_reset", "--direct", s.bmc(), "-P", "-") },
			stdin: lab.BMCPassword + "\n", out: "sent: chassis power reset", controls: []string{"bmc chassis power reset"},
		},
		"ipmi_cycle, password by option": {
			args: func(s *site) []string { return args("ipmi_cycle", "--direct", s.bmc(), "-P", lab.BMCPassword) },
			out:  "sent: chassis power cycle", err: "can read a password", controls: []string{"bmc chassis power cycle"},
		},
		"ipmi_cycle, reply lost": {
			spec: lab.Spec{Faults: lab.Faults{LoseCommandReply: true}},
			args: func(s *site) []string { return args("ipmi_cycle", "--direct", s.bmc()) },
			env:  "IPMI_PASSWORD=" + lab.BMCPassword, status: 1, err: "look before you act again",
			controls: []string{"bmc chassis power cycle"},
		},
		"ipmi_reset, wrong password": {
			args: func(s *site) []string { return args("ipmi_reset", "--direct", s.bmc()) },
			env:  "IPMI_PASSWORD=wrong", status: 1, err: "roller: refused: ipmi",
		},
		"ipmi_reset, no password": {
			args:   func(s *site) []string { return args("ipmi_reset", "--direct", s.bmc()) },
			status: 2, err: "set IPMI_PASSWORD",
		},
		"ipmi_reset, nothing on stdin": {
			args:   func(s *site) []string { return args("ipmi_reset", "--direct", s.bmc(), "-P", "-") },
			status: 2, err: "no password on the standard input",
		},
		"ipmi_status": {
			args: func(s *site) []string { return args("ipmi_status", s.bmc()) },
			env:  "IPMI_PASSWORD=" + lab.BMCPassword, out: "Chassis Power is on",
		},
		"ipmi_status of the inventory": {
			args: func(*site) []string { return args("ipmi_status", "MS1-10", "mdc1") }, out: "Chassis Power is on",
		},
		"ipmi_list of the inventory, by full name": {
			args: func(s *site) []string { return args("ipmi_list", s.machine.FQDN()) }, out: "|",
		},
		"ipmi_status of an unknown machine": {
			args:   func(*site) []string { return args("ipmi_status", "ms1-11", "mdc1") },
			status: 1, err: "not in worker group",
		},
		"snmp_reboot": {
			args: func(s *site) []string { return args("snmp_reboot", "--direct", s.pdu()) },
			out:  "reboot", controls: []string{"pdu set AA1 reboot"},
		},
		"snmp_reboot with a delay": {
			args: func(s *site) []string { return args("snmp_reboot", "--direct", "--delay", "0.1", s.pdu()) },
			out:  "power is on", err: "power is off", controls: []string{"pdu set AA1 off", "pdu set AA1 on"},
		},
		"snmp_rebootdelay, outlet stuck": {
			spec: lab.Spec{Faults: lab.Faults{OutletStuck: true}},
			args: func(s *site) []string { return args("snmp_rebootdelay", "--direct", "--delay", "0.1", s.pdu()) },
			out:  "power is on", err: "look before you act again",
		},
		"snmp_rebootdelay, PDU silent": {
			spec:   lab.Spec{Faults: lab.Faults{PDUDead: true}},
			args:   func(s *site) []string { return args("snmp_rebootdelay", "--direct", "--delay", "0.1", s.pdu()) },
			status: 1, err: "roller: nothing was sent: snmp",
		},
		"ipmi_reboot": {
			args: func(s *site) []string { return args("ipmi_reboot", "--direct", s.bmc(), "--delay", "0.1") },
			env:  "IPMI_PASSWORD=" + lab.BMCPassword, out: "power is on", err: "power is off",
			controls: []string{"bmc chassis power soft", "bmc chassis power on"},
		},
		"ipmi_reboot of a hung machine": {
			spec: lab.Spec{Faults: lab.Faults{Hung: true}},
			args: func(s *site) []string {
				return args("ipmi_reboot", "--direct", s.bmc(), "--delay", "0.1", "--power-status-wait", "0.5", "--power-status-wait-interval", "0.1")
			},
			env: "IPMI_PASSWORD=" + lab.BMCPassword, out: "power is on", err: "chassis power off; power is off",
			controls: []string{"bmc chassis power soft", "bmc chassis power off", "bmc chassis power on"},
		},
		"ipmi_reboot, wrong password": {
			args: func(s *site) []string { return args("ipmi_reboot", "--direct", s.bmc()) },
			env:  "IPMI_PASSWORD=wrong", status: 1, err: "roller: refused: ipmi",
		},
		"ilo_reboot": {
			spec: lab.Spec{ILO: true}, web: args("ilo_reboot", "--direct"), env: "ILO_PASSWORD=" + lab.BMCPassword,
			out: "sent: reset ForceRestart", controls: []string{"ilo reset ForceRestart"},
		},
		"ilo_reboot, no reset offered": {
			spec: lab.Spec{ILO: true, Faults: lab.Faults{Web: lab.WebFaults{Offers: "On,ForceOff"}}},
			web:  args("ilo_reboot", "--direct"), after: args("--delay", "0.1"), env: "ILO_PASSWORD=" + lab.BMCPassword,
			out: "power is on", err: "off and on instead", controls: []string{"ilo reset ForceOff", "ilo reset On"},
		},
		"ilo_reboot, wrong password": {
			spec: lab.Spec{ILO: true}, web: args("ilo_reboot", "--direct"), env: "ILO_PASSWORD=wrong",
			status: 1, err: "roller: refused: ilo",
		},
		"ilo_reboot, another certificate": {
			spec: lab.Spec{ILO: true}, web: args("ilo_reboot", "--direct"), env: "ILO_PASSWORD=" + lab.BMCPassword,
			after: args("--fingerprint", "sha256:"+strings.Repeat("00", 32)), status: 1, err: "not the pinned",
		},
		"ilo_reboot, reply lost": {
			spec: lab.Spec{ILO: true, Faults: lab.Faults{LoseCommandReply: true}}, web: args("ilo_reboot", "--direct"),
			env: "ILO_PASSWORD=" + lab.BMCPassword, status: 1, err: "look before you act again", controls: []string{"ilo reset ForceRestart"},
		},
		"moonshot_reset": {
			spec: lab.Spec{Moonshot: true}, web: args("moonshot_reset", "--direct"), after: args("C1N1"), env: "ILO_PASSWORD=" + lab.BMCPassword,
			out: "sent: cold reset of c1n1", controls: []string{"moonshot cold reset c1n1"},
		},
		"xenapi_reboot": {
			spec: lab.Spec{VM: true},
			args: func(s *site) []string { return args("xenapi_reboot", "--direct", "--delay", "0.1", s.machine.VMUUID()) },
			out:  "power is on", err: "power is off", controls: []string{"xen VM.clean_shutdown", "xen VM.start"},
		},
		"xen_reboot, no clean shutdown": {
			spec: lab.Spec{VM: true, Faults: lab.Faults{RefuseShutdown: true}},
			args: func(s *site) []string { return args("xen_reboot", "--direct", "--delay", "0.1", s.machine.VMUUID()) },
			out:  "power is on", controls: []string{"xen VM.hard_shutdown", "xen VM.start"},
		},
		"xenapi_reboot of a stranger": {
			spec:   lab.Spec{VM: true},
			args:   func(*site) []string { return args("xenapi_reboot", "--direct", "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10") },
			status: 1, err: "UUID_INVALID",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.spec)
			var line []string
			if c.args != nil {
				line = c.args(s)
			} else {
				line = args(c.web, s.web(t), c.after)
			}
			r := carry(t, append(s.env, c.env), c.stdin, line...)
			require.Equal(t, c.status, r.status, "%+v", r)
			require.Contains(t, r.out, c.out, "%+v", r)
			require.Contains(t, r.err, c.err, "%+v", r)
			require.Equal(t, c.controls, s.controls())
			require.LessOrEqual(t, s.machine.RefusedLogins(), 1, "a password that is refused is tried once")
		})
	}
}

// Whatever would act past the machine's lock must be asked for by its name.
func TestNothingActsByMistake(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Spec{})
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"ssh_reboot":         {args("ssh_reboot", s.ssh(lab.SSHUser)), "say --direct"},
		"ipmi_reset":         {args("ipmi_reset", s.bmc()), "say --direct"},
		"snmp_reboot":        {args("snmp_reboot", s.pdu()), "say --direct"},
		"delay alone":        {args("snmp_reboot", "--delay", "3", "ms1-10", "mdc1"), "say --direct"},
		"no machine":         {args("reboot"), "which machine?"},
		"three names":        {args("reboot", "a", "b", "c"), "say --direct"},
		"no direct reboot":   {args("reboot", "--direct", "a"), "unknown flag: --direct"},
		"a wrong letter":     {args("ssh_reboot", "-z", "a"), "unknown shorthand flag"},
		"an option as host":  {args("ssh_reboot", "--direct", "--", "-oProxyCommand=x"), "is not a host name"},
		"no host":            {args("ipmi_on", "--direct", "-U", "x"), "-H"},
		"an old interface":   {args("ipmi_on", "--direct", "-H", "x", "-I", "lan"), "only lanplus"},
		"no such privilege":  {args("ipmi_on", "--direct", "-H", "x", "-L", "ROOT"), "must be one of"},
		"no such outlet":     {args("snmp_reboot", "--direct", "a", "pdu", "A1"), "is not an outlet"},
		"no such port":       {args("snmp_reboot", "--direct", "a", "pdu:0", "AA1"), "is not a port"},
		"too few arguments":  {args("snmp_reboot", "--direct", "a"), "takes FQDN PDU PORT"},
		"a wrong time":       {args("ssh_reboot", "--timeout", "soon", "a"), "must be a number of seconds"},
		"ipmi_reboot":        {args("ipmi_reboot", s.bmc()), "say --direct"},
		"ilo_reboot":         {args("ilo_reboot", "--login", "x", "ilo.example"), "say --direct"},
		"ilo, no account":    {args("ilo_reboot", "--direct", "ilo.example"), "set ILO_USERNAME"},
		"ilo, no CA file":    {args("ilo_reboot", "--direct", "--login", "x", "--ca-file", "/none", "ilo.example"), "no such file"},
		"ilo, fingerprint":   {args("ilo_reboot", "--direct", "--login", "x", "--fingerprint", "00", "ilo.example"), "is not a fingerprint"},
		"no such node":       {args("moonshot_reset", "--direct", "--login", "x", "chassis.example", "c46n1"), "is not a cartridge"},
		"not a UUID":         {args("xenapi_reboot", "--direct", "vm-10"), "is not a UUID"},
		"no pool":            {args("xenapi_reboot", "--direct", "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"), "XEN_URL"},
		"an old suite":       {args("ipmi_on", "--direct", "-H", "x", "-C", "three"), "invalid argument"},
		"no such suite":      {args("ipmi_on", "--direct", "-H", "x", "-C", "2"), "must be 17 or 3"},
		"no such UDP port":   {args("ipmi_on", "--direct", "-H", "x", "-p", "65536"), "is not a port"},
		"no status reading":  {args("ipmi_reboot", "--direct", "-H", "x", "--power-status-wait-interval", "0"), "must be more than 0"},
		"ipmitool changes":   {args("ipmitool", s.bmc(), "chassis", "power", "off"), "say --direct"},
		"ipmitool raw":       {args("ipmitool", "ms1-10", "mdc1", "raw", "0", "2", "0"), "say --direct"},
		"ipmitool says what": {args("ipmitool", s.bmc()), "which command?"},
		"ipmitool of whom":   {args("ipmitool"), "which machine?"},
		"ipmitool, a user":   {args("ipmitool", "-U", "x", "ms1-10", "mdc1", "mc", "info"), "say -H, too"},
		"ipmitool as ROOT":   {args("ipmitool", "-L", "ROOT", "ms1-10", "mdc1", "mc", "info"), "must be one of CALLBACK"},
	} {
		t.Run(name, func(t *testing.T) {
			r := carry(t, s.env, "", c.args...)
			require.Equal(t, 2, r.status, "%+v", r)
			require.Contains(t, r.err, c.says)
		})
	}
	require.Empty(t, s.controls())
}

// With the machine's name alone the job is Temporal's, and without Temporal
// nothing is done.
func TestJobsNeedTemporal(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Spec{})
	for _, line := range []string{"ssh_reboot ms1-10 mdc1", "reboot " + s.machine.FQDN(), "ipmi_off ms1-10"} {
		cmd := exec.CommandContext(t.Context(), rollerBinary, strings.Fields(line)...)
		cmd.Env = append(s.env, "START_TIMEOUT=1s", "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s", out)
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%s", out)
		require.Contains(t, string(out), "unavailable")
	}
	require.Empty(t, s.controls())
	r := carry(t, s.env, "", "reboot", "ms1-11", "mdc1")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.err, "not in worker group")
}

func isControl(e lab.Entry) bool { return e.Control }

// sent is what the machine's devices were told, carried out or not.
func (s *site) sent() []string {
	var out []string
	for _, e := range s.lab.Entries(s.machine.FQDN(), isControl) {
		out = append(out, e.Device+" "+e.Command)
	}
	return out
}

// TestFileBug reports a machine from the terminal, once.
func TestFileBug(t *testing.T) {
	t.Parallel()
	const key = "key-of-the-bugzilla"
	bugs := lab.NewBugzilla(key)
	url, err := bugs.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = bugs.Close() })
	env := []string{"BUGZILLA_URL=" + url, "BUGZILLA_API_KEY=" + key}
	for range 2 { // the second is a comment on the first
		r := carry(t, env, "", "file_bugzilla_bug", "--direct", "ms1-10.test.releng.mdc1.mozilla.com")
		require.Equal(t, 0, r.status, "%+v", r)
		require.Equal(t, url+"/show_bug.cgi?id=2\n", r.out)
		require.NotContains(t, r.out+r.err, key)
	}
	all := bugs.Bugs()
	require.Len(t, all, 2)
	require.Equal(t, "ms1-10", all[0].Alias, "the tracker bug, by the short name")
	require.Contains(t, all[1].Summary, "ms1-10.test.releng.mdc1.mozilla.com is unreachable")
	require.Equal(t, []int{1}, all[1].Blocks)

	r := carry(t, append(env, "BUGZILLA_API_KEY=wrong"), "", "file_bugzilla_bug", "--direct", "ms1-10.test.releng.mdc1.mozilla.com")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.err, "refused:")
	r = carry(t, nil, "", "file_bugzilla_bug", "--direct", "ms1-10")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.err, "BUGZILLA_URL")
}

// Without an inventory a machine is called as it is spelled, and the worker,
// which has one, finds out who that is.
func TestNameWithoutInventory(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(nil)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		args []string
		want config.Name
		says string
	}{
		"id and group": {args: args("ms1-10", "mdc1"), want: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}},
		"full name":    {args: args("ms1-10.wintest.releng.mdc1.mozilla.com"), want: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}},
		"id alone":     {args: args("ms1-10"), want: config.Name{WorkerID: "ms1-10", WorkerGroup: "none"}},
		"another name": {args: args("ms1-10.example.com"), says: "FQDN_TEMPLATES"},
		"nobody":       {says: "which machine?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := nameOf(cfg, c.args)
			require.Equal(t, c.want, got)
			if c.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.says)
			}
		})
	}
}
