package activities

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// fakeTool stands in PATH for ipmitool: no simulator bridges twice. It notes what
// it was given, as the kernel shows it to everybody and as only it sees it, and
// answers what the test put beside it under the command's name.
const fakeTool = `#!/bin/sh
cd "${0%/*}" || exit 99
name=$(echo "$@" | sed 's/.* -- //; s/ /_/g')
tr '\0' ' ' < /proc/$$/cmdline >> argv; echo >> argv
env >> env
[ -e "$name.hang" ] && echo > "$name.hang" && exec sleep 600
while [ -e "$name.wait" ]; do echo > "$name.waits"; sleep 0.05; done
[ -e "$name.err" ] && cat "$name.err" >&2
[ -e "$name" ] && cat "$name" && exit 0
exit 1
`

type fake struct {
	t   *testing.T
	dir string
}

// newFake puts the stand-in first in PATH, which is one for the whole process.
func newFake(t *testing.T) fake {
	t.Helper()
	f := fake{t, t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "ipmitool"), []byte(fakeTool), 0o700))
	t.Setenv("PATH", f.dir+":"+os.Getenv("PATH"))
	f.says("chassis_power_status", "Chassis Power is on\n")
	return f
}

func (f fake) says(name, text string) {
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600))
}

func (f fake) read(name string) string {
	data, err := os.ReadFile(filepath.Join(f.dir, name))
	require.NoError(f.t, err)
	return string(data)
}

// calls are ipmitool's command lines, each without what the shell put before it.
func (f fake) calls() []string {
	var out []string
	for line := range strings.Lines(f.read("argv")) {
		_, args, _ := strings.Cut(line, "/ipmitool ")
		out = append(out, strings.TrimSpace(args))
	}
	return out
}

// sent counts the calls with a command.
func (f fake) sent(words string) int {
	n := 0
	for _, c := range f.calls() {
		if strings.HasSuffix(c, " -- "+words) {
			n++
		}
	}
	return n
}

// blade is a rig whose machine is cartridge 10 of a chassis.
func blade(t *testing.T) (*rig, config.Machine) {
	t.Helper()
	r := newRig(t, lab.Spec{NoOutlet: true})
	r.Config.Devices.IPMITimeout = config.Duration(time.Second)
	m := r.entry(t)
	c := config.Cartridge{Slot: 10, Node: 1}
	m.IPMI = &config.IPMI{
		Host: "chassis.example", Port: 623, User: "Administrator", Password: config.NewSecret("s3cret-chassis"),
		KG: config.NewSecret("s3cret-kg"), Privilege: "ADMINISTRATOR", CipherSuites: []int{3}, Bridge: c.Bridge(),
	}
	return r, m
}

const bladeArgs = "-I lanplus -H chassis.example -p 623 -U Administrator -E -L ADMINISTRATOR -C 3 -R 1 -N 1 -K -B 0 -b 7 -T 0x94 -t 0x72 -- "

// A Moonshot node is reached by double bridging; a control command goes out with
// -R 1, a read with its repeats; no secret is where the kernel shows it.
func TestBridgedControl(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	t.Setenv("IPMITOOL_PASSWORD", "another") // would be preferred
	f.says("chassis_power_reset", "Chassis Power Control: Reset\n")
	r, m := blade(t)
	what, err := r.ipmiControl(t.Context(), m, Reset, allowed)
	require.NoError(t, err)
	require.Equal(t, "chassis power reset", what)
	require.Equal(t, []string{
		strings.Replace(bladeArgs, "-R 1 -N 1", "-R 4 -N 1", 1) + "chassis power status",
		bladeArgs + "chassis power reset",
	}, f.calls())
	require.NotContains(t, f.read("argv"), "s3cret")
	env := f.read("env")
	require.Contains(t, env, "IPMI_PASSWORD=s3cret-chassis\n")
	require.Contains(t, env, "IPMI_KGKEY=s3cret-kg\n")
	require.NotContains(t, env, "IPMITOOL_PASSWORD")

	r.Config.Devices.IPMITimeout = config.Duration(19500 * time.Millisecond)
	_, err = r.ipmiControl(t.Context(), m, Reset, allowed)
	require.NoError(t, err)
	require.Contains(t, f.calls()[3], "-R 1 -N 20 ")
}

