//go:build lab && linux

package netns

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
)

// chassisConf is lanConf of a chassis manager: its blades' controllers answer behind
// it on the IPMB, each with the power of a machine of its own.
const chassisConf = `name "chassis"
set_working_mc 0x20
  startlan 1
    addr %[1]s %[2]d
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789ab0240
  endlan
  user 2 true "%[3]s" "%[4]s" admin 20 none md2 md5 straight
`

const chassisAddr = network + "240"

// firstBlade is the IPMB address of the first blade's controller; the next ones are
// two further each.
const firstBlade = 0x82

// addChassis starts OpenIPMI's simulator with a controller for each machine.
func (l *Lab) addChassis(t *testing.T) {
	t.Helper()
	dir := filepath.Join(l.dir, "bmcs", "chassis")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	d, err := l.plugDevice("ch", chassisAddr, ipmiPort)
	require.NoError(t, err)
	conf, emu := fmt.Sprintf(chassisConf, chassisAddr, ipmiPort, BMCUser, BMCPassword), emulation
	for i, m := range l.machines {
		mc := firstBlade + 2*i
		conf += fmt.Sprintf("set_working_mc %#x\n  chassis_control \"%s bmc %s\"\n", mc, m.rig.Program, m.rig.Dir)
		emu += fmt.Sprintf("mc_add %#[1]x %[2]d no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf03 persist_sdr\nmc_enable %#[1]x\n", mc, i+1)
	}
	require.NoError(t, writeFiles(dir, map[string]string{"lan.conf": conf, "sim.emu": emu}))
	require.NoError(t, l.daemon(d, filepath.Join(dir, "ipmi_sim.log"), nil, "ipmi_sim", "-c", "lan.conf", "-f", "sim.emu", "-s", dir, "-n"))
	eventually(t, l, "the chassis listens", d.listening)
}

// bladeFile is the inventory of machines that are reached through a chassis, in the
// old service's later form.
func (l *Lab) bladeFile(t *testing.T) string {
	t.Helper()
	places := map[string]any{}
	servers := map[string]any{"chassis-1": map[string]any{
		"fqdn": "chassis-1.inband.releng.mdc1.mozilla.com", "addr": chassisAddr, "type": "blades", "user": BMCUser, "password": BMCPassword,
	}}
	for i, m := range l.machines {
		slot := fmt.Sprintf("slot%d", i+1)
		places[slot] = []string{fmt.Sprintf("-t %#x", firstBlade+2*i)}
		servers[m.ID] = map[string]any{"fqdn": m.FQDN, "parent": "chassis-1", "addr": slot}
	}
	text, err := json.Marshal(map[string]any{
		"types":   map[string]any{"blades": map[string]any{"args": []string{"-b 0", "-L ADMINISTRATOR", "-C 3"}, "map": places}},
		"servers": servers,
	})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "worker.json")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// TestBridgedIPMI switches one of two machines that one chassis manager answers for,
// by ipmitool's bridging. OpenIPMI's simulator bridges once; HP Moonshot's two
// bridges it does not know.
func TestBridgedIPMI(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2"))
	l.addChassis(t)
	m, neighbour := l.Machines()[1], l.Machines()[0]
	environ := []string{"WORKER_CONFIG_PATH=" + l.bladeFile(t), "IPMI_TIMEOUT=5s", "PATH=" + os.Getenv("PATH")}
	for _, action := range []activities.Action{activities.Off, activities.Off, activities.On} {
		o := carryOut(t, l, snmpOrder{Environ: environ, IPMI: m.ID, Action: action})
		require.Empty(t, o.Error)
		require.Equal(t, string(action), o.Result.Power)
		require.Empty(t, o.Result.Unknown)
		require.Equal(t, action == activities.On, state(t, m).Power)
		require.True(t, state(t, neighbour).Power)
	}
	require.Equal(t, []string{"chassis power off", "chassis power on"}, controls(l, m), "each once; what is off is left alone")
	require.Empty(t, l.Commands(neighbour.ID), "the neighbour's controller was not even asked")

	wrong := carryOut(t, l, snmpOrder{Environ: append(environ, "WORKER_CONFIG_PATH="+l.spoilt(t, environ[0], BMCPassword, "wrong")), IPMI: m.ID, Action: activities.Off})
	require.Contains(t, wrong.Error, "(type: Refused")
	missing := carryOut(t, l, snmpOrder{Environ: append(environ, "WORKER_CONFIG_PATH="+l.spoilt(t, environ[0], "-t 0x84", "-t 0x88")), IPMI: m.ID, Action: activities.Off})
	require.NotEmpty(t, missing.Error, "no controller answers there")
	require.Len(t, controls(l, m), 2)
}

// spoilt is an inventory file with one text for another.
func (l *Lab) spoilt(t *testing.T, variable, text, other string) string {
	t.Helper()
	content, err := os.ReadFile(strings.TrimPrefix(variable, "WORKER_CONFIG_PATH="))
	require.NoError(t, err)
	require.Contains(t, string(content), text)
	path := filepath.Join(t.TempDir(), "worker.json")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(content), text, other)), 0o600))
	return path
}
