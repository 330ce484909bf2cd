package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// fleet writes an inventory of the real one's size: 600 cartridges in 14 chassis
// and 468 Macs on 8 PDUs, of which one has two.
func fleet(t *testing.T) (dir string, env []string) {
	t.Helper()
	servers := map[string]any{}
	for i := range 600 {
		dc := "mdc1"
		if i >= 300 {
			dc = "mdc2"
		}
		chassis := fmt.Sprintf("moon-chassis-%d", 1+i/45)
		servers[chassis] = map[string]any{"type": "moonshot", "user": "roller", "password": "s3cret-chassis"}
		id := fmt.Sprintf("t-linux64-ms-%03d", i+1)
		servers[id] = map[string]any{
			"fqdn": id + ".test.releng." + dc + ".mozilla.com", "parent": chassis, "addr": fmt.Sprintf("c%dn1", 1+i%45),
		}
	}
	for i := range 468 {
		id := fmt.Sprintf("t-yosemite-r7-%03d", i+1)
		servers[id] = map[string]any{
			"fqdn": id + ".test.releng.mdc1.mozilla.com", "pdu": fmt.Sprintf("pdu%d.mdc1.example:AA%d", 1+i/60, 1+i%60),
		}
	}
	servers["two-feeds"] = map[string]any{"fqdn": "two-feeds.test.releng.mdc1.mozilla.com", "pdu": []string{"pdu1.mdc1.example:AB1", "pdu2.mdc1.example:AB1"}}
	servers["dark"] = map[string]any{"fqdn": "dark.test.releng.mdc2.mozilla.com"}
	dir = t.TempDir()
	text, err := json.Marshal(map[string]any{"snmp_community_string": "s3cret-snmp", "servers": servers})
	require.NoError(t, err)
	path := filepath.Join(dir, "worker.json")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return dir, []string{"WORKER_CONFIG_PATH=" + path, "BUGZILLA_URL=https://bugs.example", "BUGZILLA_API_KEY=s3cret-key"}
}

// What is printed of a thousand machines is what a person can read.
func TestCheckFleet(t *testing.T) {
	t.Parallel()
	dir, env := fleet(t)
	r := carry(t, env, "", "check")
	require.Equal(t, 0, r.status, "%+v", r)
	golden := filepath.Join("testdata", "check", "fleet")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(r.out), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), r.out)
	require.NotContains(t, r.out+r.err, "s3cret")

	one := carry(t, env, "", "check", "t-linux64-ms-046.test.releng.mdc1.mozilla.com")
	require.Equal(t, 0, one.status, "%+v", one)
	require.Equal(t, `mdc1/t-linux64-ms-046  t-linux64-ms-046.test.releng.mdc1.mozilla.com, probed by icmp at t-linux64-ms-046.test.releng.mdc1.mozilla.com
  -  ssh_reboot   skipped: no ssh entry
  >  ipmi_reset   chassis/moon-chassis-2, -B 0 -b 7 -T 0x82 -t 0x72  chassis/moon-chassis-2 shared with 44: mdc1/t-linux64-ms-[047-090]
  >  ipmi_cycle   chassis/moon-chassis-2, -B 0 -b 7 -T 0x82 -t 0x72  chassis/moon-chassis-2 shared with 44: mdc1/t-linux64-ms-[047-090]
  -  snmp_reboot  skipped: no pdu entry
  >  file_bugzilla_bug
`, one.out)
	two := carry(t, env, "", "check", "two-feeds", "mdc1")
	require.Contains(t, two.out, "outlet pdu1.mdc1.example:AB1, outlet pdu2.mdc1.example:AB1, off and on")
	require.Contains(t, two.out, "pdu/pdu1.mdc1.example shared with 60: mdc1/t-yosemite-r7-[001-060]; pdu/pdu2.mdc1.example shared with 60: ")
	each := carry(t, env, "", "check", "--each")
	require.Equal(t, 1070, strings.Count(each.out, ", probed by icmp at "))

	require.NoError(t, os.Chmod(filepath.Join(dir, "worker.json"), 0o644))
	r = carry(t, env, "", "check")
	require.Equal(t, 0, r.status, "a warning is no mistake")
	require.Contains(t, r.out, "worker.json: this file with passwords is open to others (mode 0644): chmod g-r,o-r ")
}

