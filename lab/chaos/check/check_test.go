package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

var zero = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

// s is a moment of the story below, in seconds.
func s(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }

const (
	fqdn = "ms1-10.test.releng.mdc1.mozilla.com"
	name = "mdc1/ms1-10"
)

func command(seq int, at float64, device, what string) lab.Entry {
	return lab.Entry{Seq: seq, At: s(at), End: s(at + 0.1), Device: device, Machine: fqdn, Command: what, Control: true, Executed: true}
}

func edge(at float64, event, boot string) lab.Edge {
	return lab.Edge{At: s(at), Machine: fqdn, Event: event, BootID: boot}
}

// kept is a run on which every promise was kept: a reboot whose ssh is ignored
// and which is back after a power cycle by the PDU, at 10 s to 40 s; a worker was
// killed while the outlet was switched off.
func kept() *Facts {
	return &Facts{
		Began: s(0), Ended: s(100), Wanted: map[string]int{Worker: 1},
		Machines: []Machine{{
			Name:  config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"},
			Spec:  lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1", SSHBootID: true},
			Final: lab.State{Power: true, Up: true, SSH: true},
		}},
		Log: []lab.Entry{
			command(1, 11, lab.DeviceSSH, "reboot"),
			command(2, 21, lab.DevicePDU, "set AA1 off"),
			command(3, 24, lab.DevicePDU, "set AA1 on"),
		},
		Edges: []lab.Edge{
			edge(0, lab.EdgePowerOn, ""), edge(0, lab.EdgeUp, "a"), edge(0, lab.EdgeSSH, "a"),
			edge(21.2, lab.EdgeDown, ""), edge(21.2, lab.EdgePowerOff, ""),
			edge(24.2, lab.EdgePowerOn, ""), edge(26, lab.EdgeUp, "b"), edge(26.2, lab.EdgeSSH, "b"),
		},
		Runs: []Run{
			{
				WorkflowID: "machine/" + name, RunID: "run-1", Type: "reboot", Status: "Completed", Start: s(10), Close: s(40),
				Result: &workflows.Result{
					Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1", Outcome: workflows.Back,
					Attempts: []workflows.Attempt{
						{Rung: "ssh_reboot", StartedAt: s(10.5), SentAt: s(11), EndedAt: s(20), Sent: "reboot", Outcome: workflows.NoEffect},
						{Rung: "snmp_rebootdelay", StartedAt: s(20), SentAt: s(21), EndedAt: s(40), Sent: "off", Outcome: workflows.Back},
					},
				},
				Acts: []Act{
					{Type: "ResolveJob", Scheduled: s(10)},
					{Type: "SSHReboot", Machine: name, Scheduled: s(10.6), Closed: s(20)},
					{Type: "SNMPOutlet", Machine: name, Action: "off", Scheduled: s(20.1), Closed: s(22)},
				},
			},
			{
				WorkflowID: "read/ping/" + name + "/x", RunID: "run-2", Type: "ping", Status: "Completed", Start: s(50), Close: s(51),
				Result: &workflows.Result{Task: "ping", WorkerID: "ms1-10", WorkerGroup: "mdc1", Outcome: workflows.Done},
			},
		},
		Posts: []Post{
			{At: s(9.9), Answered: s(10.1), API: "api1", Task: "reboot", Machine: name, Status: 201, TaskID: "run-1"},
			{At: s(12), Answered: s(12.1), API: "api2", Task: "ipmi_off", Machine: name, Status: 409},
			{At: s(49.9), Answered: s(50), API: "api2", Task: "ping", Machine: name, Status: 201, TaskID: "run-2"},
		},
		Strikes: []Strike{{Kind: Worker, Process: "worker1", From: s(21.01), Until: s(21.05), Command: 2}},
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	require.Empty(t, All(kept()))
}

// planted is one broken promise, planted in a run on which all were kept: its
// checker, and no other than those named, must find it.
type planted struct {
	plant func(f *Facts)
	check string
	text  string
}

func TestPlanted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]planted{
		"a run is open":         {func(f *Facts) { f.Runs[1].Status, f.Runs[1].Close = "Running", time.Time{} }, "ended", "is open still"},
		"a run was terminated":  {func(f *Facts) { f.Runs[1].Status = "Terminated" }, "ended", "was terminated"},
		"a run timed out":       {func(f *Facts) { f.Runs[0].Status = "TimedOut" }, "ended", "was timedout"},
		"a job has no record":   {func(f *Facts) { f.Runs[0].Result = nil }, "outcomes", "closed without a record"},
		"a job says running":    {outcome(workflows.Running, ""), "outcomes", "it has closed"},
		"nobody cancelled":      {outcome(workflows.Cancelled, ""), "outcomes", "nobody had asked for a cancel"},
		"back, but it is down":  {func(f *Facts) { f.Edges = f.Edges[:6] }, "outcomes", "did not come up while the job ran"},
		"back, never went down": {func(f *Facts) { f.Edges = f.Edges[:3] }, "outcomes", "did not come up while the job ran"},
		"back, no ssh banner":   {func(f *Facts) { f.Edges = without(f.Edges, lab.EdgeSSH) }, "outcomes", "did not answer after it had come up"},
		"off, but it is on":     {outcome(workflows.StillOff, ""), "outcomes", "it had power"},
		"no such bug":           {bug(7), "outcomes", "there is no such bug"},
		"another machine's bug": {func(f *Facts) {
			bug(7)(f)
			f.Bugs = []lab.BugzillaBug{{ID: 7, Summary: "ms1-11 is gone", Comments: []string{"task run-1"}}}
		}, "outcomes", "about another machine"},
		"a bug that tells of another job": {func(f *Facts) {
			bug(7)(f)
			f.Bugs = []lab.BugzillaBug{{ID: 7, Summary: "ms1-10 is gone", Comments: []string{"task run-9"}}}
		}, "outcomes", "does not tell of it"},
		"a pending bug without a run": {func(f *Facts) {
			outcome(workflows.BugPending, "")(f)
			f.Runs[0].Result.Bug = &workflows.Bug{WorkflowID: "bug/" + name, RunID: "run-9"}
		}, "outcomes", "there is no run bug/"},
		"a bug's run that failed": {func(f *Facts) {
			f.Runs = append(f.Runs, Run{WorkflowID: "bug/" + name, RunID: "run-3", Type: workflows.BugType, Status: "Failed", Start: s(60), Close: s(61)})
		}, "outcomes", "did not file its bug"},
		"a conflict with nobody":       {outcome(workflows.Failed, "machine/x is running already: one job per machine"), "outcomes", "no other job was running"},
		"failed for no reason":         {outcome(workflows.Failed, "the worker was lost"), "outcomes", "no reason to fail"},
		"nothing to try, but it tried": {outcome(workflows.Failed, "nothing to try"), "outcomes", "it tried something"},
		"pinged while it was down":     {func(f *Facts) { f.Edges = append(f.Edges, edge(45, lab.EdgeHung, "b")) }, "outcomes", "never so"},
		"not pinged while it was up":   {func(f *Facts) { f.Runs[1].Result.Outcome = workflows.Failed }, "outcomes", "answered all the time"},
		"powered off, but it was on": {func(f *Facts) {
			f.Runs[1].Type, f.Runs[1].WorkflowID, f.Posts[2].Task = "ipmi_off", "machine/"+name, "ipmi_off"
		}, "outcomes", "never so"},
		"powered on, but it was off": {func(f *Facts) {
			f.Runs[1].Type, f.Runs[1].WorkflowID, f.Posts[2].Task = "ipmi_on", "machine/"+name, "ipmi_on"
			f.Edges = append(f.Edges, edge(41, lab.EdgePowerOff, ""))
			f.Runs[1].Off = "ipmi_on"
			f.Machines[0].Final.Power = true
		}, "outcomes", "never so"},
		"status says off": {func(f *Facts) {
			f.Runs[1].Type, f.Posts[2].Task, f.Runs[1].Result.Text = "ipmi_status", "ipmi_status", "Chassis Power is off"
		}, "outcomes", "never so"},
		"not back, but it was there": {attempt(func(at *workflows.Attempt) { at.Outcome = workflows.NotBack }), "outcomes", "answered all the time"},
		"no effect, but it restarted": {func(f *Facts) {
			f.Edges = append(f.Edges[:3:3], append([]lab.Edge{edge(12, lab.EdgeRestart, "z")}, f.Edges[3:]...)...)
		}, "outcomes", "the machine booted at"},

		"left off at the job's end": {func(f *Facts) {
			f.Edges = append(f.Edges[:5], edge(60, lab.EdgePowerOn, ""), edge(61, lab.EdgeUp, "b"), edge(61, lab.EdgeSSH, "b"))
			f.Runs[0].Result.Outcome, f.Runs[0].Cancelled = workflows.Cancelled, true
		}, "left_off", "left it off and does not say so"},
		"left off at the very end": {func(f *Facts) { f.Machines[0].Final.Power = false }, "left_off", "off at the end"},

		"sent twice": {func(f *Facts) { f.Log = append(f.Log, command(4, 22, lab.DevicePDU, "set AA1 off")) }, "once", "was sent 2 times for snmp_rebootdelay"},
		"ssh sent twice, ignored twice": {func(f *Facts) {
			again := command(4, 12, lab.DeviceSSH, "reboot")
			again.Executed = false
			f.Log = append(f.Log, again)
		}, "once", "was sent 2 times for ssh_reboot"},
		"sent by nobody":           {func(f *Facts) { f.Log = append(f.Log, command(4, 45, lab.DeviceBMC, "chassis power reset")) }, "once", "belongs to no job"},
		"sent between two rungs":   {func(f *Facts) { f.Log = append(f.Log, command(4, 10.2, lab.DeviceSSH, "reboot")) }, "once", "belongs to no rung"},
		"sent by another rung":     {func(f *Facts) { f.Log = append(f.Log, command(4, 30, lab.DeviceSSH, "reboot")) }, "once", "is no command of snmp_rebootdelay"},
		"not sent, but it was":     {attempt(func(at *workflows.Attempt) { at.Outcome = workflows.NotSent }), "once", "was carried out"},
		"refused, but it acted":    {attempt(func(at *workflows.Attempt) { at.Outcome = workflows.Refused }), "once", "was carried out"},
		"off by a job for on only": {func(f *Facts) { f.Runs[0].Type = workflows.PowerOnType }, "once", "may only power on"},

		"two jobs at one time": {func(f *Facts) {
			f.Runs = append(f.Runs, Run{
				WorkflowID: "chosen by nobody", RunID: "run-3", Type: "reboot", Status: "Completed", Start: s(30), Close: s(50), Parent: "p",
				Result: &workflows.Result{Outcome: workflows.Cancelled, WorkerID: "ms1-10", WorkerGroup: "mdc1"}, Cancelled: true,
				Acts: []Act{{Type: "IPMIPower", Machine: name, Scheduled: s(31)}},
			})
		}, "one_job", "began before run run-1"},

		"two commands meet": {func(f *Facts) {
			turns(f)
			f.Log = append(f.Log, beside(4, 21.05))
			f.Log[2], f.Log[3] = f.Log[3], f.Log[2]
			f.Log[2].Seq, f.Log[3].Seq = 3, 4
		}, "turns", "(seq 3, for another) -50ms after the end of"},
		"two commands for one machine meet": {func(f *Facts) {
			turns(f)
			f.Log = append(f.Log, command(4, 24.05, lab.DevicePDU, "set AA1 on"))
		}, "turns", "-50ms after the end of"},
		"two commands meet at a BMC": {func(f *Facts) {
			f.Rest = map[string]time.Duration{lab.DeviceBMC: 0}
			f.Log = append(f.Log, command(4, 24, lab.DeviceBMC, "chassis power on"), command(5, 24.05, lab.DeviceBMC, "chassis power reset"))
		}, "turns", "-50ms after the end of"},
		"no rest between two commands": {func(f *Facts) { turns(f); f.Log = append(f.Log, beside(4, 24.5)) }, "turns", "400ms after the end of"},

		"accepted and lost":         {func(f *Facts) { f.Posts[1].Status, f.Posts[1].TaskID = 201, "run-9" }, "posts", "which is not there"},
		"accepted as another task":  {func(f *Facts) { f.Posts[1].Status, f.Posts[1].TaskID = 201, "run-1" }, "posts", "which is a reboot"},
		"accepted for another one":  {func(f *Facts) { f.Posts[0].Machine = "mdc1/ms1-11" }, "posts", "which is mdc1/ms1-10's"},
		"joined what had ended":     {func(f *Facts) { f.Posts[0].At = s(41) }, "posts", "which had ended"},
		"accepted and never ended":  {func(f *Facts) { f.Runs[1].Close = time.Time{} }, "posts", "which has not ended"},
		"an answer that is no way":  {func(f *Facts) { f.Posts[1].Status = 500 }, "posts", "with 500"},
		"a job nobody asked for":    {func(f *Facts) { f.Posts = f.Posts[1:] }, "posts", "nobody asked for run run-1"},
		"a repeat that began twice": {func(f *Facts) { repeat(f, "run-2") }, "posts", "was run run-1 before"},

		"too few kills":    {func(f *Facts) { f.Wanted[API] = 1 }, "strikes", "0 kills of kind api, not 1"},
		"no kill mid":      {func(f *Facts) { f.Strikes[0].From, f.Strikes[0].Until = s(15), s(15.1) }, "strikes", "0 of 1 kills"},
		"killed too late":  {func(f *Facts) { f.Strikes[0].Until = s(22) }, "strikes", "0 of 1 kills"},
		"killed too early": {func(f *Facts) { f.Strikes[0].From = s(20.9) }, "strikes", "0 of 1 kills"},

		"a secret": {func(f *Facts) {
			f.Found = InText("a log", []byte("user x, password hush"), map[string]string{"the password": "hush"})
		}, "texts", "the password is in a log"},
		"a crash": {func(f *Facts) { f.Found = InText("a log", []byte("x\npanic: nil map\n"), nil) }, "texts", "panic: nil map"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := kept()
			test.plant(f)
			var of Check
			for _, c := range Checks() {
				if c.Name == test.check {
					of = c
				}
			}
			found := of.Of(f)
			require.NotEmpty(t, found)
			require.Contains(t, found[0].Text, test.text)
			require.NotPanics(t, func() { f.Story(found[0]) })
		})
	}
}

