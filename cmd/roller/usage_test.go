package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A command line that cannot be carried out has a status of its own, whatever the
// command.
func TestUsageStatus(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"reboo":                  `there is no command "reboo" (reboot?); roller alone lists them`,
		"nothing like it":        `there is no command "nothing"; roller alone lists them`,
		"--what":                 "unknown flag: --what",
		"register_tc_actions":    "say either --hooks, or BASE_URL and PROVISIONER_ID; see roller help register_tc_actions",
		"list --limit 0":         "--limit 0: must be 1 or more",
		"list --machine ms1-10":  `--machine "ms1-10": must be group/id`,
		"list --limt 3":          "unknown flag: --limt",
		"start reboot ms1-10":    "start: accepts 3 arg(s), received 2",
		"check a b c":            "check: accepts at most 2 arg(s), received 3",
		"ipmitool":               "which machine?",
		"xen_reboot --direct":    "takes UUID here",
		"ilo_reboot --direct":    "takes HOST here",
		"ssh_reboot --timeout x": "must be a number of seconds",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), rollerBinary, strings.Fields(line)...)
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%s", out)
			require.Contains(t, string(out), says)
		})
	}
	out, err := exec.CommandContext(t.Context(), rollerBinary).CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), "\nActions:\n", "roller alone lists all")
}
