// Package api is roller's web server: it finds out who asks, whether they may,
// whether the request makes sense, and hands it to the starter. It holds no
// state; everything that lasts is a run in Temporal.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Starter is the door to the jobs. Errors that mean something to a requester are
// *starter.Conflict, *starter.Reused and those that wrap an Err... of package
// starter; all others are roller's own mistakes.
type Starter interface {
	Start(ctx context.Context, r starter.Request) (starter.Job, error)
	Page(ctx context.Context, f starter.Filter, size int, token []byte) ([]starter.View, []byte, error)
	Find(ctx context.Context, machine config.Name, taskID string) (starter.View, error)
	Show(ctx context.Context, workflowID, runID string) (starter.View, error)
	AwaitChange(ctx context.Context, seen starter.View) error
	Cancel(ctx context.Context, workflowID, runID string) error
	Loans(ctx context.Context) (map[string]workflows.LoanReading, error)
}

// Authenticator finds out who signed a request. Its errors are those that wrap
// ErrAuthUnavailable; all others are roller's own mistakes.
type Authenticator interface {
	Authenticate(ctx context.Context, q Question) (Verdict, error)
	Ping(ctx context.Context) error // whether it is there
}

// Deps is what the web server works with.
type Deps struct {
	Starter       Starter
	Authenticator Authenticator               // NewHawk unless set
	Inventory     func() *config.Inventory    // nil: the worker finds out which machines there are
	Health        func(context.Context) error // whether Temporal is there; nil: nobody looks
	Logger        *slog.Logger                // slog.Default unless set
	Version       string                      // the release; what the build knows of itself unless set
	Metrics       prometheus.Registerer       // nil: nobody reads the numbers
}

// server answers requests; its methods are gin's handlers.
type server struct {
	Deps

	cfg     config.API
	public  publicURL
	now     func() time.Time
	newID   func() string
	waiting *semaphore.Weighted // requests that wait for a job
	limits  *limits
	checks  []*check
	metrics *metrics

	described description
}

// mostWaiting bounds the connections that wait for a job; whoever comes later is
// answered at once, as after a wait.
const mostWaiting = 200

// releaseMode keeps gin from printing its routes; it is a variable of gin's
// package, so that it is set once.
var releaseMode = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

// API is the handler of every path.
type API struct {
	http.Handler
	server *server
}

// New returns the API. It fails on a PUBLIC_URL that no Hawk header can be
// checked against.
func New(cfg *config.Config, deps Deps) (*API, error) {
	s, err := newServer(cfg, deps)
	if err != nil {
		return nil, err
	}
	return &API{s.routes(), s}, nil
}

func newServer(cfg *config.Config, deps Deps) (*server, error) {
	public, err := parsePublicURL(cfg.API.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("PUBLIC_URL %w", err)
	}
	if deps.Starter == nil {
		return nil, errors.New("api: no starter")
	}
	if deps.Authenticator == nil {
		deps.Authenticator = NewHawk(cfg.Taskcluster)
	}
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	described, err := describe(cfg.API.PublicURL)
	if err != nil {
		return nil, err
	}
	numbers, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return &server{
		metrics:   numbers,
		described: described,
		Deps:      deps, cfg: cfg.API, public: public, now: time.Now, newID: uuid.NewString,
		waiting: semaphore.NewWeighted(mostWaiting), limits: newLimits(cfg.API.ClientLimit, cfg.API.TotalLimit),
		checks: checks(deps),
	}, nil
}

func (s *server) routes() *gin.Engine {
	releaseMode()
	e := gin.New()
	e.HandleMethodNotAllowed = true
	// A redirect would lose the POST, and its target was not signed.
	e.RedirectTrailingSlash = false
	// "a%2Fb" is a wrong worker ID, not another path.
	e.UseRawPath = true
	e.Use(s.prepare, s.logged, s.recovered, s.hosts)
	e.NoRoute(func(c *gin.Context) { s.fail(c, refuse(notFound, "there is nothing at this path")) })
	e.NoMethod(func(c *gin.Context) {
		s.fail(c, refuse(methodNotAllowed, "this path does not take %s", c.Request.Method))
	})
	for _, path := range []string{
		"/api/v1/workers/:worker_id/group/:worker_group/jobs",
		"/api/v1/workers/:worker_id/jobs",
	} {
		e.GET(path, s.getJobs)
		e.POST(path, s.postJob)
		e.OPTIONS(path, preflight)
		e.GET(path+"/:task_id", s.getJob)
		e.DELETE(path+"/:task_id", s.deleteJob)
		e.OPTIONS(path+"/:task_id", preflight)
	}
	e.GET("/api/v1/workers", s.getWorkers)
	e.OPTIONS("/api/v1/workers", preflight)
	probes := []string{http.MethodGet, http.MethodHead}
	e.Match(probes, openapiPath, s.openapi)
	e.Match(probes, docsPath, s.docs)
	e.Match(probes, lbHeartbeatPath, s.lbHeartbeat)
	e.Match(probes, heartbeatPath, s.heartbeat)
	e.Match(probes, versionPath, s.version)
	return e
}