// allowedCases look like broken promises and are none.
func TestAllowed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *Facts){
		"a restore goes on": func(f *Facts) {
			f.Runs = append(f.Runs, Run{WorkflowID: "restore/x", RunID: "run-3", Type: workflows.RestoreType, Status: "Running", Start: s(60)})
		},
		"found back after a hang": func(f *Facts) {
			f.Edges = append(f.Edges[:3], edge(12, lab.EdgeHung, "a"), edge(15, lab.EdgeUp, "a"))
			f.Log = f.Log[:1]
			f.Strikes[0].Command, f.Strikes[0].From, f.Strikes[0].Until = 1, s(11.01), s(11.05)
		},
		"on twice": func(f *Facts) { f.Log = append(f.Log, command(4, 25, lab.DevicePDU, "set AA1 on")) },
		"refused by a BMC, then sent": func(f *Facts) {
			no := command(4, 12, lab.DeviceBMC, "chassis power reset")
			no.Executed = false
			f.Log = append(f.Log, no)
		},
		"off because it was asked to be": func(f *Facts) {
			f.Runs[0].Type, f.Posts[0].Task = "ipmi_off", "ipmi_off"
			f.Runs[0].Result = &workflows.Result{
				Task: "ipmi_off", WorkerID: "ms1-10", WorkerGroup: "mdc1", Outcome: workflows.Done,
				Attempts: []workflows.Attempt{{Rung: "ipmi_off", StartedAt: s(10.5), SentAt: s(21), EndedAt: s(22), Outcome: workflows.Done}},
			}
			f.Log = []lab.Entry{command(2, 21, lab.DeviceBMC, "chassis power off")}
			f.Edges = f.Edges[:5]
			f.Runs, f.Posts = f.Runs[:1], f.Posts[:2]
			f.Machines[0].Final = lab.State{}
		},
		"off, and the job says so": func(f *Facts) {
			f.Edges, f.Log = f.Edges[:5], f.Log[:2]
			f.Runs[0].Result.Outcome, f.Runs[0].Off, f.Runs[0].Result.Off = workflows.StillOff, "snmp_rebootdelay", true
			f.Runs, f.Posts = f.Runs[:1], f.Posts[:2]
			f.Machines[0].Final = lab.State{}
		},
		"an answer that was lost": func(f *Facts) { f.Posts[0].Status, f.Posts[0].TaskID = 0, "" },
		"a start by hand": func(f *Facts) {
			f.Posts = f.Posts[1:]
			f.Starts = []Start{{At: s(9.9), Task: "reboot", Machine: name, RunID: "run-1"}}
		},
		"the same repeat": func(f *Facts) { repeat(f, "run-1") },
		"two turns":       func(f *Facts) { turns(f); f.Log = append(f.Log, beside(4, 25.2)) },
		"one turn of two": func(f *Facts) { turns(f); f.Log = append(f.Log, command(4, 24.2, lab.DevicePDU, "set AA1 on")) },
		"a frozen worker": func(f *Facts) {
			f.Strikes = append(f.Strikes, Strike{Kind: Worker, Freeze: true, From: s(30), Until: s(60)})
		},
		"a start by hand whose child was cancelled": func(f *Facts) {
			parent := conflict()
			parent.Status, parent.Start, parent.Close = "Canceled", s(9.8), s(22)
			parent.Result = &workflows.Result{Task: "reboot", WorkerID: "ms1-10", WorkerGroup: "mdc1", Outcome: workflows.Cancelled}
			f.Runs[0].Parent = parent.RunID
			f.Runs[0].Close, f.Runs[0].Cancelled = s(22), true
			cutAt(f, 22)
			f.Runs, f.Starts = append(f.Runs, parent), []Start{{RunID: parent.RunID}}
		},
		"a conflict":       func(f *Facts) { f.Runs = append(f.Runs, conflict()); f.Starts = []Start{{RunID: "run-3"}} },
		"a PDU's own time": func(f *Facts) { f.Runs[0].Close, f.Runs[0].Cancelled = s(22), true; cutAt(f, 22) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := kept()
			change(f)
			require.Empty(t, All(f))
		})
	}
}

