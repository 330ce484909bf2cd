package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

// unmanagedTask is open to every host, managed or not: it changes nothing.
const unmanagedTask = "ping"

// optionalForm is the form of provisioner and worker type, that of the names
// in the path.
var optionalForm = regexp.MustCompile(`\A[-_0-9a-zA-Z]{1,128}\z`)

// StartedJob is the body of a 201.
type StartedJob struct {
	TaskName      string `json:"task_name"`
	WorkerID      string `json:"worker_id"`
	WorkerGroup   string `json:"worker_group"`
	TaskID        string `json:"task_id"`
	ClientID      string `json:"client_id"`
	ProvisionerID string `json:"provisioner_id"`
	WorkerType    string `json:"worker_type"`
	HTTPOrigin    string `json:"http_origin"`
}

func preflight(c *gin.Context) { c.JSON(http.StatusOK, gin.H{}) }

func (s *server) postJob(c *gin.Context) {
	p := readParams(c)
	r := readRequest(c, p)
	e := note(c)
	e.task, e.workerID, e.workerGroup = r.Task, r.WorkerID, r.WorkerGroup
	job, err := s.decide(c, p, &r)
	if err != nil {
		s.fail(c, err)
		return
	}
	e.decision, e.taskID = decision(job), job.TaskID
	c.JSON(http.StatusCreated, StartedJob{
		TaskName: r.Task, WorkerID: r.WorkerID, WorkerGroup: r.WorkerGroup, TaskID: job.TaskID,
		ClientID: r.ClientID, ProvisionerID: r.ProvisionerID, WorkerType: r.WorkerType, HTTPOrigin: r.HTTPOrigin,
	})
}

func decision(job starter.Job) string {
	switch {
	case job.Repeated:
		return "repeated"
	case job.Joined:
		return "joined"
	}
	return "started"
}

// readRequest takes a request apart.
func readRequest(c *gin.Context, p *params) starter.Request {
	n := p.machine()
	return starter.Request{
		Task:          config.CanonicalTask(p.text("task_name")),
		WorkerID:      n.WorkerID,
		WorkerGroup:   n.WorkerGroup,
		ProvisionerID: p.text("provisioner_id"),
		WorkerType:    p.text("worker_type"),
		HTTPOrigin:    origin(c.GetHeader("Origin")),
		Bulk:          p.text("priority") == bulk,
		Drain:         p.either("drain"),
		Why:           p.text("why"),
		NoReimage:     p.text("reimage") == "false",
	}
}

// bulk is the priority of a job that lets all others go first; without one it is
// a person's.
const bulk = "bulk"

// origin keeps an Origin header that is a web origin (RFC 6454, 6.2) of a
// sensible length; it is only a note for people.
func origin(header string) string {
	u, err := url.Parse(header)
	if err != nil || len(header) > 255 || u.Scheme != "https" && u.Scheme != "http" || u.Scheme+"://"+u.Host != header {
		return ""
	}
	return header
}

// decide asks, in this order: who is it, may they, is the host one of ours,
// does the request make sense, is the machine known; and then starts the job.
func (s *server) decide(c *gin.Context, p *params, r *starter.Request) (starter.Job, error) {
	who, err := s.login(c.Request)
	if err != nil {
		return starter.Job{}, err
	}
	r.ClientID, note(c).clientID = who.ClientID, who.ClientID
	r.Repeats = repeats(c.Request, who.ClientID)
	// No scope opens a task that does not exist: valid refuses it.
	if slices.Contains(s.cfg.TaskNames, r.Task) {
		if err := s.permitted(who, r); err != nil {
			return starter.Job{}, err
		}
	}
	if err := s.valid(c.Request, p, r); err != nil {
		return starter.Job{}, err
	}
	if err := s.listed(r); err != nil {
		return starter.Job{}, err
	}
	return s.limited(c.Request.Context(), r)
}

