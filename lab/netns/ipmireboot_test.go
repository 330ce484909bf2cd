//go:build lab && linux

package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// The activities run inside the lab's network namespace, in a child of the test
// that finds what to do in the file this variable names.
const errand = "ROLLER_NETNS_ERRAND"

// step is one activity's call, and what came of it.
type step struct {
	Env      map[string]string         `json:"env"`
	Machine  config.Name               `json:"machine"`
	Tool     bool                      `json:"tool"`  // by ipmitool, as a machine behind a chassis
	Words    []string                  `json:"words"` // IPMITool's, in the place of an action
	Activity string                    `json:"activity"`
	Action   activities.Action         `json:"action"`
	Password string                    `json:"password"`
	Result   *activities.CommandResult `json:"result"`
	Text     string                    `json:"text"`
	Meaning  activities.Meaning        `json:"meaning"`
	Error    string                    `json:"error"`
}

// do carries the step out in the lab's namespace.
func (s step) do(t *testing.T, l *Lab, m *Machine) step {
	t.Helper()
	dir := t.TempDir()
	s.Env, s.Machine = l.WriteFiles(dir), config.Name{WorkerID: m.ID, WorkerGroup: "mdc1"}
	maps.Copy(s.Env, map[string]string{
		"IPMI_TIMEOUT": "2s", "IPMI_POWER_STATUS_WAIT": "2s", "IPMI_POWER_STATUS_INTERVAL": "0.2s",
		"PROBE_INTERVAL": "0.2s", "PROBE_TIMEOUT": "1s",
	})
	path := filepath.Join(dir, "errand.json")
	text, err := json.Marshal(s)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	child := l.Command(t.Context(), os.Args[0], "-test.run=^TestIPMIInside$", "-test.v")
	child.Env = append(os.Environ(), errand+"="+path)
	said, err := child.CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.NotContains(t, string(said), BMCPassword)
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	var done step
	require.NoError(t, json.Unmarshal(text, &done))
	t.Logf("%s %s: %+v %s %s", s.Activity, s.Action, done.Result, done.Meaning, done.Error)
	return done
}

// TestIPMIInside is the child.
func TestIPMIInside(t *testing.T) {
	path := os.Getenv(errand)
	if path == "" {
		t.Log("not a test of its own: the tests of ipmi_reboot and ipmitool run it inside the lab's network")
		return
	}
	var s step
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &s))
	var environ []string
	for k, v := range s.Env {
		environ = append(environ, k+"="+v)
	}
	cfg, err := config.Load(environ)
	require.NoError(t, err)
	inv, err := config.LoadInventory(cfg.Files)
	require.NoError(t, err)
	m, err := inv.Lookup(s.Machine)
	require.NoError(t, err)
	m.IPMI.CipherSuites = []int{3} // the only one that ipmi_sim has
	if s.Password != "" {
		m.IPMI.Password = config.NewSecret(s.Password)
	}
	if s.Tool {
		m.IPMI.Commands = map[string][]string{"ipmi_status": {"power", "status"}}
	}
	a := activities.New(cfg, func() *config.Inventory { return inv })
	t.Cleanup(func() {
		text, err := json.Marshal(s)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, text, 0o600))
	})
	if s.Activity == "IPMIList" {
		var res activities.ReadResult
		res, err = a.IPMIList(t.Context(), activities.Read{Machine: s.Machine})
		s.Text = res.Text
	} else if len(s.Words) > 0 {
		var res activities.IPMIToolResult
		res, err = a.IPMITool(t.Context(), activities.IPMIToolInput{Machine: s.Machine, Timeout: cfg.Devices.IPMITimeout, Command: s.Words})
		s.Text = res.Text
	} else {
		in := activities.Command{Machine: s.Machine, Action: s.Action, Target: activities.TargetOf(m, "ipmi_reboot")}
		f := map[string]func() (activities.CommandResult, error){
			"IPMIPower": func() (activities.CommandResult, error) {
				in.DownTimeout = config.Duration(10 * time.Second)
				return a.IPMIPower(t.Context(), in)
			},
			"IPMIReboot": func() (activities.CommandResult, error) { return a.IPMIReboot(t.Context(), in) },
		}[s.Activity]
		if s.Action == activities.Off {
			in.DownTimeout = config.Duration(10 * time.Second) // as a rung
		}
		var res activities.CommandResult
		res, err = f()
		s.Result = &res
	}
	if e, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		s.Meaning, s.Error = activities.Meaning(e.Type()), e.Message()
	} else {
		require.NoError(t, err)
	}
}

func controls(l *Lab, m *Machine) []string {
	var words []string
	for _, c := range l.Commands(m.ID) {
		if c.Control {
			words = append(words, c.Command)
		}
	}
	return words
}

