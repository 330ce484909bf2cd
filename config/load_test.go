package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	local := []string{"127.0.0.1", "[::1]", "localhost"}
	for name, tc := range map[string]struct {
		environ []string
		want    API
		is      string
	}{
		"nothing set": {nil, API{TaskNames: []string{"reboot"}, CORSOrigin: "https://tools.taskcluster.net"}, Prod},
		"Prod": {
			[]string{"ROLLER_CONFIGURATION=Prod", "PUBLIC_URL=https://Roller.example/"},
			API{PublicURL: "https://Roller.example", AllowedHosts: []string{"roller.example"}, TaskNames: []string{"reboot"}, CORSOrigin: "https://tools.taskcluster.net"},
			Prod,
		},
		"Dev": {
			[]string{"ROLLER_CONFIGURATION=Dev"},
			API{PublicURL: "http://localhost:8000", AllowedHosts: local, TaskNames: []string{"ping"}, CORSOrigin: "http://localhost"},
			Dev,
		},
		"Test": {
			[]string{"ROLLER_CONFIGURATION=test"},
			API{PublicURL: "http://localhost:8000", AllowedHosts: local, TaskNames: []string{"ping"}, CORSOrigin: "http://localhost"},
			Test,
		},
		"the old name": {
			[]string{"DJANGO_CONFIGURATION=Dev", "ROLLER_CONFIGURATION="},
			API{PublicURL: "http://localhost:8000", AllowedHosts: local, TaskNames: []string{"ping"}, CORSOrigin: "http://localhost"},
			Dev,
		},
		"the new name wins": {
			[]string{"DJANGO_CONFIGURATION=Stage", "ROLLER_CONFIGURATION=Prod"},
			API{TaskNames: []string{"reboot"}, CORSOrigin: "https://tools.taskcluster.net"},
			Prod,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(tc.environ)
			require.NoError(t, err)
			require.Equal(t, tc.is, c.Configuration)
			tc.want.Port, tc.want.StartTimeout = 8000, Duration(5*time.Second)
			tc.want.ScopeSets = [][]string{{"project:releng:roller:{task_name}"}}
			tc.want.ClientLimit, tc.want.TotalLimit = Limit{100, 10 * time.Minute}, Limit{300, 10 * time.Minute}
			require.Equal(t, tc.want, c.API)
		})
	}
}

func TestDefaultsOfTheWorker(t *testing.T) {
	t.Parallel()
	c, err := Load(nil)
	require.NoError(t, err)
	require.Equal(t, Ladder{
		Methods:     []string{"ssh_reboot", "ipmi_reset", "ipmi_cycle", "snmp_reboot", "file_bugzilla_bug"},
		DownTimeout: Duration(time.Minute), UpTimeout: Duration(5 * time.Minute), RungRetry: Duration(time.Minute),
		OffDelay: Duration(5 * time.Second), PDUDelay: Duration(time.Minute), OnAlarm: Duration(5 * time.Minute),
		OnLimit: Duration(24 * time.Hour), BugWait: Duration(20 * time.Second), BugLimit: Duration(24 * time.Hour),
		ProbeInterval: Duration(time.Second), ProbeTimeout: Duration(2 * time.Second), DownProbes: 3, Heartbeat: Duration(time.Minute),
		OnRetry: Duration(5 * time.Minute), BugRetry: Duration(10 * time.Minute), CommandTime: Duration(3 * time.Minute),
		Reimage: Duration(2 * time.Hour), ReimageSettle: Duration(2 * time.Minute),
		RetryInterval: Duration(5 * time.Second), LastLook: Duration(15 * time.Second), StopTimeout: Duration(90 * time.Second),
		TurnWait: Duration(time.Minute), TurnLimit: Duration(time.Hour), CommandSlots: 5000, WatchSlots: 20_000, WorkflowSlots: 200, WorkflowCache: 1000, Pollers: 4,
	}, c.Ladder)
	require.Equal(t, Devices{
		SSHTimeout: Duration(5 * time.Second), KnownHostsFile: "known_hosts", HostKeys: HostKeysStrict, IPMITimeout: Duration(20 * time.Second), IPMISession: Duration(15 * time.Second),
		IPMIPrivilege:  "OPERATOR",
		IPMIStatusWait: Duration(2 * time.Minute), IPMIStatusPoll: Duration(15 * time.Second), SNMPTimeout: Duration(10 * time.Second), SNMPVerify: Duration(30 * time.Second),
		ILOTimeout: Duration(30 * time.Second), ILOVerify: Duration(time.Minute), StatusTimeout: Duration(20 * time.Second),
		SNMPv3:     SNMPUser{AuthProtocol: "SHA", PrivProtocol: "AES"},
		XenTimeout: Duration(10 * time.Second), XenShutdown: Duration(time.Minute),
		DeviceInterval: Duration(time.Second), BMCInterval: Duration(5 * time.Second), ChassisInterval: Duration(5 * time.Second),
	}, c.Devices)
	require.Equal(t, Taskcluster{
		Timeout: Duration(5 * time.Second), TaskQueue: "proj-relops/roller", WorkerGroup: "roller", Reclaim: Duration(time.Minute),
	}, c.Taskcluster)
	require.Equal(t, Bugzilla{Timeout: Duration(30 * time.Second), ReopenState: "REOPENED"}, c.Bugzilla)
	require.Equal(t, Drain{Limit: Duration(time.Hour), Settle: Duration(25 * time.Second), Poll: Duration(15 * time.Second), Silence: Duration(3 * time.Minute), Loan: Duration(87600 * time.Hour)}, c.Drain)
	require.Equal(t, Notices{Limit: Duration(time.Hour)}, c.Notices)
	require.Equal(t, Files{FQDNTemplates: defaultTemplates}, c.Files)
}

