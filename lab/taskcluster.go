package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskcluster/slugid-go/slugid"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
)

// The services' own times: how long a claim lasts, and how long claimWork waits
// for work (services/queue: queue.task_claim_timeout, sleep20Seconds).
const (
	claimLife = 20 * time.Minute
	claimPoll = 20 * time.Second
)

// Taskcluster stands in for the queue, hooks and auth services of one deployment,
// as far as a worker of a task queue and its hooks need them. Each call's route,
// scopes, request and answer are held against the services' own references and
// schemas (lab/schemas/taskcluster.json, an extract of Taskcluster v44.23.4): a
// request outside them is refused, and remembered as a mistake.
type Taskcluster struct {
	ClaimLife time.Duration // set before Start; 20 minutes
	ClaimPoll time.Duration // set before Start; 20 seconds
	OldQueue  bool          // set before Start; its queue is v44's in all, and knows no note of a quarantine
	*Auth

	calls  []call
	issuer tcclient.Credentials // signs tasks' temporary credentials

	mu        sync.Mutex
	changed   chan struct{} // closed, and replaced, whenever anything changes
	url       string
	down      bool
	downCalls []string // which of them; none is all
	tasks     map[string]*queueTask
	order     []string // task IDs, the oldest first
	hooks     map[string]json.RawMessage
	roles     map[string][]string
	uploads   map[string]*queueArtifact // by the token in their putUrl
	made      []string                  // calls, as "queue.claimWork"
	open      int                       // claimWork calls that wait for work
	notices   []TaskclusterNotice
	workers   map[string]*queueWorkerState // by "provisioner/type/group/id"
	tokens    []string                     // access tokens given to tasks
	mistaken  []string
	listening *http.Server

	noticeStatus map[string]int // what a kind of notices is answered with, in place of 200
}

// NewTaskcluster returns a deployment with these clients and no tasks.
func NewTaskcluster(clients ...Client) (*Taskcluster, error) {
	calls, err := readCalls()
	if err != nil {
		return nil, err
	}
	issuer := Client{ID: "static/taskcluster/queue", AccessToken: slugid.V4() + slugid.V4(), Scopes: []string{"*"}}
	return &Taskcluster{
		ClaimLife: claimLife, ClaimPoll: claimPoll, Auth: NewAuth(append(clients, issuer)...), calls: calls,
		issuer:  tcclient.Credentials{ClientID: issuer.ID, AccessToken: issuer.AccessToken},
		changed: make(chan struct{}), tasks: map[string]*queueTask{}, hooks: map[string]json.RawMessage{},
		roles: map[string][]string{}, workers: map[string]*queueWorkerState{}, noticeStatus: map[string]int{}, uploads: map[string]*queueArtifact{},
	}, nil
}

// Start serves on a free loopback port and returns the deployment's root URL.
func (t *Taskcluster) Start(ctx context.Context) (rootURL string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("taskcluster stand-in: %w", err)
	}
	t.url = "http://" + listener.Addr().String()
	t.listening = &http.Server{Handler: t, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = t.listening.Serve(listener) }() // returns when Close is called, with nothing else to say
	return t.url, nil
}

// Close stops what Start began, open connections included.
func (t *Taskcluster) Close() error {
	if t.listening == nil {
		return nil
	}
	return t.listening.Close()
}

// SetDown makes queue and hooks answer 503 from now on, or work again; auth goes on.
// Where calls are named, like "queue.status", it is of these only.
func (t *Taskcluster) SetDown(down bool, calls ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down, t.downCalls = down, calls
}

// isDown reports whether a call is answered by nothing but 503. The lock is held.
func (t *Taskcluster) isDown(call string) bool {
	return t.down && (len(t.downCalls) == 0 || slices.Contains(t.downCalls, call))
}

// Mistakes returns what was asked outside the documented schemas so far.
func (t *Taskcluster) Mistakes() []string {
	auth := t.Auth.Mistakes()
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(auth, t.mistaken...)
}

// Calls returns how often a call, like "queue.reclaimTask", was made.
func (t *Taskcluster) Calls(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(t.made), func(c string) bool { return c != name }))
}

// Waiting returns how many claimWork calls wait for work now: one of a killed process
// may for a moment yet, and gets what comes.
func (t *Taskcluster) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// TaskTokens returns every access token that was given to a task: secrets.
func (t *Taskcluster) TaskTokens() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.tokens)
}

// SetRole gives a role, like "hook-id:project-relops/roller-ping", its scopes.
func (t *Taskcluster) SetRole(role string, scopes ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roles[role] = scopes
}

// ServeHTTP implements http.Handler.
func (t *Taskcluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/auth/"):
		t.Auth.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, putPath):
		t.upload(w, r)
	default:
		t.api(w, r)
	}
}

func (t *Taskcluster) mistake(format string, args ...any) {
	t.mistaken = append(t.mistaken, fmt.Sprintf(format, args...))
}

// ring wakes whoever waits for a change. The lock is held.
func (t *Taskcluster) ring() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Wait returns when the condition holds, which is looked at again whenever a call
// was made, or with the context's error.
func (t *Taskcluster) Wait(ctx context.Context, condition func() bool) error {
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(time.Second): // a claim or a deadline may be over
		case <-ctx.Done():
			return fmt.Errorf("taskcluster stand-in: waiting for a condition: %w", ctx.Err())
		}
	}
}
