//go:build lab && linux

package netns

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const (
	uptimeCommunity = "s3cret-uptime" // may read, nothing else
	hrSystemUptime  = ".1.3.6.1.2.1.25.1.1.0"
	sysUpTime       = ".1.3.6.1.2.1.1.3.0"
)

// bootScript is what a machine of these tests does at each boot before its sshd:
// a kernel's boot ID, and an agent that counts from now (time_namespaces(7)).
const bootScript = `cat /proc/sys/kernel/random/uuid >boot_id
cut -d. -f1 /proc/uptime >booted
sh ./snmpd.sh &
`

// agentScript runs net-snmp's agent on the clock of this boot.
const agentScript = `SNMP_PERSISTENT_DIR=$PWD/persistent MIBS= exec unshare --time --boottime "-$(cat booted)" \
	snmpd -f -Lf snmpd.log -C -c snmpd.conf -p snmpd.pid -I -smux,mteTrigger,mteTriggerConf
`

const agentConf = `agentAddress udp:%[1]s:161
rocommunity %[2]s
createUser %[3]s SHA-256 "%[4]s" AES "%[5]s"
rouser %[3]s priv
`

// identities is the machines, what their entries in ssh.json have besides, and
// what ssh_reboot makes of a restart, or of none, that no probe can have noticed.
var identities = map[string]struct {
	entry   map[string]any
	ignores bool
	outcome workflows.Outcome
	says    string
}{
	"connection":       {outcome: workflows.Back, says: "the held connection was reset"},
	"boot-id":          {entry: map[string]any{"ssh": map[string]any{"boot_id": true}}, outcome: workflows.Back, says: "boot id changed"},
	"boot-id-ignores":  {entry: map[string]any{"ssh": map[string]any{"boot_id": true}}, ignores: true, outcome: workflows.NoEffect, says: "boot id unchanged"},
	"uptime-v2c":       {entry: map[string]any{"uptime": map[string]any{}}, outcome: workflows.Back, says: "uptime began anew"},
	"uptime-v3":        {entry: map[string]any{"uptime": map[string]any{"version": "3", "v3": "agents"}}, outcome: workflows.Back, says: "uptime began anew"},
	"agent-restarts":   {entry: map[string]any{"uptime": map[string]any{}}, ignores: true, outcome: workflows.NoEffect, says: "uptime goes on"},
	"agent-restarts-3": {entry: map[string]any{"uptime": map[string]any{"version": "3", "v3": "agents"}}, ignores: true, outcome: workflows.NoEffect, says: "uptime goes on"},
}

// TestIdentityOnRealPeers reboots machines faster than DOWN_PROBES can see, and has
// others take the command and ignore it while their SNMP agent restarts. OpenSSH
// runs the ForceCommand that roller ships, hrSystemUptime is net-snmp's, and the
// held connection is answered by the kernel of a namespace that is a new one.
func TestIdentityOnRealPeers(t *testing.T) {
	t.Parallel()
	opts := quick
	opts.NewKernel = true
	for id := range identities {
		opts.IDs = append(opts.IDs, id)
	}
	l := Start(t, opts)
	began := rig.Now()
	for _, m := range l.Machines() {
		giveIdentity(t, m)
		require.NoError(t, m.SetFaults(Faults{IgnoreSSH: identities[m.ID].ignores}))
		_, err := m.rig.Reset()
		require.NoError(t, err)
	}
	for _, m := range l.Machines() {
		edgeAfter(t, l, m, rig.Banner, began)
		eventually(t, l, "the agent answers", func() bool { return ticks(t, l, m, hrSystemUptime) > 0 })
	}
	s := newInside(t, l, map[string]string{
		"UPTIME_COMMUNITY": uptimeCommunity, "PROBE_INTERVAL": "1s", "DOWN_TIMEOUT": "10s", "UP_TIMEOUT": "30s",
	}, func(env map[string]string) { identify(t, l, env) })

	began = rig.Now()
	s.start("ssh_reboot", opts.IDs...)
	for _, m := range l.Machines() {
		if strings.HasPrefix(m.ID, "agent-restarts") {
			eventually(t, l, "the command that is ignored", func() bool { return len(controls(l, m)) == 1 })
			restartAgent(t, l, m)
		}
	}
	for _, m := range l.Machines() {
		want := identities[m.ID]
		v := s.ended(m.ID)
		require.Equal(t, want.outcome, v.Result.Outcome, "%s", v.Result.Markdown())
		require.Contains(t, v.Result.Attempts[0].Why+v.Result.Why, want.says)
		require.Equal(t, []string{"reboot"}, controls(l, m))
		if want.outcome == workflows.Back {
			down, up := edgeAfter(t, l, m, rig.Down, began), edgeAfter(t, l, m, rig.Up, began)
			t.Logf("%s was away for %s", m.ID, up.At.Sub(down.At))
		}
	}
	require.Empty(t, s.close())
}

