package main

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"

	"github.com/mozilla-platform-ops/roller/bench/bare"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// ladders runs reboots to their ends on machines that reboot at once, which their
// boot IDs tell, and bare workflows with as many activities that do nothing.
func ladders(ctx context.Context, b *bench) (row Row, err error) {
	n, atOnce := pick(b, 20, 300), pick(b, 10, 100)
	var machines []lab.Spec
	for i := range atOnce {
		machines = append(machines, lab.Spec{WorkerID: fmt.Sprintf("quick-%03d", i), WorkerGroup: "mdc1", SSHBootID: true, Faults: lab.Faults{TooFast: true}})
	}
	s, err := b.site(ctx, "ladders", fleet{machines: machines, env: map[string]string{"REBOOT_METHODS": "ssh_reboot,file_bugzilla_bug"}})
	defer func() { err = closed(ctx, s, err) }()
	if err != nil {
		return row, err
	}
	if _, err := s.StartWorker(); err != nil {
		return row, err
	}
	worker, err := bare.Worker(s.client)
	if err != nil {
		return row, err
	}
	defer worker.Stop()
	activities, err := s.activities(ctx, s.lab.Machines()[0])
	if err != nil {
		return row, err
	}
	row.Setup = fmt.Sprintf("%d ladders a round, %d at once, each `ssh_reboot` and nothing more; %d activities each", n, atOnce, activities)
	rounds, err := b.alternate(ctx, b.rounds,
		func(ctx context.Context) (Sample, error) {
			return rate("ladders")(bare.Ladders(ctx, s.client, n, atOnce, activities))
		},
		func(ctx context.Context) (Sample, error) { return rate("ladders")(s.ladders(ctx, n, atOnce)) })
	if err != nil {
		return row, err
	}
	row.Measures = []Measure{compare(rounds, "ladders", "1/s", atLeast(0.75))}
	return row, nil
}

func rate(name string) func(bare.Load, error) (Sample, error) {
	return func(l bare.Load, err error) (Sample, error) {
		if err != nil {
			return nil, err
		}
		return Sample{name: l.PerSecond()}, nil
	}
}

// ladders reboots one of the machines after the other, each of which has one job at
// a time.
func (s *site) ladders(ctx context.Context, n, atOnce int) (bare.Load, error) {
	free := make(chan *lab.Machine, atOnce)
	for _, m := range s.lab.Machines() {
		free <- m
	}
	return bare.Run(ctx, n, atOnce, func(ctx context.Context, _ int) error {
		m := <-free
		defer func() { free <- m }()
		_, err := s.climb(ctx, m)
		return err
	})
}

// climb reboots one machine, which must come back.
func (s *site) climb(ctx context.Context, m *lab.Machine) (starter.Job, error) {
	job, err := s.reboot(ctx, m)
	if err != nil {
		return job, err
	}
	var r workflows.Result
	if err := s.client.GetWorkflow(ctx, job.WorkflowID, job.TaskID).Get(ctx, &r); err != nil {
		return job, err
	}
	if r.Outcome != workflows.Back || len(r.Attempts) != 1 {
		return job, fmt.Errorf("the job on %s did not end after one rung: %+v", m.FQDN(), r)
	}
	return job, nil
}

// activities is how many a ladder of one rung has.
func (s *site) activities(ctx context.Context, m *lab.Machine) (int, error) {
	job, err := s.climb(ctx, m)
	if err != nil {
		return 0, err
	}
	n := 0
	events := s.client.GetWorkflowHistory(ctx, job.WorkflowID, job.TaskID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return 0, err
		}
		if event.GetEventType() == enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED {
			n++
		}
	}
	return n, nil
}
