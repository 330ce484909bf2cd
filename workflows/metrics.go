package workflows

import "go.temporal.io/sdk/workflow"

// Metrics that a worker counts, by the SDK's handler, which counts nothing twice
// when a history is replayed. Prometheus adds "_total" to their names.
const (
	MetricJobs  = "roller_jobs"  // jobs that ended, by task, outcome and the last rung
	MetricRungs = "roller_rungs" // rungs of jobs that ended, by rung and outcome
	// MetricRecovery is the time from a job's start until its machine was back, by
	// the rung that brought it; Prometheus adds "_seconds".
	MetricRecovery = "roller_recovery"
	MetricNotices  = "roller_notices_undelivered" // notices that were given up, by kind and event
)

// Metrics are the names under which Prometheus has them.
var Metrics = []string{MetricJobs + "_total", MetricRungs + "_total", MetricRecovery + "_seconds", MetricNotices + "_total"}

// count counts a job that ends, and its rungs.
func (r *run) count(ctx workflow.Context) {
	handler, last := workflow.GetMetricsHandler(ctx), ""
	for _, at := range r.result.Attempts {
		handler.WithTags(map[string]string{"rung": at.Rung, "outcome": string(at.Outcome)}).Counter(MetricRungs).Inc(1)
		if at.Outcome != Skipped {
			last = at.Rung
		}
	}
	if r.result.Outcome == Back {
		handler.WithTags(map[string]string{"rung": last}).Timer(MetricRecovery).Record(r.result.EndedAt.Sub(r.result.StartedAt))
	}
	handler.WithTags(map[string]string{"task": r.result.Task, "outcome": string(r.result.Outcome), "rung": last}).Counter(MetricJobs).Inc(1)
}
