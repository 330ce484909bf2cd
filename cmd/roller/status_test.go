package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// Without Temporal the terminal says so, and all else is told; a device that
// cannot tell is no failure of the question.
func TestStatusWithoutTemporal(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Spec{Moonshot: true, Faults: lab.Faults{PDUDead: true}})
	cmd := exec.CommandContext(t.Context(), rollerBinary, "status", "MS1-10", "mdc1")
	cmd.Env = append(s.env, "START_TIMEOUT=1s", "STATUS_TIMEOUT=10s", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	lines := strings.Split(string(out), "\n")
	require.Equal(t, s.machine.FQDN(), lines[0])
	require.Regexp(t, `^power  ipmi +on$`, lines[1])
	require.Regexp(t, `^ +moonshot c1n1 +on$`, lines[2])
	require.Regexp(t, `^ +pdu pdu1\.mdc1\.example:AA1  cannot be asked: snmp pdu1`, lines[3])
	require.Regexp(t, `^ping   tcp:2022 +answers, `, lines[4])
	require.Regexp(t, `^ssh +SSH-2\.0-lab$`, lines[5])
	require.Regexp(t, `^job +not known: Temporal cannot be asked: `, lines[6])
	require.NotContains(t, string(out), "s3cret")
	require.Empty(t, s.controls())
}

// It is a question about a machine of the inventory, and takes nothing else.
func TestStatusWantsAMachineOfTheInventory(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Spec{})
	for line, says := range map[string]string{
		"status":               "which machine?",
		"status a b c":         "which machine?",
		"status --direct a":    "unknown flag: --direct",
		"status ms1-11 mdc1":   "not in worker group",
		"status 10.0.0.1":      "10.0.0.1",
		"status -H bmc ms1-10": "unknown shorthand flag",
	} {
		r := carry(t, s.env, "", strings.Fields(line)...)
		require.NotZero(t, r.status, "%s: %+v", line, r)
		require.Contains(t, r.err, says, line)
	}
}

// The worker file's community belongs to no machine, and counts here too.
func TestReadsKnowTheWorkerFilesCommunity(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "worker.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"snmp_community_string": "s3cret-file", "servers": {"ms1-10": {
		"fqdn": "ms1-10.test.releng.mdc1.mozilla.com", "pdu": "pdu1.example:AA1"}}}`), 0o600))
	var community config.Secret
	a := action{name: "status", act: func(_ context.Context, d *direct) (string, error) {
		community = d.Inventory().Community
		return "", nil
	}}
	cmd := a.command(slog.New(slog.DiscardHandler), []string{"WORKER_CONFIG_PATH=" + file})
	cmd.SetArgs([]string{"ms1-10", "mdc1"})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	require.Equal(t, "s3cret-file", community.Reveal())
}
