package main

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// rollerBinary is the real program, for what only a process has: signals and
// exit statuses.
var rollerBinary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "roller-cmd-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	rollerBinary = filepath.Join(dir, "roller")
	if out, err := exec.Command("go", "build", "-o", rollerBinary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build roller: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// site is one simulated machine and the environment of somebody who has it in
// their inventory.
type site struct {
	lab     *lab.Lab
	machine *lab.Machine
	env     []string
	key     string
}

func newSite(t *testing.T, spec lab.Spec) *site {
	t.Helper()
	spec.WorkerID, spec.WorkerGroup = "ms1-10", "mdc1"
	l, err := lab.Start(lab.Options{Machines: []lab.Spec{spec}, Seed: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	dir := t.TempDir()
	env, err := l.WriteFiles(dir)
	require.NoError(t, err)
	s := &site{lab: l, machine: l.Machines()[0], key: filepath.Join(dir, "ssh.key")}
	s.env = []string{"SNMP_VERIFY_TIMEOUT=5s", "PROBE_TIMEOUT=1s", "ON_ALARM=30s", "TEMPORAL_ADDRESS=127.0.0.1:1"}
	for k, v := range env {
		s.env = append(s.env, k+"="+v)
	}
	return s
}

// Arguments by which the machine's devices are named without an inventory.
func (s *site) ssh(user string) []string {
	return []string{"-l", user, "-i", s.key, "-p", strconv.Itoa(lab.SSHPort), s.machine.Addr()}
}

func (s *site) bmc() []string {
	return []string{"-H", s.machine.Addr(), "-p", strconv.Itoa(lab.BMCPort), "-U", lab.BMCUser, "--timeout", "1"}
}

func (s *site) pdu() []string {
	_, socket, _ := strings.Cut(s.machine.Outlet(), ":")
	return []string{"--timeout", "1", "ms1-10.example.com", s.machine.PDUAddr() + ":" + strconv.Itoa(lab.PDUPort), socket}
}

// web names the machine's iLO, which is its chassis manager's place, too.
func (s *site) web(t *testing.T) []string {
	t.Helper()
	cfg, err := config.Load(s.env)
	require.NoError(t, err)
	v, err := config.LoadInventory(cfg.Files)
	require.NoError(t, err)
	m := v.Machines()[0]
	pin := config.Fingerprint("")
	if m.ILO != nil {
		pin = m.ILO.Fingerprint
	} else if m.Moonshot != nil {
		pin = m.Moonshot.Fingerprint
	}
	return []string{"--login", lab.BMCUser, "--fingerprint", string(pin), "--timeout", "2", net.JoinHostPort(s.machine.Addr(), strconv.Itoa(lab.WebPort))}
}

// controls is what the machine's devices were told and carried out.
func (s *site) controls() []string {
	var out []string
	for _, e := range s.lab.Controls(s.machine.FQDN()) {
		out = append(out, e.Device+" "+e.Command)
	}
	return out
}

// ran is what a command left behind.
type ran struct {
	out, err string
	status   int
}

// carry carries a command line out in this process.
func carry(t *testing.T, env []string, stdin string, args ...string) ran {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := &cobra.Command{Use: "roller", SilenceUsage: true, SilenceErrors: true}
	cmd.AddGroup(&cobra.Group{ID: "actions", Title: "Actions:"}, &cobra.Group{ID: "operate", Title: "Setting up:"})
	cmd.AddCommand(append(actionCommands(slog.New(slog.DiscardHandler), env), checkCommand(env))...)
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	code := status(cmd.ExecuteContext(t.Context()), &errOut)
	for _, secret := range []string{lab.BMCPassword, lab.CommunityWrite} {
		require.NotContains(t, out.String()+errOut.String(), secret)
	}
	return ran{out.String(), errOut.String(), code}
}

func args(parts ...any) []string {
	var out []string
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			out = append(out, p)
		case []string:
			out = append(out, p...)
		}
	}
	return out
}
