package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/bench/bare"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
)

// waiting is a fleet of which every machine has taken its command and gone down, and
// the one worker that waits for all of them to come back.
type waiting struct {
	*site
	fleet   *sshFleet
	worker  *stack.Process
	metrics string // the worker's, host:port
	jobs    []starter.Job
	idle    usage // before it had anything to do
}

// waitEnv is what roller has by default, with an end that no machine reaches.
func (b *bench) waitEnv() map[string]string {
	return map[string]string{
		"PROBE_INTERVAL": "1s", "PROBE_TIMEOUT": "2s", "DOWN_TIMEOUT": "4m", "UP_TIMEOUT": "1h", "HEARTBEAT_TIMEOUT": pick(b, "10s", "120s"),
		"CANARIES": "*=" + canaryAddr, "WORKER_STOP_TIMEOUT": "2s", "SSH_TIMEOUT": "30s",
	}
}

// cache is how many jobs the worker keeps in memory.
func (b *bench) cache() int { return pick(b, 5, 1000) }

// canaryAddr answers always.
const canaryAddr = "10.127.0.1"

// settleLimit bounds how long the machines take to be rebooted and seen down.
const settleLimit = 20 * time.Minute

// wait starts so many ladders, and returns when the worker waits for all machines.
func (b *bench) wait(ctx context.Context, name string, machines int) (w *waiting, err error) {
	w = &waiting{}
	if w.fleet, err = startFleet(ctx); err != nil {
		return w, err
	}
	env, err := w.fleet.files(filepath.Join(b.dir, name+"-fleet"), machines)
	if err != nil {
		return w, err
	}
	port, err := stack.Port(0)
	if err != nil {
		return w, err
	}
	w.metrics = "127.0.0.1:" + strconv.Itoa(port)
	maps.Copy(env, b.waitEnv())
	env["METRICS_ADDR"], env["WORKFLOW_CACHE"] = w.metrics, strconv.Itoa(b.cache())
	if w.site, err = b.site(ctx, name, fleet{env: env}); err != nil {
		return w, err
	}
	if w.worker, err = w.StartWorker(); err != nil {
		return w, err
	}
	if err := w.worker.Ready(ctx, func(ctx context.Context) error { _, err := metric(ctx, w.metrics, "up"); return err }); err != nil {
		return w, err
	}
	if err := sleep(ctx, 3*time.Second); err != nil {
		return w, err
	}
	if w.idle, err = used(w.worker.PID()); err != nil {
		return w, err
	}
	return w, w.begin(ctx, b, machines)
}

// begin starts the ladders, as many at once as an operator's script would.
func (w *waiting) begin(ctx context.Context, b *bench, machines int) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	began := time.Now()
	w.jobs = make([]starter.Job, machines)
	_, err := bare.Run(ctx, machines, 16, func(ctx context.Context, i int) (err error) {
		w.jobs[i], err = w.door.Start(ctx, starter.Request{Task: "reboot", WorkerID: machineID("m", i), WorkerGroup: "mdc1"})
		return err
	})
	if err != nil {
		return err
	}
	b.say("  %d ladders started after %s", machines, time.Since(began).Round(time.Second))
	for {
		n, err := w.awaited(ctx)
		if err == nil && n == machines && w.fleet.fallen() == machines {
			b.say("  all wait after %s", time.Since(began).Round(time.Second))
			return nil
		}
		if ended, merr := metric(ctx, w.metrics, "roller_jobs_total"); merr == nil && ended > 0 {
			return fmt.Errorf("%v jobs have ended that were to wait\n%s", ended, w.worker.Tail())
		}
		if sleep(ctx, 2*time.Second) != nil {
			return fmt.Errorf("%d of %d machines are waited for, %d are down (%w)\n%s", n, machines, w.fleet.fallen(), err, w.worker.Tail())
		}
	}
}

// awaited is for how many machines the worker waits.
func (w *waiting) awaited(ctx context.Context) (int, error) {
	n, err := metric(ctx, w.metrics, "roller_activities", `activity_type="AwaitUp"`)
	return int(n), err
}