// ipmi_reboot against OpenIPMI's BMC, by the library and by ipmitool: soft is
// enough for a machine that listens, a wedged one is switched off hard, and both
// come back.
func TestIPMIRebootOnARealBMC(t *testing.T) {
	t.Parallel()
	for _, tool := range []bool{false, true} {
		for _, wedged := range []bool{false, true} {
			t.Run(fmt.Sprintf("tool %t wedged %t", tool, wedged), func(t *testing.T) {
				t.Parallel()
				l := Start(t, quick)
				m := l.Machines()[0]
				want := []string{"chassis power soft"}
				if wedged {
					require.NoError(t, m.Wedge())
					want = append(want, "chassis power off")
				}
				off := step{Activity: "IPMIReboot", Action: activities.Off, Tool: tool}.do(t, l, m)
				require.Empty(t, off.Error)
				require.Equal(t, "off", off.Result.Power)
				require.Equal(t, want, controls(l, m))
				require.False(t, state(t, m).Power)
				began := rig.Now()
				on := step{Activity: "IPMIReboot", Action: activities.On, Tool: tool}.do(t, l, m)
				require.Equal(t, "on", on.Result.Power)
				edgeAfter(t, l, m, rig.Banner, began)
				require.Equal(t, "Chassis Power is on", mustIPMI(t, l, m, "power", "status"))
			})
		}
	}
}

// The path through ipmitool on a real BMC: a reset, a wrong password, a BMC that
// cannot be reached.
func TestIPMIToolOnARealBMC(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	reset := step{Activity: "IPMIPower", Action: activities.Reset, Tool: true}
	res := reset.do(t, l, m)
	require.Empty(t, res.Error)
	require.Equal(t, "chassis power reset", res.Result.Sent)
	require.Equal(t, []string{"chassis power reset"}, controls(l, m))

	wrong := reset
	wrong.Password = "s3cret-wrong"
	res = wrong.do(t, l, m)
	require.Equal(t, activities.Refused, res.Meaning, res.Error)
	require.Contains(t, res.Error, "the password is not accepted")

	require.Contains(t, step{Words: []string{"sel", "list", "last", "15"}}.do(t, l, m).Text, "SEL has no entries")

	require.NoError(t, m.BMC().LoseReplies(100))
	res = reset.do(t, l, m)
	require.Equal(t, activities.NotSent, res.Meaning, res.Error)
	require.Len(t, controls(l, m), 1)
}

// The event log as the library decodes it, empty and with an entry that ipmitool
// added, and as ipmitool prints it.
func TestIPMIListOnARealBMC(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	list, tool := step{Activity: "IPMIList"}, step{Activity: "IPMIList", Tool: true}
	require.Equal(t, "SEL has no entries", list.do(t, l, m).Text)
	require.Equal(t, "SEL has no entries", tool.do(t, l, m).Text)
	// A line of ipmitool's `sel add`: revision, sensor's type and number, direction
	// and event type, data. Temperature 0x30, upper critical, going high.
	file := filepath.Join(t.TempDir(), "sel")
	require.NoError(t, os.WriteFile(file, []byte("0x04 0x01 0x30 0x01 0x09 0xff 0xff # made by hand\n"), 0o600))
	mustIPMI(t, l, m, "sel", "add", file)
	decoded := list.do(t, l, m)
	require.Empty(t, decoded.Error)
	require.Regexp(t, `^ +1 \| .* \| Temperature #0x30 \| Upper Critical.*going high .* \| Assertion$`, decoded.Text)
	require.Contains(t, tool.do(t, l, m).Text, "| Temperature #0x30 | Upper Critical going high | Asserted")
}

// -R 1 is one transmission: the reply to the reset alone is lost, ipmitool gives
// up after its time, and the BMC has seen the reset once.
func TestIPMIToolSendsOnce(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	reset := step{Words: []string{"chassis", "power", "reset"}}
	require.NoError(t, m.BMC().loseFrom(1<<15))
	require.Empty(t, reset.do(t, l, m).Error)
	replies, err := m.BMC().Lost() // its counter counts all of them
	require.NoError(t, err)
	require.Greater(t, replies, 5)

	// The last two replies of a run are the command's and Close Session's.
	require.NoError(t, m.BMC().loseFrom(replies-2))
	res := reset.do(t, l, m)
	require.Equal(t, activities.Unknown, res.Meaning, res.Error)
	require.Equal(t, []string{"chassis power reset", "chassis power reset"}, controls(l, m), "one of each run")
}

// loseFrom counts the device's answers, and drops those from number n on.
func (d *Device) loseFrom(n int) error {
	_, err := rig.RunIn(d.space, "nft", fmt.Sprintf(
		"add table ip %[1]s; delete table ip %[1]s; table ip %[1]s { chain out { type filter hook output priority 0; udp sport %[2]d counter; udp sport %[2]d numgen inc mod 65536 >= %[3]d drop; }; }",
		lossTable, d.Port, n))
	return err
}
