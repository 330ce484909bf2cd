package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

const (
	// clicksPerMachine is how often a machine is clicked in a minute.
	clicksPerMachine = 2
	// clicksAtOnce bounds the requests under way.
	clicksAtOnce = 32
	clickTimeout = 20 * time.Second
)

// tasks is what is clicked, reboot most of all.
var tasks = []string{
	"reboot", "reboot", "reboot", "reboot", "reboot", "reboot", "reboot", "reboot", "reboot", "reboot",
	"ssh_reboot", "ipmi_reset", "ipmi_cycle", "ipmi_reboot", "snmp_reboot", "snmp_rebootdelay", "ilo_reboot", "moonshot_reset", "xenapi_reboot",
	"ipmi_on", "ipmi_off", "ping", "ping", "ipmi_status",
}

// clicks are the people: they click, click again, cancel, and start by hand.
type clicks struct {
	site *site
	rand *rand.Rand

	mu      sync.Mutex
	posts   []check.Post
	starts  []check.Start
	sent    []sent        // requests that may be sent again
	open    []starter.Job // accepted and not cancelled, the newest last
	cancels map[string]int
}

func (c *clicks) run(ctx context.Context) {
	machines := c.site.lab.Machines()
	every := time.NewTicker(time.Duration(float64(time.Minute) / clicksPerMachine / float64(len(machines))))
	defer every.Stop()
	var busy sync.WaitGroup
	defer busy.Wait()
	slots := make(chan struct{}, clicksAtOnce)
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		act := c.next(machines)
		slots <- struct{}{}
		busy.Go(func() {
			defer func() { <-slots }()
			// A click under way is answered, also when the run ends meanwhile.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clickTimeout)
			defer cancel()
			act(ctx)
		})
	}
}

// next decides what is done next. All that is random about it is decided here,
// one act after the other, by the seed.
func (c *clicks) next(machines []*lab.Machine) func(context.Context) {
	m := machines[c.rand.IntN(len(machines))]
	task := tasks[c.rand.IntN(len(tasks))]
	apis := c.site.kind(check.API)
	api, other := apis[c.rand.IntN(len(apis))], apis[c.rand.IntN(len(apis))]
	spelling := c.spelled(m)
	switch at := c.rand.IntN(100); {
	case at < 62:
		return func(ctx context.Context) { c.post(ctx, api, task, spelling, m) }
	case at < 70: // a browser or a proxy that sends a request again
		which := c.rand.Float64()
		return func(ctx context.Context) { c.again(ctx, which) }
	case at < 80: // an impatient click, on both APIs at once
		return func(ctx context.Context) {
			var both sync.WaitGroup
			for _, p := range []*slot{api, other} {
				both.Go(func() { c.post(ctx, p, task, spelling, m) })
			}
			both.Wait()
		}
	case at < 90:
		which, overHTTP := c.rand.Float64(), c.rand.IntN(2) == 0
		return func(ctx context.Context) {
			end := c.byDoor
			if overHTTP {
				end = func(ctx context.Context, job starter.Job) string { return c.byDelete(ctx, api, job) }
			}
			c.cancel(ctx, which, end)
		}
	default:
		return func(ctx context.Context) { c.byHand(ctx, task, spelling, m) }
	}
}

// spelled is a machine's name as some people write it.
func (c *clicks) spelled(m *lab.Machine) config.Name {
	n := config.Name{WorkerID: m.Spec().WorkerID, WorkerGroup: m.Spec().WorkerGroup}
	switch c.rand.IntN(6) {
	case 0:
		n.WorkerID = strings.ToUpper(n.WorkerID)
	case 1:
		n.WorkerGroup = "none"
	default:
	}
	return n
}

func nameOf(m *lab.Machine) config.Name {
	return config.Name{WorkerID: m.Spec().WorkerID, WorkerGroup: m.Spec().WorkerGroup}
}

// sent is a request with its header, to be sent again as it was.
type sent struct {
	post   check.Post
	api    *slot
	url    string
	header string
}

// post sends one signed request, as Taskcluster's dashboard does.
func (c *clicks) post(ctx context.Context, api *slot, task string, n config.Name, m *lab.Machine) {
	url := fmt.Sprintf("%s/api/v1/workers/%s/group/%s/jobs?task_name=%s", api.url, n.WorkerID, n.WorkerGroup, task)
	p := check.Post{API: api.name, Task: task, Machine: nameOf(m).String()}
	header, err := c.sign(ctx, http.MethodPost, url)
	if err != nil {
		p.Error = err.Error()
	}
	c.mu.Lock()
	p.Header = len(c.sent) + 1
	c.sent = append(c.sent, sent{p, api, url, header})
	c.mu.Unlock()
	c.send(ctx, p, url, header)
}

