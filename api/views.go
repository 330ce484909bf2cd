package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// running is Temporal's word for a job that has not ended.
const running = "Running"

// viewTask stands in for {task_name} in the scope that opens the views, to
// people and monitors that may do nothing.
const viewTask = "view"

// viewer finds out who asks, and whether they may see jobs: who may do anything
// may.
func (s *server) viewer(c *gin.Context) (Verdict, error) {
	who, err := s.login(c.Request)
	if err != nil {
		return Verdict{}, err
	}
	note(c).clientID = who.ClientID
	for _, task := range append([]string{viewTask}, s.cfg.TaskNames...) {
		if config.MissingScopes(s.cfg.ScopeSets, task, who.Scopes) == "" {
			return who, nil
		}
	}
	return Verdict{}, refuse(insufficientScopes, "client %q is missing %s", who.ClientID, config.MissingScopes(s.cfg.ScopeSets, viewTask, who.Scopes))
}

// named is the machine's one name where the inventory knows it. One that was
// taken out of the inventory keeps its jobs.
func (s *server) named(n config.Name) (name config.Name, known bool) {
	if s.Inventory == nil {
		return config.Name{WorkerID: n.WorkerID, WorkerGroup: strings.ToLower(n.WorkerGroup)}, true
	}
	m, err := s.Inventory().Resolve(n.WorkerID, n.WorkerGroup)
	if err != nil {
		return config.Name{WorkerID: n.WorkerID, WorkerGroup: strings.ToLower(n.WorkerGroup)}, false
	}
	return m.Name, true
}

// JobsPage is the body of a list of jobs.
type JobsPage struct {
	Jobs              []JobView `json:"jobs"`
	ContinuationToken string    `json:"continuationToken,omitempty"`
}

func (s *server) getJobs(c *gin.Context) {
	page, err := s.listJobs(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, page)
}

func (s *server) listJobs(c *gin.Context) (JobsPage, error) {
	p := readParams(c)
	n := p.machine()
	p.noBody(c.Request)
	note(c).workerID, note(c).workerGroup = n.WorkerID, n.WorkerGroup
	if _, err := s.viewer(c); err != nil {
		return JobsPage{}, err
	}
	f := starter.Filter{Task: config.CanonicalTask(p.text("task_name")), Outcome: workflows.Outcome(p.text("outcome"))}
	limit, token := p.limit(), p.token()
	p.filters(f)
	if err := p.err(); err != nil {
		return JobsPage{}, err
	}
	machine, known := s.named(n)
	if f.Machine = machine; machine.WorkerGroup == config.AnyGroup {
		f.Machine.WorkerGroup = ""
	}
	views, next, err := s.page(c.Request.Context(), f, limit, token)
	if err == nil && !known && len(views) == 0 && len(token) == 0 {
		return JobsPage{}, refuse(notFound, "machine %q is not in the inventory, and has no jobs", n.WorkerID)
	}
	page := JobsPage{Jobs: make([]JobView, 0, len(views)), ContinuationToken: formatToken(next)}
	for _, v := range views {
		page.Jobs = append(page.Jobs, ViewOf(v))
	}
	return page, err
}

// filters checks by what a list is narrowed.
func (p *params) filters(f starter.Filter) {
	if f.Task != "" && !slices.Contains(append(config.Tasks(), workflows.PowerOnType), f.Task) {
		p.wrong("task_name", "%.128q is not one of %s", f.Task, strings.Join(config.Tasks(), ", "))
	}
	if f.Outcome != "" && !slices.Contains(workflows.JobOutcomes, f.Outcome) {
		p.wrong("outcome", "%.128q is not one of %s", string(f.Outcome), joined(workflows.JobOutcomes))
	}
}

func joined(outcomes []workflows.Outcome) string {
	texts := make([]string, len(outcomes))
	for i, o := range outcomes {
		texts[i] = string(o)
	}
	return strings.Join(texts, ", ")
}