func (w *waiting) close(ctx context.Context) (err error) {
	if w.site != nil {
		err = w.site.close(ctx)
	}
	if w.fleet == nil {
		return err
	}
	if ferr := w.fleet.close(); err == nil {
		err = ferr
	}
	return err
}

// What a worker may need.
const (
	mebibyte   = 1 << 20
	mostMemory = 1024 // MiB, for 10,000
	mostFor3k  = 350
	mostCPU    = 60 // seconds a minute
)

// inFlight measures what a worker needs that waits for so many machines at once.
func inFlight(ctx context.Context, b *bench) (row Row, err error) {
	row.Setup = "one worker process, its machines silent after `ssh_reboot`, probed by ICMP each second and with a timeout of 2 s; " +
		"`WORKFLOW_CACHE=" + strconv.Itoa(b.cache()) + "`, `HEARTBEAT_TIMEOUT=120s`; each over a minute"
	for waiting := range strings.SplitSeq(pick(b, "10,10", b.waiting), ",") {
		machines, err := strconv.Atoi(waiting)
		if err != nil {
			return row, fmt.Errorf("--waiting: %w", err)
		}
		measures, err := b.inFlight(ctx, machines)
		if err != nil {
			return row, fmt.Errorf("%d in flight: %w", machines, err)
		}
		row.Measures = append(row.Measures, measures...)
	}
	return row, nil
}

func (b *bench) inFlight(ctx context.Context, machines int) (measures []Measure, err error) {
	w, err := b.wait(ctx, "inflight-"+strconv.Itoa(machines), machines)
	defer func() {
		if cerr := w.close(ctx); err == nil {
			err = cerr
		}
	}()
	if err != nil {
		return nil, err
	}
	over := pick(b, 10*time.Second, time.Minute)
	before, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, over); err != nil {
		return nil, err
	}
	after, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	if n, err := w.awaited(ctx); err != nil || n != machines {
		return nil, fmt.Errorf("only %d were waited for at the end (%w)", n, err)
	}
	if kept, err := metric(ctx, w.metrics, "temporal_sticky_cache_size", `workflow_type="reboot"`); err != nil || kept > float64(b.cache()) {
		return nil, fmt.Errorf("%v jobs are in memory, and WORKFLOW_CACHE is %d (%w)", kept, b.cache(), err)
	}
	minutes := after.at.Sub(before.at).Minutes()
	limits := map[int]*Limit{3000: atMost(mostFor3k), 10_000: atMost(mostMemory)}
	var cpu *Limit
	if machines == 10_000 {
		cpu = atMost(mostCPU)
	}
	is := func(what string) string { return fmt.Sprintf("%d: %s", machines, what) }
	return []Measure{
		value(is("memory"), "MiB", after.memory/mebibyte, limits[machines]),
		value(is("memory for each ladder"), "KiB", max(0, after.memory-w.idle.memory)/1024/float64(machines), nil),
		value(is("CPU"), "s a minute", (after.cpu-before.cpu).Seconds()/minutes, cpu),
		value(is("pings"), "1/s", (after.pings-before.pings)/minutes/60, nil),
		value(is("heartbeats"), "1/s", (after.heartbeats-before.heartbeats)/minutes/60, nil),
		value(is("file descriptors"), "open", after.files, nil),
	}, nil
}

// sight is a worker at one moment.
type sight struct {
	usage
	at                time.Time
	pings, heartbeats float64
}

func (w *waiting) look(ctx context.Context) (s sight, err error) {
	if s.usage, err = used(w.worker.PID()); err != nil {
		return s, err
	}
	if s.pings, err = pingsSent(); err != nil {
		return s, err
	}
	s.at = time.Now()
	s.heartbeats, err = metric(ctx, w.metrics, "temporal_request_total", `operation="RecordActivityTaskHeartbeat"`)
	return s, err
}

// sleep waits for a while that is part of a measurement.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
