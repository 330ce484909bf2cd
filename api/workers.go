package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
)

// WorkerView is a machine of the inventory. Nothing of how it is reached is told.
type WorkerView struct {
	WorkerID    string   `json:"worker_id"`
	WorkerGroup string   `json:"worker_group"`
	FQDN        string   `json:"fqdn"`
	LastJob     *JobView `json:"last_job"` // null where none is known
}

// WorkersPage is the body of a list of machines.
type WorkersPage struct {
	Workers           []WorkerView `json:"workers"`
	ContinuationToken string       `json:"continuationToken,omitempty"`
}

func (s *server) getWorkers(c *gin.Context) {
	page, err := s.listWorkers(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, page)
}

func (s *server) listWorkers(c *gin.Context) (WorkersPage, error) {
	p := readParams(c)
	p.noBody(c.Request)
	if _, err := s.viewer(c); err != nil {
		return WorkersPage{}, err
	}
	group, limit, after := strings.ToLower(p.text("worker_group")), p.limit(), string(p.token())
	if group != "" {
		for _, message := range config.ValidateName("x", group)["worker_group"] {
			p.wrong("worker_group", "%s", message)
		}
	}
	if err := p.err(); err != nil {
		return WorkersPage{}, err
	}
	if s.Inventory == nil {
		return WorkersPage{}, refuse(notFound, "this API was given no inventory: only the workers know the machines")
	}
	machines, next := pageOf(s.Inventory().Machines(), group, after, limit)
	page := WorkersPage{Workers: make([]WorkerView, len(machines)), ContinuationToken: formatToken([]byte(next))}
	return page, s.lastJobs(c.Request.Context(), machines, page.Workers)
}

// pageOf cuts a page out of all machines, which are sorted by name, and names
// its last one where more follow.
func pageOf(all []config.Machine, group, after string, limit int) (page []config.Machine, next string) {
	byName := func(m config.Machine) string { return m.WorkerGroup + "\x00" + m.WorkerID }
	all = slices.DeleteFunc(all, func(m config.Machine) bool {
		return group != "" && m.WorkerGroup != group || after != "" && cmp.Compare(byName(m), after) <= 0
	})
	if len(all) <= limit {
		return all, ""
	}
	return all[:limit], byName(all[limit-1])
}

// lastJobsAtOnce bounds how many questions one page asks Temporal at a time.
const lastJobsAtOnce = 8

// lastJobsTimeout bounds all of them: within 10 s the asker is told that Temporal is slow.
const lastJobsTimeout = 9 * time.Second

func (s *server) lastJobs(ctx context.Context, machines []config.Machine, views []WorkerView) error {
	ctx, cancel := context.WithTimeout(ctx, lastJobsTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lastJobsAtOnce)
	for i, m := range machines {
		views[i] = WorkerView{WorkerID: m.WorkerID, WorkerGroup: m.WorkerGroup, FQDN: m.FQDN}
		group.Go(func() error {
			jobs, _, err := s.page(ctx, starter.Filter{Machine: m.Name}, 1, nil)
			if err == nil && len(jobs) > 0 {
				last := ViewOf(jobs[0])
				views[i].LastJob = &last
			}
			return err
		})
	}
	return group.Wait()
}