func outcome(o workflows.Outcome, why string) func(*Facts) {
	return func(f *Facts) { f.Runs[0].Result.Outcome, f.Runs[0].Result.Why = o, why }
}

func attempt(change func(*workflows.Attempt)) func(*Facts) {
	return func(f *Facts) { change(&f.Runs[0].Result.Attempts[0]) }
}

func bug(id int) func(*Facts) {
	return func(f *Facts) {
		outcome(workflows.BugFiled, "")(f)
		f.Runs[0].Result.Bug = &workflows.Bug{ID: id, URL: "http://bugs/7"}
	}
}

func turns(f *Facts) { f.Rest = map[string]time.Duration{lab.DevicePDU: time.Second} }

// beside is a command for another machine at the same PDU.
func beside(seq int, at float64) lab.Entry {
	e := command(seq, at, lab.DevicePDU, "set AA2 off")
	e.Machine = "another"
	return e
}

func without(edges []lab.Edge, event string) []lab.Edge {
	var out []lab.Edge
	for _, e := range edges {
		if e.Event != event || e.BootID == "a" {
			out = append(out, e)
		}
	}
	return out
}

func repeat(f *Facts, id string) {
	f.Posts[0].Header = 1
	again := f.Posts[0]
	again.TaskID = id
	if id == "run-2" {
		again.Task, again.At = "ping", s(50)
	}
	f.Posts = append(f.Posts, again)
}

