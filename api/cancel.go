package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

// deleteJob asks a job to end. It answers before it has: what was powered off is
// powered on first.
func (s *server) deleteJob(c *gin.Context) {
	v, err := s.cancel(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	note(c).decision = "cancelled"
	c.JSON(http.StatusAccepted, DetailOf(v))
}

func (s *server) cancel(c *gin.Context) (starter.View, error) {
	p := readParams(c)
	n, id := p.machine(), p.taskID()
	p.noBody(c.Request)
	e := note(c)
	e.workerID, e.workerGroup, e.taskID = n.WorkerID, n.WorkerGroup, id
	who, err := s.viewer(c)
	if err != nil {
		return starter.View{}, err
	}
	if err := p.err(); err != nil {
		return starter.View{}, err
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(c.Request.Context()), s.cfg.StartTimeout.D())
	defer done()
	v, err := s.find(ctx, c, n, id)
	if err != nil {
		return v, err
	}
	if err := s.mayCancel(who, v); err != nil {
		return v, err
	}
	err = s.Starter.Cancel(ctx, v.WorkflowID, v.TaskID)
	if errors.Is(err, starter.ErrClosed) {
		return v, refuse(conflict, "%s", err)
	}
	v.Cancelling = true
	return v, asked("cancel a job", err)
}

// mayCancel: who may ask for a task may end it. What roller starts of its own
// accord powers on a machine that it left off, and is nobody's to end.
func (s *server) mayCancel(who Verdict, v starter.View) error {
	if !slices.Contains(config.Tasks(), v.Task) {
		return refuse(conflict, "%s is roller's own job and cannot be cancelled here", v.Task)
	}
	if missing := config.MissingScopes(s.cfg.ScopeSets, v.Task, who.Scopes); missing != "" {
		return refuse(insufficientScopes, "client %q is missing %s", who.ClientID, missing)
	}
	return nil
}
