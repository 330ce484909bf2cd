package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// course is one way a ladder goes.
type course struct {
	is      string
	machine lab.Spec
	outcome workflows.Outcome
	most    float64 // history events
}

// What a job may cost: a success at the first rung, each further rung (the bug is
// one), and off, wait and on in the place of one command.
const (
	firstRung   = 30
	furtherRung = 14
	offOn       = 11
	withNotices = 42
)

var courses = []course{
	{"ssh", lab.Spec{WorkerID: "ssh"}, workflows.Back, firstRung},
	{"ssh, then IPMI", lab.Spec{WorkerID: "ipmi", Faults: lab.Faults{IgnoreSSH: true}}, workflows.Back, firstRung + furtherRung},
	{
		"all rungs (the last is off, wait, on), then the bug",
		lab.Spec{WorkerID: "bug", Faults: lab.Faults{NeverReturns: true}},
		workflows.BugFiled, firstRung + 3*furtherRung + offOn,
	},
}

// events counts what a job is in Temporal: its history's events, which are what is
// stored, and its state transitions, which are what the server works.
func events(ctx context.Context, b *bench) (Row, error) {
	row := Row{Setup: "one job each, ladder `ssh_reboot,ipmi_reset,snmp_rebootdelay,file_bugzilla_bug`; events do not depend on the machine"}
	measures, err := b.eventsOf(ctx, "events", pick(b, courses[:1], courses), nil)
	if err != nil {
		return row, err
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer receiver.Close()
	noticed, err := b.eventsOf(ctx, "events-noticed",
		[]course{{"ssh, with notices of start and end", lab.Spec{WorkerID: "told"}, workflows.Back, withNotices}},
		map[string]string{"NOTIFY_WEBHOOK_URL": receiver.URL, "NOTIFY_WEBHOOK_KEY": "the-benchmark's-webhook-key-is-no-secret"})
	row.Measures = append(measures, noticed...)
	return row, err
}

// eventsOf runs each course once, all side by side.
func (b *bench) eventsOf(ctx context.Context, name string, all []course, env map[string]string) (measures []Measure, err error) {
	env = maps.Clone(env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, map[string]string{
		"REBOOT_METHODS": "ssh_reboot,ipmi_reset,snmp_rebootdelay,file_bugzilla_bug", "DOWN_TIMEOUT": "3s", "UP_TIMEOUT": "5s",
	})
	var machines []lab.Spec
	for _, c := range all {
		c.machine.WorkerGroup = "mdc1"
		machines = append(machines, c.machine)
	}
	s, err := b.site(ctx, name, fleet{machines: machines, env: env})
	defer func() { err = closed(ctx, s, err) }()
	if err != nil {
		return nil, err
	}
	if _, err := s.StartWorker(); err != nil {
		return nil, err
	}
	for i, c := range all {
		b.say("  %s", c.is)
		job, err := s.reboot(ctx, s.lab.Machines()[i])
		if err != nil {
			return nil, err
		}
		if err := s.door.Await(ctx, job); err != nil {
			return nil, err
		}
		v, err := s.door.Show(ctx, job.WorkflowID, job.TaskID)
		if err != nil {
			return nil, err
		}
		if v.Outcome != string(c.outcome) {
			return nil, fmt.Errorf("%s: the job ended %q, not %q: %+v", c.is, v.Outcome, c.outcome, v.Result)
		}
		run, err := s.client.DescribeWorkflowExecution(ctx, job.WorkflowID, job.TaskID)
		if err != nil {
			return nil, err
		}
		info := run.GetWorkflowExecutionInfo()
		measures = append(measures, value(c.is, "events", float64(info.GetHistoryLength()), atMost(c.most)),
			value(c.is, "state transitions", float64(info.GetStateTransitionCount()), nil))
	}
	return measures, nil
}

// closed ends a row's site, and returns the first error.
func closed(ctx context.Context, s *site, err error) error {
	if cerr := s.close(ctx); err == nil {
		return cerr
	}
	return err
}
