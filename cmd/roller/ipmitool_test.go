package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/lab"
)

// fakeIPMITool stands in for the program, which is tried for real in the lab of
// network namespaces: it notes what the kernel shows of it, and its environment.
const fakeIPMITool = `#!/bin/sh
cd "${0%/*}" || exit 99
tr '\0' ' ' < /proc/$$/cmdline > argv
/usr/bin/env > env
echo "Chassis Power is on"
`

// TestIPMITool runs the real roller, with a stand-in for ipmitool.
func TestIPMITool(t *testing.T) {
	t.Parallel()
	const host = "-H bmc.example -U roller"
	for name, c := range map[string]struct {
		line   string
		stdin  string
		env    string
		status int
		argv   string // what ipmitool was called with; "" if it was not
		says   string
	}{
		"a read, by host":             {line: host + " chassis power status", env: "IPMI_PASSWORD=s3cret-x", argv: "-I lanplus -H bmc.example -p 623 -U roller -E -L OPERATOR -C 17 -R 4 -N 1 -- chassis power status"},
		"all the old options":         {line: "-H bmc.example -I lanplus -L administrator -p 6230 -U roller -P - --timeout 7 -C 3 mc info", stdin: "s3cret-x\n", argv: "-I lanplus -H bmc.example -p 6230 -U roller -E -L ADMINISTRATOR -C 3 -R 4 -N 1 -- mc info"},
		"a change":                    {line: "--direct " + host + " --timeout 7 raw 0x00 0x02 0x03", env: "IPMI_PASSWORD=s3cret-x", argv: "-I lanplus -H bmc.example -p 623 -U roller -E -L OPERATOR -C 17 -R 1 -N 7 -- raw 0x00 0x02 0x03", says: "warning: --direct"},
		"of the inventory":            {line: "MS1-10 mdc1 sel list last 15", argv: "-I lanplus -H ADDR -p PORT -U USER -E -L OPERATOR -C 17 -R 4 -N 1 -- sel list last 15"},
		"of the inventory, full name": {line: "-L USER ms1-10.test.releng.mdc1.mozilla.com sdr", argv: "-I lanplus -H ADDR -p PORT -U USER -E -L USER -C 17 -R 4 -N 1 -- sdr"},
		"a word that looks like one":  {line: host + " sensor get -- -v", env: "IPMI_PASSWORD=s3cret-x", argv: "-I lanplus -H bmc.example -p 623 -U roller -E -L OPERATOR -C 17 -R 4 -N 1 -- sensor get -v"},
		"no --direct":                 {line: host + " chassis power off", env: "IPMI_PASSWORD=s3cret-x", status: 2, says: "say --direct if that is meant"},
		"an unknown machine":          {line: "ms1-11 mdc1 mc info", status: 1, says: "not in worker group"},
		"a shell":                     {line: "--direct " + host + " shell", env: "IPMI_PASSWORD=s3cret-x", status: 1, says: "run ipmitool itself"},
		"no such privilege":           {line: host + " -L ROOT mc info", env: "IPMI_PASSWORD=s3cret-x", status: 2, says: "must be one of CALLBACK, USER, OPERATOR, ADMINISTRATOR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, lab.Spec{})
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "ipmitool"), []byte(fakeIPMITool), 0o700))
			cmd := exec.CommandContext(t.Context(), rollerBinary, append([]string{"ipmitool"}, strings.Fields(c.line)...)...)
			cmd.Env, cmd.Stdin = append(s.env, c.env, "PATH="+dir+":/usr/bin:/bin"), strings.NewReader(c.stdin)
			out, _ := cmd.CombinedOutput()
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), "%s", out)
			require.Contains(t, string(out), c.says)
			require.NotContains(t, string(out), "s3cret")
			argv, err := os.ReadFile(filepath.Join(dir, "argv"))
			if c.argv == "" {
				require.ErrorIs(t, err, os.ErrNotExist)
				return
			}
			require.NoError(t, err)
			require.Contains(t, string(out), "Chassis Power is on")
			addr, port := s.bmc()[1], s.bmc()[3]
			want := strings.NewReplacer("ADDR", addr, "PORT", port, "-U USER", "-U "+lab.BMCUser).Replace(c.argv)
			_, got, _ := strings.Cut(string(argv), "/ipmitool ")
			require.Equal(t, want, strings.TrimSpace(got))
			env, err := os.ReadFile(filepath.Join(dir, "env"))
			require.NoError(t, err)
			password := "s3cret-x"
			if strings.Contains(c.argv, "ADDR") {
				password = lab.BMCPassword
			}
			require.Contains(t, string(env), "IPMI_PASSWORD="+password+"\n")
		})
	}
}