func TestLoadReads(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		environ string
		got     func(*Config) any
		want    any
	}{
		"list with white space":    {"TASK_NAMES= reboot , ping,,ipmi_off ", func(c *Config) any { return c.API.TaskNames }, []string{"reboot", "ping", "ipmi_off"}},
		"other spelling":           {"TASK_NAMES=ping,xen_reboot", func(c *Config) any { return c.API.TaskNames }, []string{"ping", "xenapi_reboot"}},
		"other spelling of a rung": {"REBOOT_METHODS=xen_reboot", func(c *Config) any { return c.Ladder.Methods }, []string{"xenapi_reboot"}},
		"bare seconds":             {"UP_TIMEOUT=120", func(c *Config) any { return c.Ladder.UpTimeout }, Duration(2 * time.Minute)},
		"no retry":                 {"RUNG_RETRY=0", func(c *Config) any { return c.Ladder.RungRetry }, Duration(0)},
		"one rung":                 {"REBOOT_METHODS=ipmi_on", func(c *Config) any { return c.Ladder.Methods }, []string{"ipmi_on"}},
		"scope sets":               {"REQUIRED_TASKCLUSTER_SCOPE_SETS=a:{task_name}, b; c:{task_name};", func(c *Config) any { return c.API.ScopeSets }, [][]string{{"a:{task_name}", "b"}, {"c:{task_name}"}}},
		"CORS: localhost and port": {"CORS_ORIGIN=localhost:3000", func(c *Config) any { return c.API.CORSOrigin }, "http://localhost:3000"},
		"CORS: other host":         {"CORS_ORIGIN=localhost.example", func(c *Config) any { return c.API.CORSOrigin }, "https://localhost.example"},
		"CORS: scheme given":       {"CORS_ORIGIN=http://tools.example", func(c *Config) any { return c.API.CORSOrigin }, "http://tools.example"},
		"CORS: any":                {"CORS_ORIGIN=*", func(c *Config) any { return c.API.CORSOrigin }, "*"},
		"privilege in lower case":  {"IPMI_PRIVILEGE=administrator", func(c *Config) any { return c.Devices.IPMIPrivilege }, "ADMINISTRATOR"},
		"Bugzilla with /rest/":     {"BUGZILLA_URL=https://bugzilla.example/rest/", func(c *Config) any { return c.Bugzilla.URL }, "https://bugzilla.example/rest"},
		"allowed hosts":            {"ALLOWED_HOSTS=Roller.Example,[::1],::2", func(c *Config) any { return c.API.AllowedHosts }, []string{"[::1]", "[::2]", "roller.example"}},
		"public URL over IPv6":     {"PUBLIC_URL=http://[::1]:8000", func(c *Config) any { return c.API.AllowedHosts }, []string{"[::1]"}},
		"template":                 {`BUGZILLA_REBOOT_TEMPLATE={"product":"X"}`, func(c *Config) any { return c.Bugzilla.RebootTemplate }, `{"product":"X"}`},
		"value with =":             {"SNMP_COMMUNITY=a=b", func(c *Config) any { return c.Devices.SNMPCommunity.Reveal() }, "a=b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Load([]string{tc.environ})
			require.NoError(t, err)
			require.Equal(t, tc.want, tc.got(c))
		})
	}
}

