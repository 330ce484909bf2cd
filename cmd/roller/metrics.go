package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
)

// metricBuild is 1; its label says what runs.
const metricBuild = "roller_build_info"

// metrics are what one process counts: roller's own numbers, those of Temporal's
// SDK, and those of the process. Its traces go the same way.
type metrics struct {
	traces   *traces
	registry *prometheus.Registry
	handler  client.MetricsHandler
}

func newMetrics(logger *slog.Logger) (*metrics, error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricBuild, Help: "1; the label says which version runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &metrics{registry: registry, handler: opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter:                sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)).Meter("roller"),
		UseMonotonicCounters: true,
		// Without it the handler panics; a number less is no reason to stop a job.
		OnError: func(err error) { logger.Warn("metrics", "err", err.Error()) },
	})}, nil
}

// What a scrape may take.
const (
	scrapeTimeout = 10 * time.Second
	mostScrapes   = 4
)

// serve answers /metrics on an address until it is stopped, if there is one: a
// process that is stopping is watched, too. It fails where it cannot listen.
func (m *metrics) serve(ctx context.Context, logger *slog.Logger, address string) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen (METRICS_ADDR): %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: mostScrapes, Timeout: scrapeTimeout, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}))
	server := &http.Server{
		Handler: mux, ReadTimeout: scrapeTimeout, WriteTimeout: 2 * scrapeTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("metrics", "err", err.Error())
		}
	}()
	logger.Info("metrics listening", "address", listener.Addr().String())
	return func() { _ = server.Close(); <-ended }, nil
}