func (s *server) page(ctx context.Context, f starter.Filter, limit int, token []byte) ([]starter.View, []byte, error) {
	views, next, err := s.Starter.Page(ctx, f, limit, token)
	if errors.Is(err, starter.ErrToken) {
		return nil, nil, refuseFields(map[string][]string{tokenName: {badToken}})
	}
	return views, next, asked("list jobs", err)
}

// asked turns an error of the starter's reads into a refusal.
func asked(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, starter.ErrNoJob):
		return refuse(notFound, "no such job on this machine; it ended long ago, or never was")
	case errors.Is(err, starter.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &failure{code: unavailable, message: "jobs cannot be looked up now: ask again", cause: err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *server) getJob(c *gin.Context) {
	v, err := s.lookAt(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	body, err := json.Marshal(DetailOf(v))
	if err != nil {
		s.fail(c, fmt.Errorf("encode a job: %w", err))
		return
	}
	tag := etag(v)
	c.Header("ETag", tag)
	if knows(c.Request, tag) {
		c.Status(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		return
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", body)
}

// lookAt finds the job that a request names, and waits with it if asked to.
func (s *server) lookAt(c *gin.Context) (starter.View, error) {
	p := readParams(c)
	n, id, wait := p.machine(), p.taskID(), p.wait()
	p.noBody(c.Request)
	e := note(c)
	e.workerID, e.workerGroup, e.taskID = n.WorkerID, n.WorkerGroup, id
	if _, err := s.viewer(c); err != nil {
		return starter.View{}, err
	}
	if err := p.err(); err != nil {
		return starter.View{}, err
	}
	v, err := s.find(c.Request.Context(), c, n, id)
	if err != nil {
		return v, err
	}
	return s.await(c, v, wait)
}

func (s *server) find(ctx context.Context, c *gin.Context, n config.Name, id string) (starter.View, error) {
	machine, _ := s.named(n)
	v, err := s.Starter.Find(ctx, machine, id)
	if err != nil {
		return v, asked("show a job", err)
	}
	note(c).task = v.Task
	return v, nil
}

// await returns the job when it is no longer what the asker knows, when it has
// ended, or when the wait is over; also when this process is told to stop, which
// the asker answers by asking again.
func (s *server) await(c *gin.Context, v starter.View, wait time.Duration) (starter.View, error) {
	first, conditional := etag(v), c.GetHeader(conditionHeader) != ""
	known := func(v starter.View) bool { // without a condition: as it was when this request came
		return conditional && knows(c.Request, etag(v)) || !conditional && etag(v) == first
	}
	if wait == 0 || v.Status != running || !known(v) || !s.waiting.TryAcquire(1) {
		return v, nil
	}
	defer s.waiting.Release(1)
	deadline := time.Now().Add(wait + writeTimeout)
	if err := http.NewResponseController(c.Writer).SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return v, fmt.Errorf("wait for a job: %w", err)
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), wait)
	defer cancel()
	defer context.AfterFunc(stopping(ctx), cancel)()
	for v.Status == running && known(v) {
		if err := s.Starter.AwaitChange(ctx, v); ctx.Err() != nil {
			return v, nil
		} else if err != nil {
			return v, asked("wait for a job", err)
		}
		// It is bounded by itself: cut short by the wait's end, it would tell less than
		// there is.
		fresh, err := s.Starter.Show(c.Request.Context(), v.WorkflowID, v.TaskID)
		if err != nil {
			return v, asked("show a job", err)
		}
		v = fresh
	}
	return v, nil
}

// conditionHeader is where an asker says what they know already.
const conditionHeader = "If-None-Match"

// knows reports whether an asker says that they know this state. The comparison is
// the weak one, of a list (RFC 9110, 13.1.2): proxies that compress weaken tags.
func knows(r *http.Request, tag string) bool {
	for said := range strings.SplitSeq(strings.Join(r.Header.Values(conditionHeader), ","), ",") {
		if said = strings.TrimSpace(said); said == "*" || strings.TrimPrefix(said, "W/") == tag {
			return true
		}
	}
	return false
}

// etag tells one state of a job from the next.
func etag(v starter.View) string {
	body, err := json.Marshal(DetailOf(v))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}