func TestBridgedOwnWords(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	f.says("raw_0x00_0x02_0x03", "\n")
	r, m := blade(t)
	m.IPMI.Commands = map[string][]string{"ipmi_reset": {"raw", "0x00", "0x02", "0x03"}}
	what, err := r.ipmiControl(t.Context(), m, Reset, allowed)
	require.NoError(t, err)
	require.Equal(t, "raw 0x00 0x02 0x03", what)
	require.Equal(t, 1, f.sent("raw 0x00 0x02 0x03"))
}

func TestBridgedReads(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	f.says("mc_info", "Device ID : 0\n")
	r, m := blade(t)
	state, err := r.ipmiPower(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, "on", state)
	require.NoError(t, r.ipmiHello(t.Context(), m))

	f.says("chassis_power_status", "what?\n")
	_, err = r.ipmiPower(t.Context(), m)
	require.Equal(t, NotSent, MeaningOf(err))
	require.NoError(t, os.Remove(filepath.Join(f.dir, "mc_info")))
	require.Equal(t, NotSent, MeaningOf(r.ipmiHello(t.Context(), m)), "a read that failed without a word may be asked again")
}

// Before the control command each error is NotSent or Refused, and nothing goes out.
func TestBridgedErrorsBefore(t *testing.T) { //nolint:paralleltest // PATH
	for name, c := range map[string]struct {
		says    string
		meaning Meaning
	}{
		"password":    {"> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n", Refused},
		"unreachable": {"Get Auth Capabilities error\nError: Unable to establish IPMI v2 / RMCP+ session\n", NotSent},
		"garbage":     {"\x00\xff%s", NotSent},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			require.NoError(t, os.Remove(filepath.Join(f.dir, "chassis_power_status")))
			f.says("chassis_power_status.err", c.says)
			r, m := blade(t)
			what, err := r.ipmiControl(t.Context(), m, Reset, allowed)
			require.Empty(t, what)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.Zero(t, f.sent("chassis power reset"))
		})
	}
	t.Run("the fence", func(t *testing.T) {
		f := newFake(t)
		r, m := blade(t)
		_, err := r.ipmiControl(t.Context(), m, Reset, func() error { return temporal.NewCanceledError() })
		require.True(t, temporal.IsCanceledError(err))
		require.Zero(t, f.sent("chassis power reset"))
	})
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		r, m := blade(t)
		_, err := r.ipmiControl(t.Context(), m, Reset, allowed)
		require.Equal(t, NotSent, MeaningOf(err))
		require.ErrorContains(t, err, "not installed")
	})
}

// From the control command on, what is not a clear answer is Unknown, and it is
// run once whatever it says.
func TestBridgedErrorsAfter(t *testing.T) { //nolint:paralleltest // PATH
	for name, c := range map[string]struct {
		says    string
		meaning Meaning
	}{
		"refused":        {"Set Chassis Power Control to Reset failed: Command not supported in present state\n", Refused},
		"no privilege":   {"Set Chassis Power Control to Reset failed: Insufficient privilege level\n", Refused},
		"busy":           {"Set Chassis Power Control to Reset failed: Node busy\n", NotSent},
		"not delivered":  {"Set Chassis Power Control to Reset failed: Unknown (0x83)\n", NotSent},
		"bus error":      {"Set Chassis Power Control to Reset failed: Unknown (0x82)\n", Unknown},
		"timeout inside": {"Set Chassis Power Control to Reset failed: Timeout\n", Unknown},
		"lost reply":     {"Unable to set Chassis Power Control to Reset\n", Unknown},
		"nothing":        {"", Unknown},
		"garbage":        {"\x00\xff\x1b[2J%s", Unknown},
		"session lost":   {"Error: Unable to establish IPMI v2 / RMCP+ session\n", NotSent},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.says("chassis_power_reset.err", c.says)
			r, m := blade(t)
			what, err := r.ipmiControl(t.Context(), m, Reset, allowed)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.Equal(t, c.meaning != NotSent, what != "", "what may have been sent is said")
			require.Equal(t, 1, f.sent("chassis power reset"))
		})
	}
	t.Run("killed", func(t *testing.T) {
		f := newFake(t)
		running := filepath.Join(f.dir, "chassis_power_reset.hang")
		require.NoError(t, syscall.Mkfifo(running, 0o600))
		r, m := blade(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			_, _ = os.ReadFile(running) // until ipmitool has begun
			cancel()
		}()
		_, err := r.ipmiControl(ctx, m, Reset, allowed)
		require.Equal(t, Unknown, MeaningOf(err), "%v", err)
		require.False(t, temporal.IsCanceledError(err))
	})
}