func (s *server) permitted(who Verdict, r *starter.Request) error {
	if missing := config.MissingScopes(s.cfg.ScopeSets, r.Task, who.Scopes); missing != "" {
		return refuse(insufficientScopes, "client %q is missing %s", who.ClientID, missing)
	}
	if r.Task != unmanagedTask && !s.cfg.ManagedHost(r.WorkerID) {
		return refuse(notFound, "Not a managed host.")
	}
	return nil
}

// valid reports every wrong parameter at once.
func (s *server) valid(h *http.Request, p *params, r *starter.Request) error {
	switch {
	case r.Task == "":
		p.wrong("task_name", "is required")
	case !slices.Contains(s.cfg.TaskNames, r.Task) && len(p.query["task_name"]) == 1:
		p.wrong("task_name", "%.128q is not one of %s", r.Task, strings.Join(s.cfg.TaskNames, ", "))
	}
	for field, value := range map[string]string{"provisioner_id": r.ProvisionerID, "worker_type": r.WorkerType} {
		if value != "" && !optionalForm.MatchString(value) {
			p.wrong(field, "must be 1 to 128 characters out of letters, digits, - and _")
		}
	}
	if r.Drain != nil && *r.Drain && !config.MayDrain(r.Task) {
		p.wrong("drain", "is nothing that %.128q can do", r.Task)
	}
	if problem := config.WhyProblem(r.Task, r.Why); problem != "" {
		p.wrong("why", "%s", problem)
	}
	if asked := p.text("reimage"); asked != "" && (asked != "false" || r.Task != config.ReturnLoan) {
		p.wrong("reimage", "must be false, for %s, or absent", config.ReturnLoan)
	}
	if asked := p.text("priority"); asked != "" && asked != bulk {
		p.wrong("priority", "must be bulk, or absent for a job that somebody waits for")
	}
	if problem := keyProblem(h); problem != "" {
		p.wrong(keyHeader, "%s", problem)
	}
	p.noBody(h)
	return p.err()
}

// hasBody reads at most one byte, and only of a body of unknown length.
func hasBody(h *http.Request) bool {
	if h.ContentLength >= 0 {
		return h.ContentLength > 0
	}
	n, _ := h.Body.Read(make([]byte, 1)) // an error is no body
	return n > 0
}

// needsQueue reports whether a request quarantines a worker.
func needsQueue(r *starter.Request) bool {
	return r.Task == config.Loan || r.Drain != nil && *r.Drain
}

// listed refuses a machine that the inventory does not name, and one to be drained
// whose task queue nobody names. Where there is no inventory, the job will say so.
func (s *server) listed(r *starter.Request) error {
	if s.Inventory == nil {
		return nil
	}
	m, err := s.Inventory().Resolve(r.WorkerID, r.WorkerGroup)
	if err != nil {
		return refuse(notFound, "%s", err)
	}
	if needsQueue(r) && m.Queue == nil && (r.ProvisionerID == "" || r.WorkerType == "") {
		return refuseFields(map[string][]string{"provisioner_id": {"is needed, and so is worker_type: the inventory does not name this machine's task queue"}})
	}
	return nil
}

// start is not cut short by a browser that leaves: a start that is given up
// half-way leaves everybody guessing.
func (s *server) start(ctx context.Context, r *starter.Request) (starter.Job, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.StartTimeout.D())
	defer cancel()
	job, err := s.Starter.Start(ctx, *r)
	if err == nil {
		return job, nil
	}
	if running, ok := errors.AsType[*starter.Conflict](err); ok {
		return starter.Job{}, refuse(conflict, "%s", running)
	}
	if reused, ok := errors.AsType[*starter.Reused](err); ok {
		return starter.Job{}, refuse(conflict, "%s: %s", keyHeader, reused)
	}
	if errors.Is(err, starter.ErrNotStarted) {
		return starter.Job{}, err
	}
	if errors.Is(err, starter.ErrCrowded) {
		return starter.Job{}, refuse(tooMany, "%s", err)
	}
	if errors.Is(err, starter.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return starter.Job{}, &failure{code: unavailable, message: "jobs cannot be started now: ask again, a job that was started after all is then joined", cause: err}
	}
	return starter.Job{}, fmt.Errorf("start %s: %w", r.Task, err)
}
