package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
)

// traceEndpoint is OpenTelemetry's own variable, as are all others that say
// where spans go: OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER,
// OTEL_RESOURCE_ATTRIBUTES, ... (its specification, "Environment Variables").
const traceEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

// traceFlush is how long a process that ends waits for its last spans to be taken.
const traceFlush = 5 * time.Second

// traces follow a job from its request over the workflow to the dialogue with a
// device. Without an endpoint there are none, and nothing of them is in a history.
type traces struct {
	interceptors []interceptor.ClientInterceptor
	provider     *sdktrace.TracerProvider
	logger       *slog.Logger
}

func newTraces(ctx context.Context, logger *slog.Logger) (*traces, error) {
	if os.Getenv(traceEndpoint) == "" {
		return &traces{}, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces (%s): %w", traceEndpoint, err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "roller"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces (OTEL_RESOURCE_ATTRIBUTES): %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{
		Tracer: provider.Tracer("roller"), DisableQueryTracing: true, DisableBaggage: true, AllowInvalidParentSpans: true,
	})
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	logger.Info("tracing", "endpoint", os.Getenv(traceEndpoint))
	return &traces{interceptors: []interceptor.ClientInterceptor{tracing}, provider: provider, logger: logger}, nil
}

// serving has each request begin a trace of its own: what a client says of its
// traces is not believed, only linked.
func (t *traces) serving(next http.Handler) http.Handler {
	if t.provider == nil {
		return next
	}
	return otelhttp.NewHandler(next, "request", otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/__lbheartbeat__" }),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method }))
}

// close sends what is left.
func (t *traces) close(ctx context.Context) {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, traceFlush)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("traces", "err", err.Error())
	}
}