// Without -v ipmitool does not say why there is no session: it is asked again, with
// a question that changes nothing.
func TestToolSaysWhyThereIsNoSession(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	f.says("chassis_power_reset.err", "Error: Unable to establish IPMI v2 / RMCP+ session\n")
	f.says("mc_info.err", "> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n")
	r, m := blade(t)
	what, err := r.ipmiControl(t.Context(), m, Reset, allowed)
	require.Empty(t, what, "nothing goes out without a session")
	require.Equal(t, Refused, MeaningOf(err), "%v", err)
	require.ErrorContains(t, err, "the password is not accepted")
	require.Equal(t, 1, f.sent("chassis power reset"))
	calls := f.calls()
	require.Contains(t, calls[len(calls)-1], " -v -K ")
	require.NotContains(t, calls[1], " -v ")
}

// The next cipher suite is tried only where the session was refused for it.
func TestToolCipherSuites(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	require.NoError(t, os.Remove(filepath.Join(f.dir, "chassis_power_status")))
	f.says("chassis_power_status.err", "Error in open session response message : invalid authentication algorithm\n\nError: Unable to establish IPMI v2 / RMCP+ session\n")
	r, m := blade(t)
	m.IPMI.CipherSuites = nil
	_, err := r.ipmiPower(t.Context(), m)
	require.Equal(t, Refused, MeaningOf(err))
	require.ErrorContains(t, err, nextSuite)
	calls := f.calls()
	require.Len(t, calls, 2)
	require.Contains(t, calls[0], "-C 17 ")
	require.Contains(t, calls[1], "-C 3 ")
}

// Promise 2: a worker that was frozen while the session was refused for its cipher
// suite does not send under the next one.
func TestToolFenceBeforeTheNextSuite(t *testing.T) { //nolint:paralleltest // PATH
	for name, write := range map[string]struct {
		words string
		do    func(r *rig, m config.Machine, ready func() error) error
	}{
		"a control command": {"chassis power reset", func(r *rig, m config.Machine, ready func() error) error {
			what, err := r.ipmiControl(t.Context(), m, Reset, ready)
			require.Empty(t, what)
			return err
		}},
		"a network boot": {"chassis bootdev pxe", func(r *rig, m config.Machine, ready func() error) error {
			return r.ipmiNetboot(t.Context(), m, ready)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.says(strings.ReplaceAll(write.words, " ", "_")+".err", "Error in open session response message : no matching cipher suite\n\nError: Unable to establish IPMI v2 / RMCP+ session\n")
			r, m := blade(t)
			m.IPMI.CipherSuites = nil
			asked, late := 0, meaning(Handover, "too late")
			err := write.do(r, m, func() error {
				if asked++; asked > 1 {
					return late
				}
				return nil
			})
			require.ErrorIs(t, err, late)
			require.Equal(t, 2, asked)
			require.Equal(t, 1, f.sent(write.words))
		})
	}
}