func conflict() Run {
	return Run{
		WorkflowID: "random", RunID: "run-3", Type: "reboot", Status: "Failed", Start: s(20), Close: s(21),
		Result: &workflows.Result{WorkerID: "ms1-10", WorkerGroup: "mdc1", Outcome: workflows.Failed, Why: "machine/x is running already: one job per machine"},
	}
}

// cutAt ends the job by a cancel while a PDU's reboot of the outlet goes on.
func cutAt(f *Facts, at float64) {
	f.Log = []lab.Entry{command(2, 21, lab.DevicePDU, "set AA1 reboot")}
	f.Runs[0].Result.Outcome = workflows.Cancelled
	f.Runs[0].Result.Attempts = []workflows.Attempt{{Rung: "snmp_reboot", StartedAt: s(20), SentAt: s(21), EndedAt: s(at), Outcome: workflows.Cancelled}}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	line := timelines([]lab.Edge{
		edge(0, lab.EdgePowerOn, ""), edge(1, lab.EdgeUp, "a"), edge(2, lab.EdgeSSH, "a"), edge(3, lab.EdgeHung, "a"), edge(4, lab.EdgeUp, "a"),
		edge(5, lab.EdgeDown, ""), edge(6, lab.EdgeHung, "b"), edge(7, lab.EdgeUp, "b"),
	})[fqdn]
	require.True(t, line.at(s(2.5)).banner)
	require.False(t, line.at(s(3.5)).up)
	require.True(t, line.at(s(4.5)).banner, "a thawed system shows the banner that it had")
	require.True(t, line.at(s(4.5)).thawed)
	require.True(t, line.at(s(6.5)).booted)
	require.False(t, line.at(s(7.5)).banner, "this boot had shown none")
	up := func(c condition) bool { return c.up }
	require.True(t, line.ever(s(4.9), s(5.5), up))
	require.False(t, line.ever(s(5), s(6.9), up))
	require.False(t, line.ever(s(-2), s(-1), up))
	require.Len(t, line.began(s(1), s(2)), 2)
}