// Whose work a machine does, and whether it is drained of it, is told.
func TestCheckDrained(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "worker.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"types": {
		"mac": {"taskcluster": {"queue": "releng-hardware/gecko-t-osx", "drain": true}}, "linux": {"taskcluster": {"queue": "releng-hardware/gecko-t-linux"}}
	}, "servers": {
		"a.test.releng.mdc1.mozilla.com": {"type": "mac", "pdu": "p:AA1"}, "b.test.releng.mdc1.mozilla.com": {"type": "linux", "pdu": "p:AA2"}
	}}`), 0o600))
	env := []string{"WORKER_CONFIG_PATH=" + path, "SNMP_COMMUNITY=c"}
	r := carry(t, env, "", "check")
	require.Equal(t, 0, r.status, "%+v", r)
	require.Contains(t, r.out, "1 machine, probed by icmp, drained of releng-hardware/gecko-t-osx: ")
	require.Contains(t, r.out, "1 machine, probed by icmp, of releng-hardware/gecko-t-linux: ")
	require.Contains(t, carry(t, env, "", "check", "a", "mdc1").out, ", drained of releng-hardware/gecko-t-osx\n")
}

// Every mistake is told at once, with file and line, and not without end.
func TestCheckMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name string, lines ...string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
		return path
	}
	pdus := put("pdus.json",
		`{"a.test.releng.mdc1.mozilla.com": {"pdu": "pdu1.example:AA1"},`,
		`"b.test.releng.mdc1.mozilla.com": {"pdu": "pdu1.example:AA1", "prot": 161}}`)
	xen := put("xen.json",
		`{"a.test.releng.mdc1.mozilla.com": {"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"},`,
		`"b.test.releng.mdc1.mozilla.com": {"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"}}`)
	ssh := put("ssh.json", `{"a.test.releng.mdc1.mozilla.com": {"ssh": {"user": "roller", "key_file": "/no/such/key"}}}`)
	env := []string{"FQDN_TO_PDU_FILE=" + pdus, "FQDN_TO_XEN_FILE=" + xen, "FQDN_TO_SSH_FILE=" + ssh, "XEN_URL=https://xen.example"}
	r := carry(t, env, "", "check")
	require.Equal(t, 1, r.status)
	for _, says := range []string{
		"XEN_USERNAME, XEN_PASSWORD: must be set too", "ssh.json:1: ", `key_file "/no/such/key" cannot be read`,
		`pdus.json:2: b.test.releng.mdc1.mozilla.com: "prot" is not known here`, "pdus.json:2: outlet pdu1.example:AA1 feeds b.", "xen.json:2: VM ",
	} {
		require.Contains(t, r.err, says)
	}

	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf(`"ms-%d.elsewhere.example": {"pdu": "pdu1.example:%d"}`, i, i+1))
	}
	r = carry(t, []string{"FQDN_TO_PDU_FILE=" + put("pdus.json", "{"+strings.Join(many, ",\n")+"}")}, "", "check")
	require.Equal(t, 1, r.status)
	require.Equal(t, mostMistakes+1, strings.Count(r.err, "\n"))
	require.Contains(t, r.err, "... and 150 more")

	for says, line := range map[string][]string{
		"is not in the inventory": {"ms1", "mdc9"}, "--parallel 0": {"--parallel", "0"}, "unknown flag": {"--fix"},
	} {
		r := carry(t, []string{"FQDN_TO_PDU_FILE=" + put("pdus.json", `{"a.test.releng.mdc1.mozilla.com": {"pdu": "p:AA1"}}`), "SNMP_COMMUNITY=s3cret"}, "", append([]string{"check"}, line...)...)
		require.NotZero(t, r.status)
		require.Contains(t, r.err, says)
	}
}

// Probing asks everything, changes nothing, and its status tells.
func TestCheckProbe(t *testing.T) {
	t.Parallel()
	l, err := lab.Start(lab.Options{Seed: 1, Machines: []lab.Spec{
		{WorkerID: "ms-1", WorkerGroup: "mdc1", ILO: true},
		{WorkerID: "ms-2", WorkerGroup: "mdc1"},
		{WorkerID: "ms-3", WorkerGroup: "mdc1", Faults: lab.Faults{Hung: true, DeadBMC: true}},
		{WorkerID: "vm-1", WorkerGroup: "mdc1", VM: true, NoBMC: true, NoOutlet: true},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	files, err := l.WriteFiles(t.TempDir())
	require.NoError(t, err)
	env := []string{"PROBE_TIMEOUT=1s", "PROBE_INTERVAL=0.1s", "DOWN_TIMEOUT=60s", "IPMI_SESSION_TIMEOUT=2s", "SSH_TIMEOUT=1s", "STATUS_TIMEOUT=10s"}
	for k, v := range files {
		env = append(env, k+"="+v)
	}
	r := carry(t, env, "", "check", "--probe", "--parallel", "2")
	require.Equal(t, 1, r.status, "%+v", r)
	require.Contains(t, r.err, "probe: 1 machine did not answer in every way that the inventory has")
	for _, says := range []string{
		"  each a bmc of its own  ipmi_reset, ipmi_cycle  3\n", "pdu/", "probed 4 machines in ", "ilo   on                1", "ipmi  cannot be asked   1  mdc1/ms-3", "ipmi  on                2",
		"pdu   on                3", "ping  answers           3", "ping  no answer         1  mdc1/ms-3", "ssh   no banner         1  mdc1/ms-3",
		"ssh   shows its banner  3", "xen   on                1", "the first: ",
	} {
		require.Contains(t, r.out, says)
	}
	one := carry(t, env, "", "check", "ms-1", "mdc1", "--probe")
	require.Equal(t, 0, one.status, "%+v", one)
	require.Contains(t, one.out, "power  ipmi")
	require.Contains(t, one.out, "SSH-2.0-")
	for _, m := range l.Machines() {
		require.Empty(t, l.Entries(m.FQDN(), isControl), "%s was told something", m.FQDN())
	}
}

// Canaries are asked too: a site of which none answers is no site that a worker sees.
func TestCheckProbeCanaries(t *testing.T) {
	t.Parallel()
	open, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = open.Close() })
	_, port, err := net.SplitHostPort(open.Addr().String())
	require.NoError(t, err)
	ssh := map[string]any{}
	for _, group := range []string{"mdc1", "mdc2", "mdc3"} {
		ssh["ms-1.test.releng."+group+".mozilla.com"] = map[string]any{"addr": "127.0.0.1", "probe": "tcp:" + port}
	}
	text, err := json.Marshal(ssh)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "ssh.json")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	env := []string{
		"FQDN_TO_SSH_FILE=" + path, "REBOOT_METHODS=file_bugzilla_bug", "BUGZILLA_URL=https://bugs.example", "BUGZILLA_API_KEY=s3cret-key",
		"CANARIES=mdc1=127.0.0.1:1,127.0.0.1:" + port + ";mdc2=127.0.0.1:1",
	}
	r := carry(t, env, "", "check", "--probe")
	require.Equal(t, 1, r.status, "%+v", r)
	for _, line := range []string{`canary +mdc1 +127.0.0.1:1 +no answer`, `canary +mdc1 +127.0.0.1:` + port + ` +answers`, `canary +mdc2 +127.0.0.1:1 +no answer`} {
		require.Regexp(t, line, r.out)
	}
	require.Equal(t, "roller: probe: none of mdc2's canaries answers: from here, jobs on its machines would wait, and end blind\n", r.err)
	one := carry(t, env, "", "check", "--probe", "ms-1", "mdc1")
	require.Zero(t, one.status, "%+v", one)
	require.NotContains(t, one.out, "canary  mdc2")
}

// A chassis manager that answers nobody is not waited for by each cartridge, and what else there is
// to ask about its cartridges is asked.
func TestCheckProbeDeadChassis(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	host, port, err := net.SplitHostPort(silent.Addr().String())
	require.NoError(t, err)
	const cartridges = 9
	ssh, moonshot := map[string]any{}, map[string]any{}
	for i := 1; i <= cartridges; i++ {
		fqdn := fmt.Sprintf("ms-%d.test.releng.mdc1.mozilla.com", i)
		ssh[fqdn] = map[string]any{"addr": host, "probe": "tcp:" + port}
		number, err := strconv.Atoi(port)
		require.NoError(t, err)
		moonshot[fqdn] = map[string]any{
			"moonshot": map[string]any{"user": "roller", "password": "s3cret-chassis", "node": fmt.Sprintf("c%dn1", i)},
			"addr":     host, "port": number, "fingerprint": "sha256:" + strings.Repeat("00", 32),
		}
	}
	dir := t.TempDir()
	for name, content := range map[string]any{"ssh.json": ssh, "moonshot.json": moonshot} {
		text, err := json.Marshal(content)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	r := carry(t, []string{
		"FQDN_TO_SSH_FILE=" + filepath.Join(dir, "ssh.json"), "FQDN_TO_MOONSHOT_FILE=" + filepath.Join(dir, "moonshot.json"),
		"ILO_TIMEOUT=1s", "STATUS_TIMEOUT=60s", "REBOOT_METHODS=moonshot_reset",
	}, "", "check", "--probe")
	require.Equal(t, 1, r.status, "%+v", r)
	for _, says := range []string{
		"the first: chassis/127.0.0.1 has answered for no machine",
		"ping      answers          9", "probe: 9 machines did not answer",
	} {
		require.Contains(t, r.out+r.err, says)
	}
	require.Regexp(t, `moonshot +cannot be asked +[23] +mdc1/ms-`, r.out, "two at once, and one more before both have ended")
	require.Regexp(t, `moonshot +not asked +[67] +mdc1/ms-`, r.out)
}

// A machine whose pings are dropped is told from one that is down.
func TestCheckProbeFiltered(t *testing.T) {
	t.Parallel()
	found := findings{}
	for id, s := range map[string]activities.MachineStatus{
		"filtered": {Ping: activities.PingReading{Probe: "icmp"}, SSH: &activities.SSHReading{Banner: "SSH-2.0-x"}},
		"down":     {Ping: activities.PingReading{Probe: "icmp"}, SSH: &activities.SSHReading{Problem: "no route"}},
		"no-sshd":  {Ping: activities.PingReading{Probe: "icmp"}},
		"no-tcp":   {Ping: activities.PingReading{Probe: "tcp:9999"}, SSH: &activities.SSHReading{Banner: "SSH-2.0-x"}},
	} {
		require.False(t, found.add(config.Name{WorkerID: id, WorkerGroup: "mdc1"}, s), id)
	}
	var out strings.Builder
	(&checking{out: &out}).printFindings(found)
	require.Regexp(t, `ping +no answer, but ssh +1 +mdc1/filtered\n +the first: .*"tcp:22"`, out.String())
	require.Regexp(t, `ping +no answer +3 `, out.String())
}

// A device that many share is asked about two machines at once, and all of them
// end whatever they share.
func TestSlots(t *testing.T) {
	t.Parallel()
	devices := []config.Device{{Kind: config.Chassis, Name: "a"}, {Kind: config.PDU, Name: "b"}, {Kind: config.PDU, Name: "c"}}
	s := newSlots(5)
	var inside [3]atomic.Int32
	var all, tooMany atomic.Int32
	var asking sync.WaitGroup
	for i := range 400 {
		first, last := i%3, i%3+1+i%2
		asking.Go(func() {
			mine := devices[first:min(last, 3)]
			if !s.take(t.Context(), mine) {
				tooMany.Add(1)
				return
			}
			defer s.give(mine)
			if all.Add(1) > 5 {
				tooMany.Add(1)
			}
			for j := first; j < min(last, 3); j++ {
				if inside[j].Add(1) > perDevice {
					tooMany.Add(1)
				}
			}
			runtime.Gosched()
			for j := first; j < min(last, 3); j++ {
				inside[j].Add(-1)
			}
			all.Add(-1)
		})
	}
	asking.Wait()
	require.Zero(t, tooMany.Load())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range perDevice {
		require.True(t, s.take(t.Context(), devices[:1]))
	}
	require.False(t, s.take(ended, devices[:1]), "no slot is waited for once it is over")
}