// Promise 4: a cancel does not kill an ipmitool that may have sent its command, for
// what is killed cannot say what it has sent.
func TestCancelLeavesIPMIToolAtWork(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	f.says("chassis_power_off", "Chassis Power Control: Down/Off\n")
	f.says("chassis_power_off.wait", "")
	r, m := blade(t)
	r.Config.Devices.IPMITimeout = config.Duration(time.Minute)
	ctx, cancel := context.WithCancelCause(t.Context())
	sent := make(chan error, 1)
	var what string
	go func() {
		var err error
		what, err = r.ipmiControl(ctx, m, Off, allowed)
		sent <- err
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(f.dir, "chassis_power_off.waits"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	cancel(temporal.NewCanceledError())
	require.Never(t, func() bool { return len(sent) > 0 }, 500*time.Millisecond, 10*time.Millisecond, "it was killed")
	require.NoError(t, os.Remove(filepath.Join(f.dir, "chassis_power_off.wait")))
	require.NoError(t, <-sent)
	require.Equal(t, "chassis power off", what)
}

// ipmi_reboot through the bridge: soft and hard once each, hard after a reading.
func TestBridgedReboot(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	for _, name := range []string{"mc_info", "chassis_power_soft", "chassis_power_off"} {
		f.says(name, "ok\n")
	}
	r, m := blade(t)
	r.Config.Devices.IPMIStatusWait = config.Duration(100 * time.Millisecond)
	r.Config.Devices.IPMIStatusPoll = config.Duration(50 * time.Millisecond)
	what, err := r.ipmiShutdown(t.Context(), m, allowed)
	require.NoError(t, err)
	require.Equal(t, "chassis power soft, chassis power off", what)
	require.Equal(t, 1, f.sent("chassis power soft"))
	require.Equal(t, 1, f.sent("chassis power off"))
	calls := f.calls()
	require.Contains(t, calls[0], "mc info")
	require.Contains(t, calls[len(calls)-2], "chassis power status")
}

// A read may be sent again, with the time for all of it; anything else goes out
// once, with the time for its reply. Words are no options.
func TestIPMITool(t *testing.T) { //nolint:paralleltest // PATH
	f := newFake(t)
	f.says("sensor_list_-P_x", "ok\n")
	f.says("raw_0x00_0x02_0x03", "\n")
	r := newRig(t, lab.Spec{NoOutlet: true})
	res, err := execute(t, r.IPMITool, IPMIToolInput{Machine: r.name, Command: []string{"chassis", "power", "status"}}, call{})
	require.NoError(t, err)
	require.Equal(t, "Chassis Power is on", res.Text)
	m := r.entry(t)
	m.IPMI = &config.IPMI{Host: "bmc.example", Port: 623, User: "u", Password: config.NewSecret("s3cret-x")}
	direct := &Activities{Config: r.Config, Inventory: func() *config.Inventory { return config.NewInventory(m) }}
	for _, words := range []string{"sensor list -P x", "raw 0x00 0x02 0x03"} {
		_, err = direct.IPMITool(t.Context(), IPMIToolInput{Machine: m.Name, Command: strings.Fields(words)})
		require.NoError(t, err)
	}
	require.Equal(t, []string{
		"-I lanplus -H bmc.example -p 623 -U u -E -L OPERATOR -C 17 -R 4 -N 1 -- sensor list -P x",
		"-I lanplus -H bmc.example -p 623 -U u -E -L OPERATOR -C 17 -R 1 -N 15 -- raw 0x00 0x02 0x03",
	}, f.calls()[1:])
	require.NotContains(t, f.read("argv"), "s3cret")
}

func TestIPMIToolReads(t *testing.T) {
	t.Parallel()
	for _, words := range []string{
		"power status", "chassis power status", "chassis status", "mc info", "sel", "sel list last 15", "sel elist", "sdr", "sdr elist all",
		"sensor", "fru", "fru print 0", "lan print 1",
	} {
		require.True(t, IPMIToolReads(strings.Fields(words)), words)
	}
	for _, words := range []string{
		"", "power", "power on", "power off", "power cycle", "power reset", "power soft", "power diag", "chassis power off", "chassis identify force",
		"chassis bootdev pxe", "chassis bootparam set bootflag force_pxe", "chassis policy always-on", "mc reset cold", "mc watchdog off", "raw 6 1",
		"sel clear", "sel delete 1", "sel save f", "sel time set now", "sdr dump f", "sensor thresh x lower 1 2 3", "fru write 0 f", "fru read 0 f",
		"lan set 1 ipsrc static", "user set name 2 x", "sol activate", "hpm upgrade f", "POWER STATUS", "event 1", "shell", "exec f",
	} {
		require.False(t, IPMIToolReads(strings.Fields(words)), words)
	}
}

func TestIPMIToolBadInput(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoOutlet: true})
	for name, in := range map[string]IPMIToolInput{
		"no command": {},
		"privilege":  {Privilege: "GOD", Command: []string{"mc", "info"}},
		"a terminal": {Command: []string{"shell"}},
		"a password": {Command: []string{"user", "set", "password", "2", "s3cret"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in.Machine = r.name
			_, err := execute(t, r.IPMITool, in, call{})
			requireMeaning(t, err, BadInput, false)
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
	_, err := execute(t, r.IPMITool, IPMIToolInput{Machine: config.Name{WorkerID: "x", WorkerGroup: "y"}, Command: []string{"mc"}}, call{})
	requireMeaning(t, err, UnknownMachine, false)
}

// FuzzToolMeaning holds that nothing that ipmitool prints is taken for "not
// sent" without one of the lines that say so.
func FuzzToolMeaning(f *testing.F) {
	for _, s := range toolSays {
		f.Add(s.text)
	}
	f.Add("Set Chassis Power Control to Off failed: Node busy\n")
	f.Add("Get Chassis Power Status failed: Unknown (0x83)\nClose Session command failed\n")
	f.Fuzz(func(t *testing.T, said string) {
		m, _, _ := toolMeaning(said)
		require.Contains(t, []Meaning{NotSent, Unknown, Refused}, m)
		if m == NotSent {
			require.Regexp(t, `Unable to establish|Could not open|Address lookup|Node busy|Out of space|0x83`, said)
		}
		_ = lastLine(said)
	})
}
