package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// QueueMode is how old the Taskcluster is whose queue is played.
type QueueMode string

// The modes, by what became of worker actions.
const (
	QueueStores QueueMode = "stores" // to v38: declareProvisioner stores actions
	QueueStub   QueueMode = "stub"   // v39 to v106: it accepts them and stores nothing; a provisioner without workers is not known
	QueueGone   QueueMode = "gone"   // the next major: neither call is there
	QueueDown   QueueMode = "down"   // 500
	QueueTalks  QueueMode = "talks"  // 200, but HTML
)

const queueProvisioners = "/api/queue/v1/provisioners/"

// Queue stands in for Taskcluster's queue service, as far as worker actions
// need it: getProvisioner and declareProvisioner, with signatures and scopes
// checked as the service does. It plays the behaviours of the service's own
// source (services/queue/src/api.js before and after v39).
type Queue struct {
	auth   *Auth
	server *http.Server

	mu     sync.Mutex
	mode   QueueMode
	stored map[string]map[string]any // by provisioner
}

// NewQueue returns a queue that knows the clients of auth.
func NewQueue(auth *Auth, mode QueueMode) *Queue {
	return &Queue{auth: auth, mode: mode, stored: map[string]map[string]any{}}
}

// Start serves on a free loopback port and returns the root URL of the
// deployment that the stand-in plays.
func (q *Queue) Start(ctx context.Context) (rootURL string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("queue stand-in: %w", err)
	}
	q.server = &http.Server{Handler: q, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = q.server.Serve(listener) }() // returns when Close is called, with nothing else to say
	return "http://" + listener.Addr().String(), nil
}

// Close stops what Start began.
func (q *Queue) Close() error { return q.server.Close() }

// Declare stores properties of a provisioner as another client of the service
// would have.
func (q *Queue) Declare(provisioner string, properties map[string]any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.declare(provisioner, properties)
}

// Provisioner returns what is stored of a provisioner, nil if it is not known.
func (q *Queue) Provisioner(id string) map[string]any {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.stored[id])
}

// ServeHTTP implements http.Handler.
func (q *Queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	id, found := strings.CutPrefix(r.URL.Path, queueProvisioners)
	switch {
	case q.mode == QueueDown:
		replyError(w, http.StatusInternalServerError, "InternalServerError", "Internal Server Error", nil)
	case q.mode == QueueTalks:
		_, _ = fmt.Fprintln(w, "<h1>gateway</h1>")
	case !found || q.mode == QueueGone:
		http.Error(w, "Cannot "+r.Method+" "+r.URL.Path, http.StatusNotFound) // the web framework's, and no error of Taskcluster's form
	case r.Method == http.MethodPut:
		q.put(w, r, id)
	default:
		if q.may(w, r, "queue:get-provisioner:"+id) {
			q.reply(w, id)
		}
	}
}

func (q *Queue) put(w http.ResponseWriter, r *http.Request, id string) {
	properties := map[string]any{}
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion)).Decode(&properties) != nil {
		replyError(w, http.StatusBadRequest, "InputValidationError", "Schema Validation Failed!", nil)
		return
	}
	var scopes []string
	for _, property := range slices.Sorted(maps.Keys(properties)) {
		scopes = append(scopes, "queue:declare-provisioner:"+id+"#"+property)
	}
	if !q.may(w, r, scopes...) {
		return
	}
	if q.mode == QueueStores {
		q.declare(id, properties)
	}
	q.reply(w, id)
}

func (q *Queue) declare(id string, properties map[string]any) {
	if q.stored[id] == nil {
		q.stored[id] = map[string]any{
			"provisionerId": id, "actions": []any{}, "description": "", "stability": "experimental",
			"expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "lastDateActive": time.Now().UTC().Format(time.RFC3339),
		}
	}
	maps.Copy(q.stored[id], properties)
}

func (q *Queue) reply(w http.ResponseWriter, id string) {
	p := q.stored[id]
	if p == nil {
		replyError(w, http.StatusNotFound, "ResourceNotFound", "Provisioner `"+id+"` not found. Are you sure it was created?", nil)
		return
	}
	replyJSON(w, http.StatusOK, p)
}

// may checks who signed the request and that they hold every scope.
func (q *Queue) may(w http.ResponseWriter, r *http.Request, scopes ...string) bool {
	method, resource := strings.ToLower(r.Method), r.URL.RequestURI()
	host, port := (&url.URL{Host: r.Host}).Hostname(), (&url.URL{Host: r.Host}).Port()
	n, _ := strconv.Atoi(port) // the port of the listener, which is always there
	_, held, err := q.auth.login(question{Method: &method, Resource: &resource, Host: &host, Port: &n, Authorization: r.Header.Get("Authorization")})
	if err != nil {
		replyError(w, http.StatusUnauthorized, "AuthenticationFailed", err.Error(), nil)
		return false
	}
	for _, scope := range scopes {
		if !holds(held, scope) {
			replyError(w, http.StatusForbidden, "InsufficientScopes", "missing "+scope, nil)
			return false
		}
	}
	return true
}
