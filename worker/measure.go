package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/mozilla-platform-ops/roller/activities"
)

// Metrics of the activities of one worker, by the SDK's handler, whose labels say
// which activity and whose; Prometheus adds "_total" to the name of what is counted.
const (
	metricActivities = "roller_activities"      // under way now
	metricErrors     = "roller_activity_errors" // attempts that failed, by meaning
)

// Metrics are the names under which Prometheus has them.
var Metrics = []string{metricActivities, metricErrors + "_total"}

// measure counts what activities do: how many are under way, and what their
// errors mean.
type measure struct {
	interceptor.WorkerInterceptorBase
	underWay sync.Map // *atomic.Int64 by kind
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (m *measure) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &measured{ActivityInboundInterceptorBase: interceptor.ActivityInboundInterceptorBase{Next: next}, of: m}
}

// kind is what the SDK's handler tells activities apart by.
type kind struct{ activity, workflow string }

type measured struct {
	interceptor.ActivityInboundInterceptorBase
	of *measure
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (m *measured) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info, handler := activity.GetInfo(ctx), activity.GetMetricsHandler(ctx)
	of := kind{activity: info.ActivityType.Name}
	if info.WorkflowType != nil {
		of.workflow = info.WorkflowType.Name
	}
	count, _ := m.of.underWay.LoadOrStore(of, new(atomic.Int64))
	n := count.(*atomic.Int64)
	now := handler.Gauge(metricActivities)
	now.Update(float64(n.Add(1)))
	defer func() { now.Update(float64(n.Add(-1))) }()
	out, err := m.Next.ExecuteActivity(ctx, in)
	if what := meaning(err); what != "" {
		handler.WithTags(map[string]string{"meaning": what}).Counter(metricErrors).Inc(1)
	}
	return out, err
}

// meaning is the type of an activity's error; "" of one that was cancelled, or
// handed to another worker, which is no failure.
func meaning(err error) string {
	var failed *temporal.ApplicationError
	switch {
	case err == nil, temporal.IsCanceledError(err), errors.Is(err, context.Canceled), errors.Is(err, activity.ErrResultPending):
		return ""
	case errors.As(err, &failed) && failed.Type() == string(activities.Handover):
		return ""
	case errors.As(err, &failed) && failed.Type() != "":
		return failed.Type()
	}
	return "other"
}
