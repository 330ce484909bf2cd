//go:build lab && linux

package netns

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// patience is what a test waits for something that must happen; only a failure
// takes that long.
const patience = 60 * time.Second

// quick has short times for tests that do not look at them.
var quick = Options{Boot: 300 * time.Millisecond, SSHDelay: 100 * time.Millisecond, Shutdown: 200 * time.Millisecond}

func with(o Options, ids ...string) Options {
	o.IDs = ids
	return o
}

// tool runs a program in the lab's namespace and returns what it printed, even
// when it failed.
func tool(t *testing.T, l *Lab, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := l.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), "IPMI_PASSWORD="+BMCPassword, "MIBS=", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	t.Logf("%s %s: %s (%v)", name, strings.Join(args, " "), out, err)
	return strings.TrimSpace(string(out)), err
}

func eventually(t *testing.T, l *Lab, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, l.Wait(ctx, condition), what)
}

// edgeAfter waits for the first such event of a machine that is not older than at.
func edgeAfter(t *testing.T, l *Lab, m *Machine, event string, at time.Time) Edge {
	t.Helper()
	var found Edge
	eventually(t, l, event+" of "+m.ID, func() bool {
		for _, e := range l.Edges(m.ID) {
			if e.Event == event && !e.At.Before(at) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

func events(l *Lab, m *Machine) []string {
	var all []string
	for _, e := range l.Edges(m.ID) {
		all = append(all, e.Event)
	}
	return all
}

// pings asks with a program that shares no code with roller's prober.
func pings(t *testing.T, l *Lab, m *Machine) bool {
	t.Helper()
	_, err := tool(t, l, "fping", "-c", "3", "-p", "200", "-t", "500", "-q", m.Addr)
	return err == nil
}

func state(t *testing.T, m *Machine) State {
	t.Helper()
	s, err := m.State()
	require.NoError(t, err)
	return s
}

func TestStartBootsEveryMachineInANetworkWithoutAWayOut(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2", "ms1-3"))
	require.Len(t, l.Machines(), 3)
	for i, m := range l.Machines() {
		require.Equal(t, fmt.Sprintf("ms1-%d.test.releng.mdc1.mozilla.com", i+1), m.FQDN)
		require.Equal(t, []string{rig.PowerOn, rig.Up, rig.Banner}, events(l, m))
		require.True(t, pings(t, l, m))
	}
	routes, err := tool(t, l, "ip", "route", "show", "default")
	require.NoError(t, err)
	require.Empty(t, routes)
	_, err = tool(t, l, "fping", "-c", "1", "-q", "127.0.0.1")
	require.NoError(t, err, "loopback")
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	var l *Lab
	var sleeper *exec.Cmd
	t.Run("lab", func(t *testing.T) {
		l = Start(t, quick)
		sleeper = l.Command(context.Background(), "sleep", "600") // Close must end it, not a context
		require.NoError(t, sleeper.Start())
	})
	requireGone(t, l)
	require.ErrorContains(t, sleeper.Wait(), "signal: killed")
	l.Close() // again: no harm
}

func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	l := &Lab{t: t, name: newName()}
	t.Cleanup(l.Close)
	_, err := rig.Run("ip", "netns", "add", l.space("m2")) // in the way of the second machine
	require.NoError(t, err)
	err = l.build(with(quick, "ms1-1", "ms1-2").withDefaults())
	require.ErrorContains(t, err, "machine ms1-2: ")
	require.NotEmpty(t, l.daemons, "the first machine's BMC ran")
	l.Close()
	requireGone(t, l)
}

// requireGone looks for what the lab's daemons and names would show as.
func requireGone(t *testing.T, l *Lab) {
	t.Helper()
	for _, pattern := range []string{filepath.Join(rig.SpaceDir, l.name+"*"), filepath.Join(os.TempDir(), l.name+"*")} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.Empty(t, found)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range commands {
		line, err := os.ReadFile(file)
		if err == nil {
			require.NotContains(t, string(line), l.name+"-", "a process of the lab is left: %s", file)
			require.NotContains(t, string(line), l.name+"/", "a process of the lab is left: %s", file)
		}
	}
}

// childOfTest tells the test below, run again as a child, to be the killed run.
const childOfTest = "ROLLER_NETNS_CHILD"

func TestStartSweepsWhatAKilledRunLeft(t *testing.T) {
	t.Parallel()
	if os.Getenv(childOfTest) != "" {
		l := Start(t, quick)
		fmt.Printf("started %s\n", l.name)
		<-t.Context().Done() // the parent kills it before
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), childOfTest+"=1")
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	name := startedName(out)
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	require.NotEmpty(t, name, "the child started no lab")

	neighbour := Start(t, quick)
	requireGone(t, &Lab{name: name})
	require.True(t, pings(t, neighbour, neighbour.Machines()[0]))
	require.NoError(t, sweep())
	require.True(t, pings(t, neighbour, neighbour.Machines()[0]), "a sweep leaves labs alone whose owner lives")
}

func startedName(out interface{ Read([]byte) (int, error) }) string {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "started "); ok {
			return name
		}
	}
	return ""
}