// giveIdentity gives a machine its agent and, where it is to have a boot ID, the
// ForceCommand of deploy/.
func giveIdentity(t *testing.T, m *Machine) {
	t.Helper()
	dir := m.rig.Dir
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "persistent"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o700))
	require.NoError(t, writeFiles(dir, map[string]string{
		"sshd.sh":    "cd " + dir + " || exit 1\n" + bootScript + sshdScript,
		"snmpd.sh":   agentScript,
		"snmpd.conf": fmt.Sprintf(agentConf, m.Addr, uptimeCommunity, V3User, V3AuthPassword, V3PrivPassword),
	}))
	if !strings.HasPrefix(m.ID, "boot-id") {
		return
	}
	shipped, err := os.ReadFile("../../deploy/roller-forcecommand")
	require.NoError(t, err)
	for name, text := range map[string]string{
		"roller-forcecommand": string(shipped),
		"bin/reboot":          "#!/bin/sh\nexec " + m.rig.Program + " ssh " + dir + "\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700))
	}
	conf, err := os.ReadFile(filepath.Join(dir, "sshd_config"))
	require.NoError(t, err)
	forced := "ForceCommand " + m.rig.Program + " ssh " + dir
	require.Contains(t, string(conf), forced)
	text := strings.Replace(string(conf), forced, "ForceCommand "+dir+"/roller-forcecommand -f "+dir+"/boot_id -p "+dir+"/bin:/usr/bin:/bin", 1)
	require.NoError(t, writeFiles(dir, map[string]string{"sshd_config": text}))
}

// identify writes into ssh.json what roller may know of each machine.
func identify(t *testing.T, l *Lab, env map[string]string) {
	t.Helper()
	dir := filepath.Dir(env["FQDN_TO_SSH_FILE"])
	users, err := json.Marshal(map[string]any{"agents": map[string]string{
		"user": V3User, "auth_protocol": "SHA-256", "auth_password": V3AuthPassword, "priv_protocol": "AES", "priv_password": V3PrivPassword,
	}})
	require.NoError(t, err)
	env["SNMP_USERS_FILE"] = filepath.Join(dir, "snmp_users.json")
	require.NoError(t, writeFiles(dir, map[string]string{"snmp_users.json": string(users)}))
	text, err := os.ReadFile(env["FQDN_TO_SSH_FILE"])
	require.NoError(t, err)
	entries := map[string]map[string]any{}
	require.NoError(t, json.Unmarshal(text, &entries))
	for _, m := range l.Machines() {
		entry := entries[m.FQDN]
		for key, value := range identities[m.ID].entry {
			if own, ok := entry[key].(map[string]any); ok {
				maps.Copy(own, value.(map[string]any))
				continue
			}
			entry[key] = value
		}
	}
	text, err = json.Marshal(entries)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(env["FQDN_TO_SSH_FILE"], text, 0o600))
}

// ticks reads an uptime with net-snmp's own client; 0 where nobody answers.
func ticks(t *testing.T, l *Lab, m *Machine, object string) int {
	t.Helper()
	out, err := tool(t, l, "snmpget", "-v2c", "-c", uptimeCommunity, "-Oqvt", "-r", "0", "-t", "2", m.Addr, object)
	n, convErr := strconv.Atoi(out)
	if err != nil || convErr != nil {
		return 0
	}
	return n
}

// restartAgent ends a machine's SNMP agent and starts another one: sysUpTime begins
// anew, hrSystemUptime does not.
func restartAgent(t *testing.T, l *Lab, m *Machine) {
	t.Helper()
	agent, host := ticks(t, l, m, sysUpTime), ticks(t, l, m, hrSystemUptime)
	text, err := os.ReadFile(filepath.Join(m.rig.Dir, "snmpd.pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	cmd := rig.Command(t.Context(), m.rig.Space, "/bin/sh", "-c", "cd "+m.rig.Dir+" && exec sh ./snmpd.sh")
	require.NoError(t, cmd.Start())
	go func() { _ = cmd.Wait() }()
	eventually(t, l, "the new agent answers", func() bool { return ticks(t, l, m, sysUpTime) > 0 })
	require.Less(t, ticks(t, l, m, sysUpTime), agent)
	require.Greater(t, ticks(t, l, m, hrSystemUptime), host)
}
