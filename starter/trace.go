package starter

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

// traceHeader is where all of Temporal's SDKs look for the trace that a run
// belongs to (go.temporal.io/sdk/contrib/opentelemetry, defaultHeaderKey).
const traceHeader = "_tracer-data"

// traced returns the header that has a run go on with the trace of ctx: starts by
// the service itself pass the SDK's interceptors by. nil without a trace.
func traced(ctx context.Context) (*commonpb.Header, error) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil, nil //nolint:nilnil // no header is no error
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	payload, err := converter.GetDefaultDataConverter().ToPayload(map[string]string(carrier))
	if err != nil {
		return nil, err
	}
	return &commonpb.Header{Fields: map[string]*commonpb.Payload{traceHeader: payload}}, nil
}
