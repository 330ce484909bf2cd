package activities

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// pair is two machines of which the inventory can be changed.
type pair struct {
	*Activities
	lab     *lab.Lab
	entries map[string]config.Machine // by worker ID
}

func newPair(t *testing.T) *pair {
	t.Helper()
	l, err := lab.Start(lab.Options{Machines: []lab.Spec{
		{WorkerID: "mine", WorkerGroup: "mdc1", VM: true}, {WorkerID: "other", WorkerGroup: "mdc1"},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	env, err := l.WriteFiles(t.TempDir())
	require.NoError(t, err)
	environ := []string{
		"PROBE_INTERVAL=50ms", "DOWN_PROBES=3", "IPMI_TIMEOUT=2s", "SNMP_TIMEOUT=2s", "SNMP_VERIFY_TIMEOUT=1s", "IPMI_POWER_STATUS_INTERVAL=0.1s",
	}
	for k, v := range env {
		environ = append(environ, k+"="+v)
	}
	cfg, err := config.Load(environ)
	require.NoError(t, err)
	inv, err := config.LoadInventory(cfg.Files)
	require.NoError(t, err)
	p := &pair{lab: l, entries: map[string]config.Machine{}}
	for _, m := range inv.Machines() {
		p.entries[m.WorkerID] = m
	}
	p.Activities = New(cfg, func() *config.Inventory {
		var machines []config.Machine
		for _, m := range p.entries {
			machines = append(machines, m)
		}
		return config.NewInventory(machines...)
	})
	return p
}

// switched is the commands that reached the two machines' devices.
func (p *pair) switched(id string) []string {
	var out []string
	for _, e := range p.lab.Controls(id) {
		out = append(out, e.Command)
	}
	return out
}

// The inventory changes while a command waits for its turn, or connects: another
// machine may hang on that device now. To power on there is no such reason.
func TestInventoryChangesBeforeTheCommand(t *testing.T) {
	t.Parallel()
	exchanged := func(p *pair) {
		mine, other := p.entries["mine"], p.entries["other"]
		mine.Outlets, other.Outlets = other.Outlets, mine.Outlets
		p.entries["mine"], p.entries["other"] = mine, other
	}
	gone := func(p *pair) { delete(p.entries, "mine") }
	for name, c := range map[string]struct {
		action  Action
		change  func(*pair)
		meaning Meaning // "": it is sent
		retry   bool
	}{
		"off, unchanged":     {action: Off, change: func(p *pair) { p.entries["other"] = config.Machine{Name: p.entries["other"].Name, FQDN: "x.example"} }},
		"off, exchanged":     {action: Off, change: exchanged, meaning: NoRung},
		"off, gone":          {action: Off, change: gone, meaning: UnknownMachine},
		"another, exchanged": {action: Reboot, change: exchanged, meaning: NotSent, retry: true},
		"another, gone":      {action: Reboot, change: gone, meaning: UnknownMachine},
		"on, exchanged":      {action: On, change: exchanged},
		"on, gone":           {action: On, change: gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			m := p.entries["mine"]
			f := &fakeDevice{powers: []string{"x", string(c.action)}, before: func() { c.change(p) }}
			in := Command{Machine: m.Name, Action: c.action, Target: TargetOf(m, "snmp_reboot"), RungRetry: config.Duration(time.Minute)}
			_, err := execute(t, func(ctx context.Context, in Command) (CommandResult, error) {
				res, err := p.command(ctx, in, f.deed())
				return res, fail(err)
			}, in, call{})
			if c.meaning == "" {
				require.NoError(t, err)
				require.Equal(t, 1, f.sent)
				return
			}
			requireMeaning(t, err, c.meaning, c.retry)
			require.Zero(t, f.sent)
		})
	}
}

// Promise 4: the inventory changes between off and on. Whatever it says then,
// the device that was switched off is switched on, and no other.
func TestOnIsForTheDeviceThatWasSwitchedOff(t *testing.T) {
	t.Parallel()
	changes := map[string]func(p *pair){
		"unchanged": func(*pair) {},
		"the devices of the two are exchanged": func(p *pair) {
			mine, other := p.entries["mine"], p.entries["other"]
			mine.Outlets, other.Outlets = other.Outlets, mine.Outlets
			mine.IPMI, other.IPMI = other.IPMI, mine.IPMI
			p.entries["mine"], p.entries["other"] = mine, other
		},
		"it has the other's devices, which has gone": func(p *pair) {
			mine, other := p.entries["mine"], p.entries["other"]
			mine.Outlets, mine.IPMI, mine.Xen = other.Outlets, other.IPMI, &config.Xen{UUID: "another"}
			p.entries["mine"] = mine
			delete(p.entries, "other")
		},
		"it has no devices any more": func(p *pair) {
			mine := p.entries["mine"]
			mine.Outlets, mine.Xen = nil, nil
			p.entries["mine"] = mine
		},
	}
	for rung, do := range map[string]func(*Activities, context.Context, Command) (CommandResult, error){
		"snmp_rebootdelay": (*Activities).SNMPOutlet, "ipmi_reboot": (*Activities).IPMIReboot,
		"ipmi_off": (*Activities).IPMIPower, "xenapi_reboot": (*Activities).XenPower,
	} {
		for what, change := range changes {
			t.Run(rung+", "+what, func(t *testing.T) {
				t.Parallel()
				p := newPair(t)
				name := p.entries["mine"].Name
				plan, err := PlanFor(p.Config, p.entries["mine"], rung)
				require.NoError(t, err)
				off := Command{Machine: name, Action: Off, Target: overTheWire(t, plan.Rungs[0].Target)}
				run := func(ctx context.Context, in Command) (CommandResult, error) { return do(p.Activities, ctx, in) }
				res, err := execute(t, run, off, call{})
				require.NoError(t, err)
				require.Equal(t, "off", res.Power)
				change(p)
				res, err = execute(t, run, off.Undo(false, 0), call{})
				require.NoError(t, err)
				require.Equal(t, "on", res.Power)
				require.True(t, p.lab.Machine("mine").State().Power)
				require.Empty(t, p.switched("other"))
			})
		}
	}
}

// overTheWire is what a history keeps of a target; no secret is in it.
func overTheWire(t *testing.T, target Target) Target {
	t.Helper()
	text, err := json.Marshal(target)
	require.NoError(t, err)
	for _, secret := range []string{lab.BMCPassword, lab.CommunityWrite, lab.XenPassword, "[secret]"} {
		require.NotContains(t, string(text), secret)
	}
	var back Target
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, target, back, "or the off would find that the inventory has changed")
	return back
}

// A machine that has left the inventory is powered on by what is known of its
// device, and where nothing is, the error says what to put back and it is tried
// again.
func TestOnOfAMachineThatHasLeft(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	mine := p.entries["mine"]
	for _, rung := range []string{"snmp_rebootdelay", "ipmi_off", "xenapi_reboot"} {
		delete(p.entries, "mine")
		do := map[string]func(context.Context, Command) (CommandResult, error){"snmp_rebootdelay": p.SNMPOutlet, "ipmi_off": p.IPMIPower, "xenapi_reboot": p.XenPower}[rung]
		on := Command{Machine: mine.Name, Action: On, Target: TargetOf(mine, rung), RungRetry: config.Duration(1e9)}
		res, err := execute(t, do, on, call{})
		if rung != "ipmi_off" { // the community and the pool's account are no machine's own
			require.NoError(t, err, rung)
			require.Equal(t, "on", res.Power)
			continue
		}
		said := requireMeaning(t, err, NotSent, true)
		require.Contains(t, said, mine.IPMI.Addr())
		require.Contains(t, said, "put that of mdc1/mine back")
		other := p.entries["other"]
		other.IPMI = mine.IPMI // as a chassis manager that many machines share
		p.entries["other"] = other
		res, err = execute(t, do, on, call{})
		require.NoError(t, err)
		require.Equal(t, "on", res.Power)
	}
}

// An off is for a device that the inventory still names: another machine may
// hang on it now. Nothing is sent.
func TestOffOfADeviceThatTheInventoryNoLongerNames(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	mine, other := p.entries["mine"], p.entries["other"]
	off := Command{Machine: mine.Name, Action: Off, Target: TargetOf(mine, "snmp_rebootdelay")}
	mine.Outlets, other.Outlets = other.Outlets, mine.Outlets
	p.entries["mine"], p.entries["other"] = mine, other
	_, err := execute(t, p.SNMPOutlet, off, call{})
	require.Contains(t, requireMeaning(t, err, NoRung, false), "no longer says")
	delete(p.entries, "mine")
	_, err = execute(t, p.SNMPOutlet, off, call{})
	requireMeaning(t, err, UnknownMachine, false)
	require.Empty(t, append(p.switched("mine"), p.switched("other")...))

	// One that an attempt before this one may have sent is looked at where it was sent.
	res, err := execute(t, p.SNMPOutlet, off, call{details: Progress{Phase: Sending}})
	require.NoError(t, err)
	require.Equal(t, "on", res.Power)
	require.NotEmpty(t, res.Unknown)
}

// A command to switch without a device is none.
func TestSwitchingNeedsADevice(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, action := range []Action{Off, On} {
		_, err := execute(t, p.IPMIPower, Command{Machine: p.entries["mine"].Name, Action: action}, call{})
		requireMeaning(t, err, Refused, false)
	}
	require.Empty(t, p.switched("mine"))
}

func TestSNMPUserOfATarget(t *testing.T) {
	t.Parallel()
	user := func(name, password string) *config.SNMPUser {
		return &config.SNMPUser{User: name, AuthPassword: config.NewSecret(password)}
	}
	outlet := func(pdu string, u *config.SNMPUser) config.Outlet {
		return config.Outlet{PDU: pdu, Number: 1, Version: config.SNMPv3, V3: u}
	}
	was := config.Machine{Name: config.Name{WorkerID: "a", WorkerGroup: "g"}, Outlets: []config.Outlet{outlet("pdu1", user("u", "x"))}}
	target := overTheWire(t, TargetOf(was, "snmp_reboot"))
	for name, c := range map[string]struct {
		now  []config.Machine
		want string // password; "" is an error
	}{
		"a new account on the same PDU": {[]config.Machine{{Outlets: []config.Outlet{outlet("pdu1", user("new", "y"))}}}, "y"},
		"the same account elsewhere":    {[]config.Machine{{Outlets: []config.Outlet{outlet("pdu2", user("u", "z"))}}}, "z"},
		"neither":                       {[]config.Machine{{Outlets: []config.Outlet{outlet("pdu2", user("other", "z")), outlet("pdu1", nil)}}}, ""},
	} {
		m := config.Machine{Name: was.Name, FQDN: "a"}
		err := target.put(config.NewInventory(c.now...), &m)
		if c.want == "" {
			require.Equal(t, NotSent, MeaningOf(err), name)
			require.ErrorContains(t, err, `"u"`, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.want, m.Outlets[0].V3.AuthPassword.Reveal(), name)
		require.Equal(t, "pdu1", m.Outlets[0].PDU, name)
	}
}

// A BMC that another entry names now has that entry's account; else the
// machine's own is tried.
func TestAccountOfATarget(t *testing.T) {
	t.Parallel()
	bmc := func(host, password string) *config.IPMI {
		return &config.IPMI{Host: host, Port: 623, Password: config.NewSecret(password), Bridge: []string{"-t", "0x72"}}
	}
	name, other := config.Name{WorkerID: "a", WorkerGroup: "g"}, config.Name{WorkerID: "b", WorkerGroup: "g"}
	was := config.Machine{Name: name, IPMI: &config.IPMI{Host: "old", Port: 623, Bridge: []string{"-t", "0x82"}}, ILO: &config.ILO{Host: "ilo", Port: 443}}
	for want, now := range map[string][]config.Machine{
		"own":    {{Name: name, IPMI: bmc("old", "own")}, {Name: other, IPMI: bmc("old", "theirs")}},
		"theirs": {{Name: name, IPMI: bmc("new", "own")}, {Name: other, IPMI: bmc("old", "theirs")}},
		"moved":  {{Name: name, IPMI: bmc("new", "moved")}, {Name: other, IPMI: bmc("else", "theirs")}},
	} {
		m := now[0]
		require.NoError(t, TargetOf(was, "ipmi_off").put(config.NewInventory(now...), &m))
		require.Equal(t, want, m.IPMI.Password.Reveal())
		require.Equal(t, "old", m.IPMI.Host)
		require.Equal(t, []string{"-t", "0x82"}, m.IPMI.Bridge, "the way through the chassis is the target's")
		require.Equal(t, "0x72", now[0].IPMI.Bridge[1], "the inventory itself is not changed")
	}
	m := config.Machine{Name: name, ILO: &config.ILO{Host: "new", Port: 443, User: "u"}}
	require.NoError(t, TargetOf(was, "ilo_reboot").put(config.NewInventory(), &m))
	require.Equal(t, config.ILO{Host: "ilo", Port: 443, User: "u"}, *m.ILO)
	m.ILO = nil
	require.NoError(t, TargetOf(was, "ilo_reboot").put(config.NewInventory(), &m))
	require.Equal(t, "ilo", m.ILO.Host)
}

// story is a run's history, or the error of reading it.
type story struct {
	Runs
	events []*historypb.HistoryEvent
	err    error
}

func (s *story) GetWorkflowHistory(context.Context, string, string, bool, enumspb.HistoryEventFilterType) client.HistoryEventIterator {
	return &story{events: s.events, err: s.err}
}

func (s *story) HasNext() bool { return len(s.events) > 0 || s.err != nil }

func (s *story) Next() (*historypb.HistoryEvent, error) {
	if s.err != nil {
		return nil, s.err
	}
	next := s.events[0]
	s.events = s.events[1:]
	return next, nil
}

func schedules(t *testing.T, input any) *historypb.HistoryEvent {
	t.Helper()
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(input)
	require.NoError(t, err)
	return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskScheduledEventAttributes{
		ActivityTaskScheduledEventAttributes: &historypb.ActivityTaskScheduledEventAttributes{Input: payloads},
	}}
}

// What a closed run powered off is what its last off says; of a run whose
// history is gone the inventory has to say it.
func TestRecallOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{})
	left := LeftOff{Machine: r.name, Rung: "snmp_rebootdelay", RunID: "x"}
	first := Command{Machine: r.name, Action: Off, Target: Target{VM: &TargetVM{UUID: "first"}}}
	last := Command{Machine: r.name, Action: Off, Target: Target{VM: &TargetVM{UUID: "last"}}}
	events := []*historypb.HistoryEvent{
		{},
		schedules(t, ResolveInput{Task: "reboot"}), schedules(t, first), schedules(t, first.Undo(false, 0)),
		schedules(t, Command{Machine: r.name, Action: Reset}), schedules(t, last), schedules(t, Watch{Machine: r.name}), schedules(t, "a text"),
	}
	now := TargetOf(r.entry(t), left.Rung)
	install := LeftOff{Machine: r.name, Rung: "reimage", RunID: "x"}
	netboot := Command{Machine: r.name, Action: Netboot, Target: Target{BMC: &TargetBMC{Host: "then"}}}
	for name, c := range map[string]struct {
		story   *story
		left    LeftOff
		want    Target
		meaning Meaning
		retry   bool
	}{
		"recorded":                     {story: &story{events: events}, left: left, want: last.Target},
		"recorded, of one that left":   {story: &story{events: events}, left: LeftOff{Rung: left.Rung}, want: last.Target},
		"an installation":              {story: &story{events: []*historypb.HistoryEvent{schedules(t, netboot), schedules(t, netboot.Undo(false, 0))}}, left: install, want: netboot.Target},
		"an installation that is gone": {story: &story{err: serviceerror.NewNotFound("x")}, left: install, want: TargetOf(r.entry(t), "ipmi_cycle")},
		"the history is gone":          {story: &story{err: serviceerror.NewNotFound("x")}, left: left, want: now},
		"it holds no off":              {story: &story{events: events[:2]}, left: left, want: now},
		"no run's ID":                  {story: &story{err: serviceerror.NewInvalidArgument("x")}, left: left, want: now},
		"Temporal is silent":           {story: &story{err: serviceerror.NewUnavailable("x")}, left: left, meaning: NotSent, retry: true},
		"gone, and so is the machine":  {story: &story{err: serviceerror.NewNotFound("x")}, left: LeftOff{Machine: config.Name{WorkerID: "q", WorkerGroup: "mdc1"}}, meaning: UnknownMachine},
		"gone, and so is its VM entry": {story: &story{err: serviceerror.NewNotFound("x")}, left: LeftOff{Machine: r.name, Rung: "xenapi_reboot"}, meaning: NoRung},
	} {
		a := &Activities{Config: r.Config, Inventory: r.Inventory, Runs: c.story}
		out, err := execute(t, a.RecallOff, c.left, call{})
		if c.meaning != "" {
			requireMeaning(t, err, c.meaning, c.retry)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.want, out.Off.Target, name)
		require.Equal(t, r.name, out.Off.Machine, name)
		require.NotZero(t, out.Timing.OnAlarm, name)
	}
}
