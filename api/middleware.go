package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"
)

// entry is what a request's one log line says beyond method, path and status.
type entry struct {
	id       string
	began    time.Time
	decision string
	reason   string
	cause    error

	clientID, task, workerID, workerGroup, taskID string
}

const entryKey = "entry"

// note returns the request's log entry.
func note(c *gin.Context) *entry { return c.MustGet(entryKey).(*entry) }

func (e *entry) failed(f *failure) {
	e.decision, e.reason, e.cause = string(f.code), f.message, f.cause
}

// prepare sets what every answer carries, whatever becomes of the request:
// without the CORS headers a browser hides even the error from its page.
func (s *server) prepare(c *gin.Context) {
	e := &entry{id: s.newID(), began: s.now(), decision: "answered"}
	c.Set(entryKey, e)
	for name, value := range s.cors() {
		c.Header(name, value)
	}
	c.Header("X-Request-Id", e.id)
}

// cors are the headers without which a browser keeps an answer from its page.
func (s *server) cors() map[string]string {
	return map[string]string{
		"Access-Control-Allow-Origin":   s.cfg.CORSOrigin,
		"Access-Control-Allow-Headers":  "Authorization,Content-Type,If-None-Match," + keyHeader,
		"Access-Control-Allow-Methods":  "GET,POST,DELETE,OPTIONS",
		"Access-Control-Expose-Headers": "ETag,Retry-After,WWW-Authenticate,X-Request-Id",
	}
}

// logged writes one line a request. It names no header and no query: both may
// hold what must not be kept.
func (s *server) logged(c *gin.Context) {
	c.Next()
	e, status := note(c), c.Writer.Status()
	took := s.now().Sub(e.began)
	s.metrics.answered(c, e, took)
	attributes := []slog.Attr{
		slog.String("request_id", e.id), slog.String("decision", e.decision),
		slog.String("method", c.Request.Method), slog.String("path", c.Request.URL.Path),
		slog.Int("status", status), slog.Int64("duration_ms", took.Milliseconds()),
		slog.String("peer", written(asker(c.Request, s.cfg.TrustedProxies))),
	}
	for _, a := range []slog.Attr{
		slog.String("client_id", e.clientID), slog.String("task", e.task), slog.String("worker_id", e.workerID),
		slog.String("worker_group", e.workerGroup), slog.String("task_id", e.taskID), slog.String("reason", e.reason),
		slog.String("via", s.via(c.Request)), slog.String("trace_id", traceOf(c.Request.Context())),
	} {
		if a.Value.String() != "" {
			attributes = append(attributes, a)
		}
	}
	level := slog.LevelInfo
	if e.cause != nil {
		attributes = append(attributes, slog.String("err", e.cause.Error()))
	}
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.Logger.LogAttrs(c.Request.Context(), level, "request", attributes...)
}

// traceOf is the ID of the trace that a request is in, or "".
func traceOf(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}

// via is the trusted proxy that sent a request for another, or "".
func (s *server) via(r *http.Request) string {
	if from := peer(r.RemoteAddr); from != asker(r, s.cfg.TrustedProxies) {
		return from.String()
	}
	return ""
}

// recovered turns a panic into an answer. Its value is logged only where the
// runtime made it: any other may hold whatever the request held. The stack says
// where to look.
func (s *server) recovered(c *gin.Context) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(value) // net/http's way to drop a connection
		}
		text := fmt.Sprintf("%T", value)
		if err, ok := value.(runtime.Error); ok {
			text = err.Error()
		}
		s.Logger.ErrorContext(c.Request.Context(), "panic", "request_id", note(c).id, "err", text, "stack", string(debug.Stack()))
		s.fail(c, &failure{code: internal, message: failedMessage})
	}()
	c.Next()
}

// hosts refuses requests for another Host, which a page of another site can
// send by pointing its own name at this address. The probes are exempt: load
// balancers ask by address, and learn nothing.
func (s *server) hosts(c *gin.Context) {
	switch c.Request.URL.Path {
	case lbHeartbeatPath, heartbeatPath, versionPath:
		return
	}
	host := bare(c.Request.Host)
	if host != s.public.host && !slices.ContainsFunc(s.cfg.AllowedHosts, func(allowed string) bool { return bare(allowed) == host }) {
		s.fail(c, refuse(inputInvalid, "this service does not answer for the host it was asked by"))
	}
}

// bare returns a Host header's name in lower case, without port, brackets and
// the root's dot.
func bare(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