func TestOrphan(t *testing.T) {
	t.Parallel()
	own := newName()
	pid := os.Getpid()
	for name, tc := range map[string]struct {
		entry string
		lab   string
		dead  bool
	}{
		"own":                     {own + "-lab", own, false},
		"another start, same pid": {fmt.Sprintf("%s%d-1-1-m1", prefix, pid), fmt.Sprintf("%s%d-1-1", prefix, pid), true},
		"no such process":         {prefix + "4194305-7-2-b1", prefix + "4194305-7-2", true}, // above Linux's PID_MAX_LIMIT, 2^22
		"directory":               {prefix + "4194305-7-2", prefix + "4194305-7-2", true},
		"somebody else's":         {"lab", "", false},
		"not of this form":        {prefix + "x-y-z", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab, dead := orphan(tc.entry)
			require.Equal(t, tc.dead, dead)
			require.Equal(t, tc.lab, lab)
		})
	}
}

func TestRequirementsNamesAllThatIsMissing(t *testing.T) {
	t.Parallel()
	have := func(string) (string, error) { return "", nil }
	require.NoError(t, requirements(0, have))
	require.EqualError(t, requirements(1000, have), "lab: needs root, for network namespaces")
	without := func(program string) (string, error) {
		if program == "ipmi_sim" || program == "snmpd" {
			return "", errors.New("not found")
		}
		return "", nil
	}
	require.EqualError(t, requirements(0, without),
		"lab: needs ipmi_sim (Debian package openipmi)\nlab: needs snmpd (Debian package snmpd)")
}

func TestWriteFiles(t *testing.T) {
	t.Parallel()
	l := Start(t, with(quick, "ms1-1", "ms1-2"))
	dir := t.TempDir()
	env := l.WriteFiles(dir)
	require.Equal(t, map[string]string{
		"FQDN_TO_SSH_FILE": filepath.Join(dir, "ssh.json"), "FQDN_TO_IPMI_FILE": filepath.Join(dir, "ipmi.json"),
		"FQDN_TO_PDU_FILE": filepath.Join(dir, "pdus.json"), "SSH_KNOWN_HOSTS_FILE": filepath.Join(dir, "known_hosts"),
		"SNMP_COMMUNITY": Community,
	}, env)
	fqdn := "ms1-2.test.releng.mdc1.mozilla.com"
	for variable, want := range map[string]string{
		"FQDN_TO_SSH_FILE":  `{"ssh":{"user":"roller","key_file":"` + dir + `/ssh.key"},"addr":"10.77.0.12","port":22,"probe":"icmp"}`,
		"FQDN_TO_IPMI_FILE": `{"ipmi":{"user":"admin","password":"s3cret-bmc"},"addr":"10.77.0.102","port":623}`,
		"FQDN_TO_PDU_FILE":  `{"pdu":"pdu1.mdc1.example:AA2","addr":"10.77.0.201","port":161}`,
	} {
		text, err := os.ReadFile(env[variable])
		require.NoError(t, err)
		var entries map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &entries))
		require.Len(t, entries, 2)
		require.JSONEq(t, want, string(entries[fqdn]))
	}
	key, err := os.Stat(filepath.Join(dir, "ssh.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), key.Mode())
}