// again sends an earlier request again, with the identical header.
func (c *clicks) again(ctx context.Context, which float64) {
	c.mu.Lock()
	if len(c.sent) == 0 {
		c.mu.Unlock()
		return
	}
	s := c.sent[int(which*float64(len(c.sent)))]
	c.mu.Unlock()
	c.send(ctx, s.post, s.url, s.header)
}

// send sends a request and keeps its answer.
func (c *clicks) send(ctx context.Context, p check.Post, url, header string) {
	p.At = time.Now()
	var err error
	if p.Status, p.TaskID, err = ask(ctx, http.MethodPost, url, header); err != nil {
		p.Error = err.Error()
	}
	p.Answered = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts = append(c.posts, p)
	if p.TaskID == "" || config.IsRead(p.Task) {
		return
	}
	c.open = append(c.open, starter.Job{Task: p.Task, TaskID: p.TaskID, WorkflowID: "machine/" + p.Machine})
}

// sign returns a Hawk header.
func (c *clicks) sign(ctx context.Context, method, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return "", err
	}
	who := tcclient.Credentials{ClientID: sheriff, AccessToken: c.site.token}
	if err := who.SignRequest(request); err != nil {
		return "", err
	}
	return request.Header.Get("Authorization"), nil
}

// ask sends a request with this header.
func ask(ctx context.Context, method, url, header string) (status int, taskID string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", header)
	hc := http.Client{Timeout: clickTimeout}
	response, err := hc.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", err
	}
	if response.StatusCode != http.StatusCreated {
		return response.StatusCode, "", errors.New(string(body))
	}
	var accepted struct {
		TaskID string `json:"task_id"`
	}
	err = json.Unmarshal(body, &accepted)
	return response.StatusCode, accepted.TaskID, err
}

// cancel cancels one of the newest jobs: the older ones have ended by now.
func (c *clicks) cancel(ctx context.Context, which float64, end func(context.Context, starter.Job) string) {
	const newest = 40
	c.mu.Lock()
	from := max(0, len(c.open)-newest)
	if len(c.open) == 0 {
		c.mu.Unlock()
		return
	}
	at := from + int(which*float64(len(c.open)-from))
	job := c.open[at]
	c.open = append(c.open[:at], c.open[at+1:]...)
	c.mu.Unlock()
	result := end(ctx, job)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancels[result]++
}

// What can become of a cancel.
const (
	taken    = "taken"
	tooLate  = "too late"
	noAnswer = "no answer"
)

// byDoor cancels as `roller cancel` does.
func (c *clicks) byDoor(ctx context.Context, job starter.Job) string {
	err := c.site.door.Cancel(ctx, job.WorkflowID, job.TaskID)
	switch {
	case err == nil:
		return taken
	case errors.Is(err, starter.ErrClosed):
		return tooLate
	default:
		return noAnswer
	}
}

// byDelete cancels over HTTP.
func (c *clicks) byDelete(ctx context.Context, api *slot, job starter.Job) string {
	group, id, _ := strings.Cut(strings.TrimPrefix(job.WorkflowID, "machine/"), "/")
	url := fmt.Sprintf("%s/api/v1/workers/%s/group/%s/jobs/%s", api.url, id, group, job.TaskID)
	header, err := c.sign(ctx, http.MethodDelete, url)
	if err != nil {
		return noAnswer
	}
	switch status, _, _ := ask(ctx, http.MethodDelete, url, header); status {
	case http.StatusAccepted:
		return taken
	case http.StatusConflict:
		return tooLate
	case http.StatusServiceUnavailable, 0:
		return noAnswer
	default:
		return fmt.Sprintf("%d (DELETE)", status)
	}
}

// byHand starts a workflow as tctl does: by its type, under an ID nobody chose.
func (c *clicks) byHand(ctx context.Context, task string, n config.Name, m *lab.Machine) {
	s := check.Start{At: time.Now(), Task: task, Machine: nameOf(m).String()}
	run, err := c.site.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: workflows.TaskQueue}, task,
		map[string]string{"worker_id": n.WorkerID, "worker_group": n.WorkerGroup})
	if err == nil {
		s.RunID = run.GetRunID()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts = append(c.starts, s)
}