const tasksKnown = "reboot, ping, status, ipmi_status, ipmi_list, reimage, loan, return_loan, ssh_reboot, ipmi_reset, ipmi_cycle, ipmi_reboot, ipmi_on, ipmi_off, snmp_reboot, snmp_rebootdelay, ilo_reboot, moonshot_reset, xenapi_reboot, file_bugzilla_bug"

func TestLoadMistakes(t *testing.T) {
	t.Parallel()
	const url = "must be an http or https URL with a host, like https://roller.example.com"
	const origin = "must be an origin, like https://tools.example.com or tools.example.com, without a path"
	const host = "must be a host name or an IP address, without scheme, port and wildcard"
	for name, tc := range map[string]struct{ environ, want string }{
		"configuration":          {"ROLLER_CONFIGURATION=Stage", `ROLLER_CONFIGURATION="Stage": must be one of Dev, Prod, Test`},
		"old configuration":      {"DJANGO_CONFIGURATION=Stage", `DJANGO_CONFIGURATION="Stage": must be one of Dev, Prod, Test`},
		"limit":                  {"CLIENT_LIMIT=many", `CLIENT_LIMIT="many": must be a number of jobs from 1 to 1000000 and a time of 1s or more, like 60/10m, or none`},
		"limit of nothing":       {"TOTAL_LIMIT=0/1m", `TOTAL_LIMIT="0/1m": must be a number of jobs from 1 to 1000000 and a time of 1s or more, like 60/10m, or none`},
		"limit without a time":   {"TOTAL_LIMIT=5", `TOTAL_LIMIT="5": must be a number of jobs from 1 to 1000000 and a time of 1s or more, like 60/10m, or none`},
		"limit over no time":     {"TOTAL_LIMIT=5/0.5", `TOTAL_LIMIT="5/0.5": must be a number of jobs from 1 to 1000000 and a time of 1s or more, like 60/10m, or none`},
		"metrics without a port": {"METRICS_ADDR=localhost", `METRICS_ADDR="localhost": must be a host and a port, like 127.0.0.1:9464, or :9464 for every address`},
		"metrics on port 0":      {"METRICS_ADDR=:0", `METRICS_ADDR=":0": must be a host and a port, like 127.0.0.1:9464, or :9464 for every address`},
		"no network":             {"TRUSTED_PROXIES=proxy.example", `TRUSTED_PROXIES="proxy.example": must be an IP address or a network, like 10.0.0.0/8, without bits behind its length`},
		"network with a host":    {"TRUSTED_PROXIES=10.0.0.1/8", `TRUSTED_PROXIES="10.0.0.1/8": must be an IP address or a network, like 10.0.0.0/8, without bits behind its length`},
		"port":                   {"PORT=80000", `PORT="80000": must be a whole number from 1 to 65535`},
		"port as text":           {"PORT=http", `PORT="http": must be a whole number from 1 to 65535`},
		"listen host":            {"LISTEN_HOST=0.0.0.0:8000", `LISTEN_HOST="0.0.0.0:8000": must be a host name or an IP address without a port`},
		"public URL":             {"PUBLIC_URL=roller.example", `PUBLIC_URL="roller.example": ` + url},
		"public URL with query":  {"PUBLIC_URL=https://roller.example/?a", `PUBLIC_URL="https://roller.example/?a": ` + url},
		"unknown task":           {"TASK_NAMES=reboot,format", `TASK_NAMES="format": is not known; known are ` + tasksKnown},
		"task twice":             {"TASK_NAMES=ping,ping", `TASK_NAMES="ping": stands there twice`},
		"task in two spellings":  {"TASK_NAMES=xenapi_reboot,xen_reboot", `TASK_NAMES="xenapi_reboot": stands there twice`},
		"only commas":            {"TASK_NAMES=,", `TASK_NAMES=",": must be a list with commas between its entries`},
		"a task that is a read":  {"REBOOT_METHODS=ping", `REBOOT_METHODS="ping": is not known; known are ` + tasksKnown[len("reboot, ping, status, ipmi_status, ipmi_list, reimage, loan, return_loan, "):]},
		"the bug first":          {"REBOOT_METHODS=file_bugzilla_bug,ssh_reboot", `REBOOT_METHODS="file_bugzilla_bug": may stand only at the end: no rung is tried once people have been told`},
		"scope for everything":   {"REQUIRED_TASKCLUSTER_SCOPE_SETS=a:{task_name};b,c", `REQUIRED_TASKCLUSTER_SCOPE_SETS="b,c": no scope of this set has {task_name}, so that it would open every action`},
		"other placeholder":      {"REQUIRED_TASKCLUSTER_SCOPE_SETS=a:{task_name}:{group}", `REQUIRED_TASKCLUSTER_SCOPE_SETS="a:{task_name}:{group}": may have no other placeholder than {task_name}`},
		"no scope":               {"REQUIRED_TASKCLUSTER_SCOPE_SETS=;", `REQUIRED_TASKCLUSTER_SCOPE_SETS=";": must have at least one scope`},
		"pattern":                {"VALID_WORKER_ID_REGEX=ms[", "VALID_WORKER_ID_REGEX=\"ms[\": must be a regular expression (RE2): error parsing regexp: missing closing ]: `[`"},
		"pattern out of group":   {"VALID_WORKER_ID_REGEX=ms1)|(", "VALID_WORKER_ID_REGEX=\"ms1)|(\": must be a regular expression (RE2): error parsing regexp: unexpected ): `ms1)|(`"},
		"pattern that quotes on": {`VALID_WORKER_ID_REGEX=\Qms`, "VALID_WORKER_ID_REGEX=\"\\\\Qms\": must be a regular expression (RE2): error parsing regexp: missing closing ): `\\A(?:\\Qms)\\z`"},
		"origin with path":       {"CORS_ORIGIN=https://tools.example/", `CORS_ORIGIN="https://tools.example/": ` + origin},
		"origin of a file":       {"CORS_ORIGIN=file:///x", `CORS_ORIGIN="file:///x": ` + origin},
		"two origins":            {"CORS_ORIGIN=a.example,b.example", `CORS_ORIGIN="a.example,b.example": ` + origin},
		"allowed host and port":  {"ALLOWED_HOSTS=roller.example:80", `ALLOWED_HOSTS="roller.example:80": ` + host},
		"all hosts allowed":      {"ALLOWED_HOSTS=*", `ALLOWED_HOSTS="*": ` + host},
		"duration":               {"IPMI_TIMEOUT=soon", `IPMI_TIMEOUT="soon": must be a time: 60s, 5m or a number of seconds`},
		"negative duration":      {"OFF_DELAY=-5s", `OFF_DELAY="-5s": must be a time: 60s, 5m or a number of seconds`},
		"zero timeout":           {"UP_TIMEOUT=0", `UP_TIMEOUT="0": must be 10ms or more`},
		"zero probe timeout":     {"PROBE_TIMEOUT=0s", `PROBE_TIMEOUT="0s": must be 10ms or more`},
		"heartbeat":              {"HEARTBEAT_TIMEOUT=5s", `HEARTBEAT_TIMEOUT="5s": must be 10s or more`},
		"one lost packet":        {"DOWN_PROBES=1", `DOWN_PROBES="1": must be a whole number from 2 to 100`},
		"never seen down":        {"DOWN_TIMEOUT=3s", `DOWN_TIMEOUT="3s": must be more than DOWN_PROBES x PROBE_INTERVAL (3s), or no machine is ever seen down`},
		"alarm after the end":    {"ON_LIMIT=1m", `ON_ALARM="5m0s": must not be more than ON_LIMIT (1m0s)`},
		"settling too long":      {"REIMAGE_TIMEOUT=1m", `REIMAGE_SETTLE="2m0s": must be less than REIMAGE_TIMEOUT (1m0s)`},
		"reimage as a rung":      {"REBOOT_METHODS=reimage", `REBOOT_METHODS="reimage": is not known; known are ` + tasksKnown[len("reboot, ping, status, ipmi_status, ipmi_list, reimage, loan, return_loan, "):]},
		"off that lives long":    {"COMMAND_TIMEOUT=10m", `COMMAND_TIMEOUT="10m0s": must be at most 10m0s together with DOWN_TIMEOUT and TURN_WAIT: by then an off must be known to have been sent or not`},
		"interval":               {"BMC_INTERVAL=61s", `BMC_INTERVAL="1m1s": must be 1m0s or less`},
		"one poller":             {"POLLERS=1", `POLLERS="1": must be a whole number from 2 to 100`},
		"no slots":               {"COMMAND_SLOTS=0", `COMMAND_SLOTS="0": must be a whole number from 1 to 1000000`},
		"bug wait":               {"BUG_LIMIT=10s", `BUG_WAIT="20s": must not be more than BUG_LIMIT (10s)`},
		"privilege":              {"IPMI_PRIVILEGE=root", `IPMI_PRIVILEGE="root": must be one of CALLBACK, USER, OPERATOR, ADMINISTRATOR`},
		"template":               {"BUGZILLA_REBOOT_TEMPLATE=[1]", `BUGZILLA_REBOOT_TEMPLATE="[1]": must be a JSON object`},
		"FQDN template":          {"FQDN_TEMPLATES={worker_id}.example", `FQDN_TEMPLATES="{worker_id}.example": a template needs {worker_id} and {worker_group}, each once`},
		"secret in a URL":        {"XEN_URL=https://root:hunter2@xen.example", `XEN_URL: ` + url + `, and must not hold a user or password (the value is not shown)`},
		"broken secret URL":      {"BUGZILLA_URL=https://root:hunter2%@[x", `BUGZILLA_URL: ` + url + `, and must not hold a user or password (the value is not shown)`},
		"secret with a blank":    {"XEN_PASSWORD=hunter2 ", `XEN_PASSWORD: begins or ends with white space (the value is not shown)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Load([]string{tc.environ})
			require.EqualError(t, err, tc.want)
			require.Nil(t, c)
			require.NotContains(t, err.Error(), hush)
		})
	}
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	c, err := Load([]string{
		"XEN_PASSWORD_FILE=" + file("xen", hush+"\n"), "ILO_PASSWORD_FILE=" + file("ilo", hush+"\r\n"), "SNMP_COMMUNITY_FILE=" + file("snmp", hush),
	})
	require.NoError(t, err)
	for _, s := range []Secret{c.Devices.XenPassword, c.Devices.ILOPassword, c.Devices.SNMPCommunity} {
		require.Equal(t, hush, s.Reveal())
	}
	_, err = Load([]string{
		"XEN_PASSWORD=" + hush, "XEN_PASSWORD_FILE=" + file("xen", hush),
		"ILO_PASSWORD_FILE=/no/such/file", "BUGZILLA_API_KEY_FILE=" + file("empty", "\n"), "SNMP_COMMUNITY_FILE=" + file("blank", hush+"\n\n"),
	})
	require.EqualError(t, err, strings.Join([]string{
		`SNMP_COMMUNITY_FILE: begins or ends with white space (the value is not shown)`,
		`XEN_PASSWORD: is set, and so is XEN_PASSWORD_FILE: set one of them`,
		`ILO_PASSWORD_FILE="/no/such/file": no such file or directory`,
		`BUGZILLA_API_KEY_FILE="` + filepath.Join(dir, "empty") + `": is empty`,
	}, "\n"))
}

func TestLoadReportsAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Load([]string{"PORT=0", "DOWN_PROBES=x", "SNMP_COMMUNITY=hunter2\n", "UP_TIMEOUT=0", "FQDN_TEMPLATES=x"})
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 5)
	for i, name := range []string{"PORT", "UP_TIMEOUT", "DOWN_PROBES", "SNMP_COMMUNITY", "FQDN_TEMPLATES"} {
		require.True(t, strings.HasPrefix(lines[i], name), "%s in %q", name, lines[i])
	}
	require.NotContains(t, err.Error(), hush)
}
