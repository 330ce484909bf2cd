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
	"github.com/mozilla-platform-ops/roller/workflows"
)

// WorkerView is a machine of the inventory. Nothing of how it is reached is told.
type WorkerView struct {
	WorkerID    string   `json:"worker_id"`
	WorkerGroup string   `json:"worker_group"`
	FQDN        string   `json:"fqdn"`
	LastJob     *JobView `json:"last_job"` // null where none is known
	// OnLoan is the machine's loan; null of one that is not on loan.
	OnLoan *workflows.LoanReading `json:"on_loan"`
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
	group, limit, after, lent := strings.ToLower(p.text("worker_group")), p.limit(), string(p.token()), p.text("on_loan")
	if group != "" {
		for _, message := range config.ValidateName("x", group)["worker_group"] {
			p.wrong("worker_group", "%s", message)
		}
	}
	if lent != "" && lent != "true" {
		p.wrong("on_loan", "must be true, or absent for all machines")
	}
	if err := p.err(); err != nil {
		return WorkersPage{}, err
	}
	if s.Inventory == nil {
		return WorkersPage{}, refuse(notFound, "this API was given no inventory: only the workers know the machines")
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), lastJobsTimeout)
	defer cancel()
	loans, err := s.Starter.Loans(ctx)
	if err != nil {
		return WorkersPage{}, asked("list loans", err)
	}
	all := s.Inventory().Machines()
	if lent != "" {
		all = slices.DeleteFunc(all, func(m config.Machine) bool { _, lent := loans[m.String()]; return !lent })
	}
	machines, next := pageOf(all, group, after, limit)
	page := WorkersPage{Workers: make([]WorkerView, len(machines)), ContinuationToken: formatToken([]byte(next))}
	for i, m := range machines {
		page.Workers[i] = WorkerView{WorkerID: m.WorkerID, WorkerGroup: m.WorkerGroup, FQDN: m.FQDN}
		if loan, lent := loans[m.String()]; lent {
			page.Workers[i].OnLoan = &loan
		}
	}
	return page, s.lastJobs(ctx, machines, page.Workers)
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
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lastJobsAtOnce)
	for i, m := range machines {
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
