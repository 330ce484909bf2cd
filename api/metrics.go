package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mozilla-platform-ops/roller/config"
)

// Metrics are the names of what the API counts.
var Metrics = []string{
	"roller_api_requests_total", "roller_api_request_seconds", "roller_api_decisions_total", "roller_api_auth_seconds",
}

// none stands for a route that there is not, and a method that no route takes: a
// client must not be able to make up names that are kept.
const none = "none"

// metrics are the API's numbers.
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	auth      *prometheus.HistogramVec
}

// newMetrics registers the numbers, where there is somebody to read them.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: Metrics[0], Help: "Requests that were answered, by route, method and status.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: Metrics[1], Help: "How long an answer took, in seconds, by route and method; a client may ask to wait.",
			Buckets: []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route", "method"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: Metrics[2], Help: "What became of requests, as the log has it (started, joined, repeated, cancelled, answered, or an error's code), by task.",
		}, []string{"decision", "task"}),
		auth: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: Metrics[3], Help: "How long the authentication service took, in seconds, by its verdict (login, refused, error).",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"verdict"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.decisions, m.auth} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// methods are those that some route takes.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodOptions}

// answered counts a request.
func (m *metrics) answered(c *gin.Context, e *entry, took time.Duration) {
	route, method, task := c.FullPath(), c.Request.Method, e.task
	if route == "" {
		route = none
	}
	if !slices.Contains(methods, method) {
		method = none
	}
	if task != "" && !slices.Contains(config.Tasks(), task) {
		task = none
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(c.Writer.Status())).Inc()
	m.seconds.WithLabelValues(route, method).Observe(took.Seconds())
	m.decisions.WithLabelValues(e.decision, task).Inc()
}

// plain counts what was no request.
func (m *metrics) plain(f *failure) {
	m.requests.WithLabelValues(none, none, strconv.Itoa(statuses[f.code])).Inc()
	m.decisions.WithLabelValues(string(f.code), "").Inc()
}

// asked counts a question to the authentication service.
func (m *metrics) asked(v Verdict, err error, took time.Duration) {
	verdict := "login"
	switch {
	case err != nil:
		verdict = "error"
	case v.Refused != "":
		verdict = "refused"
	}
	m.auth.WithLabelValues(verdict).Observe(took.Seconds())
}
