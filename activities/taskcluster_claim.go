package activities

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"

	"github.com/mozilla-platform-ops/roller/config"
)

// Claim is one run of a Taskcluster task that roller has claimed. It holds what is
// needed of the task, not the task: a payload may hold anything.
type Claim struct {
	TaskID      string    `json:"task_id"`
	RunID       int64     `json:"run_id"`
	TakenUntil  time.Time `json:"taken_until"`
	Created     time.Time `json:"created"`
	Deadline    time.Time `json:"deadline"`
	Expires     time.Time `json:"expires"`
	Scopes      []string  `json:"scopes,omitempty"` // the task's own, which stand for what it may ask
	Ask         JobAsk    `json:"ask,omitzero"`
	Problem     string    `json:"problem,omitempty"` // why the task asks for nothing that can be done
	Credentials Sealed    `json:"credentials"`
}

// Run names the run, as Taskcluster's scopes do.
func (c Claim) Run() string { return c.TaskID + "/" + c.run() }

func (c Claim) run() string { return strconv.FormatInt(c.RunID, 10) }

// JobAsk is the job that a task asks for.
type JobAsk struct {
	Task        string `json:"task"`
	WorkerID    string `json:"worker_id"`
	WorkerGroup string `json:"worker_group"`
	ClientID    string `json:"client_id,omitempty"` // who asked

	ProvisionerID string `json:"provisioner_id,omitempty"`
	WorkerType    string `json:"worker_type,omitempty"`

	Bulk  bool   `json:"bulk,omitempty"`
	Drain *bool  `json:"drain,omitempty"`
	Why   string `json:"why,omitempty"`
	Key   string `json:"key"` // by which a repeat, also by another run of the same task, is known

	NoReimage bool `json:"no_reimage,omitempty"`
}

// Payload is the payload of a task for roller, as a hook made by
// `roller register_tc_actions --hooks` fills it in.
type Payload struct {
	TaskName    string `json:"task_name"`
	WorkerID    string `json:"worker_id"`
	WorkerGroup string `json:"worker_group"`
	Priority    string `json:"priority"`

	Drain         *bool  `json:"drain"` // nil: as the inventory says
	ProvisionerID string `json:"provisioner_id"`
	WorkerType    string `json:"worker_type"`

	Why     string `json:"why"`     // of the tasks about a loan
	Reimage *bool  `json:"reimage"` // of return_loan; nil is true
}

// mostClaims is how many runs are claimed at once, the most that the queue gives.
const mostClaims = 32

// workerName turns a host's name into a worker's ID.
var workerName = regexp.MustCompile(`[^a-zA-Z0-9-_]`)

func workerID(cfg config.Taskcluster) (string, error) {
	if cfg.WorkerID != "" {
		return cfg.WorkerID, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("TASKCLUSTER_WORKER_ID is not set, and the host has no name: %w", err)
	}
	short, _, _ := strings.Cut(host, ".")
	const longest = 38
	id := workerName.ReplaceAllString(short, "-")
	return id[:min(len(id), longest)], nil
}

// ClaimTasks waits for tasks of the configured queue, for 20 seconds or so, and
// claims them. None is no error.
func ClaimTasks(ctx context.Context, cfg *config.Config) ([]Claim, error) {
	id, err := workerID(cfg.Taskcluster)
	if err != nil {
		return nil, err
	}
	q := asRoller(ctx, cfg.Taskcluster, claimPoll)
	answer, err := q.ClaimWork(cfg.Taskcluster.TaskQueue, &tcqueue.ClaimWorkRequest{
		WorkerGroup: cfg.Taskcluster.WorkerGroup, WorkerID: id, Tasks: mostClaims,
	})
	if err != nil {
		return nil, plainly("claimWork", err)
	}
	claims := make([]Claim, 0, len(answer.Tasks))
	for _, task := range answer.Tasks {
		c, err := readClaim(cfg, task)
		if err != nil {
			return claims, err
		}
		claims = append(claims, c)
	}
	return claims, nil
}

// readClaim keeps what is needed of a claim.
func readClaim(cfg *config.Config, task tcqueue.TaskClaim) (Claim, error) {
	c := Claim{
		TaskID: task.Status.TaskID, RunID: task.RunID, TakenUntil: time.Time(task.TakenUntil),
		Created: time.Time(task.Task.Created), Deadline: time.Time(task.Task.Deadline), Expires: time.Time(task.Task.Expires),
		Scopes: task.Task.Scopes,
	}
	var err error
	if c.Credentials, err = seal(cfg.Taskcluster, c.Run(), task.Credentials); err != nil {
		return c, err
	}
	if c.Ask, err = readAsk(cfg, task); err != nil {
		c.Problem = err.Error()
	}
	c.Ask.Key = askKey(cfg.Taskcluster, task)
	return c, nil
}

// askKey is the same for all runs that Taskcluster made of one wish: it makes a
// new run by itself when a claim has expired, and then no second job may follow. A
// rerun is a person's new wish.
func askKey(cfg config.Taskcluster, task tcqueue.TaskClaim) string {
	wish := int64(0)
	for _, run := range task.Status.Runs {
		if run.RunID <= task.RunID && run.ReasonCreated == "rerun" {
			wish = run.RunID
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "taskcluster %s %s %d", cfg.RootURL, task.Status.TaskID, wish))
	return hex.EncodeToString(sum[:])
}

// longestClient bounds the name of who asked, in bytes; Taskcluster's own bound
// for client IDs is 128 and some more (services/auth, schemas).
const longestClient = 255

// readAsk checks what a task asks for as the API checks a request.
func readAsk(cfg *config.Config, task tcqueue.TaskClaim) (JobAsk, error) {
	var p Payload
	if err := strictly(task.Task.Payload, &p); err != nil {
		return JobAsk{}, fmt.Errorf("payload: %w", err)
	}
	var extra struct {
		RequestedBy string `json:"requestedBy"`
	}
	_ = json.Unmarshal(task.Task.Extra, &extra) // nobody has to say who asked
	ask := JobAsk{
		Task: config.CanonicalTask(p.TaskName), WorkerID: p.WorkerID, WorkerGroup: p.WorkerGroup,
		ClientID: extra.RequestedBy, Bulk: p.Priority == "bulk",
		Drain: p.Drain, ProvisionerID: p.ProvisionerID, WorkerType: p.WorkerType,
		Why: p.Why, NoReimage: p.Reimage != nil && !*p.Reimage,
	}
	if ask.ClientID == "" || len(ask.ClientID) > longestClient || strings.ContainsFunc(ask.ClientID, unprintable) {
		ask.ClientID = "taskcluster-task/" + task.Status.TaskID
	}
	if ask.WorkerGroup == "" {
		ask.WorkerGroup = config.AnyGroup
	}
	problems := config.ValidateName(ask.WorkerID, ask.WorkerGroup)
	if !slices.Contains(cfg.API.TaskNames, ask.Task) {
		problems["task_name"] = []string{fmt.Sprintf("%.128q is not one of %s", p.TaskName, strings.Join(cfg.API.TaskNames, ", "))}
	}
	if p.Priority != "" && p.Priority != "bulk" && p.Priority != "normal" {
		problems["priority"] = []string{"must be bulk or normal"}
	}
	if p.Drain != nil && *p.Drain && !config.MayDrain(ask.Task) {
		problems["drain"] = []string{"is nothing that " + ask.Task + " can do"}
	}
	if problem := config.WhyProblem(ask.Task, ask.Why); problem != "" {
		problems["why"] = []string{problem}
	}
	if ask.NoReimage && ask.Task != config.ReturnLoan {
		problems["reimage"] = []string{"is for return_loan only"}
	}
	if (p.ProvisionerID == "") != (p.WorkerType == "") {
		problems["provisioner_id, worker_type"] = []string{"go together"}
	}
	if !optionalName.MatchString(p.ProvisionerID) || !optionalName.MatchString(p.WorkerType) {
		problems["provisioner_id, worker_type"] = []string{"must be 1 to 128 characters out of letters, digits, - and _"}
	}
	if len(problems) > 0 {
		return JobAsk{}, errors.New("payload: " + flatten(problems))
	}
	if missing := config.MissingScopes(cfg.API.ScopeSets, ask.Task, task.Task.Scopes); missing != "" {
		return JobAsk{}, fmt.Errorf("task.scopes is missing %s", missing)
	}
	if ask.Task != "ping" && !cfg.API.ManagedHost(ask.WorkerID) {
		return JobAsk{}, errors.New("payload: worker_id: not a managed host")
	}
	return ask, nil
}

// optionalName is the form of provisioner and worker type, if they are there.
var optionalName = regexp.MustCompile(`\A[-_0-9a-zA-Z]{0,128}\z`)

func unprintable(r rune) bool { return r < ' ' || r > '~' }

// strictly decodes one JSON object without unknown fields.
func strictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New("must be an object with task_name, worker_id, worker_group and perhaps priority, drain, provisioner_id, worker_type, why and reimage")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("must be one object")
	}
	return nil
}
