package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// BugzillaMode says where the stand-in looks for the API key.
type BugzillaMode string

// The modes. Without a key that it sees, Bugzilla takes a reader for anybody
// and refuses to write.
const (
	BugzillaUpstream BugzillaMode = "upstream" // Bugzilla 5.2: in the query or the JSON body, never in a header; no whoami
	BugzillaBMO      BugzillaMode = "bmo"      // bugzilla.mozilla.org: in X-BUGZILLA-API-KEY (here only there); whoami
)

// BugzillaFaults is what is wrong with the stand-in.
type BugzillaFaults struct {
	HTML       bool          `json:"html,omitempty"`        // a page with status 200 in the place of every answer
	Down       bool          `json:"down,omitempty"`        // a page with status 500, as under concurrency
	Redirect   int           `json:"redirect,omitempty"`    // this status, to the same path on another host
	Slow       time.Duration `json:"slow,omitempty"`        // before every answer, after acting
	LoseWrites int           `json:"lose_writes,omitempty"` // so many writes more are carried out and not answered
	FailWrites int           `json:"fail_writes,omitempty"` // so many writes more are carried out and answered 500
	Strangers  []string      `json:"strangers,omitempty"`   // nobody has these logins
}

// BugzillaBug is a bug as it is stored.
type BugzillaBug struct {
	ID         int            `json:"id"`
	Alias      string         `json:"alias,omitempty"`
	Product    string         `json:"product"`
	Component  string         `json:"component"`
	Version    string         `json:"version"`
	Summary    string         `json:"summary"`
	Status     string         `json:"status"`
	Resolution string         `json:"resolution,omitempty"`
	Blocks     []int          `json:"blocks,omitempty"`
	Comments   []string       `json:"comments"`          // the first is the description
	Private    bool           `json:"private,omitempty"` // seen only with the key
	Fields     map[string]any `json:"fields,omitempty"`  // all that it was created with
}

// Open reports whether the bug's status is an open one.
func (b BugzillaBug) Open() bool { return openStatus[b.Status] }

// openStatus holds every status that is known, and whether it is open.
var openStatus = map[string]bool{
	"UNCONFIRMED": true, "NEW": true, "CONFIRMED": true, "ASSIGNED": true, "IN_PROGRESS": true, "REOPENED": true,
	"RESOLVED": false, "VERIFIED": false, "CLOSED": false,
}

// BugzillaRequest is one request that arrived.
type BugzillaRequest struct {
	Method string   `json:"method"`
	Path   string   `json:"path"`
	KeyIn  []string `json:"key_in,omitempty"` // "header", "query", "body": where a key was, seen or not
}

// Bugzilla stands in for Bugzilla's REST API, as far as filing bugs needs it,
// with the answers and error codes of Bugzilla 5.2.
type Bugzilla struct {
	key    string
	server *http.Server

	mu       sync.Mutex
	mode     BugzillaMode
	faults   BugzillaFaults
	bugs     []*BugzillaBug // bug N is at N-1
	requests []BugzillaRequest
}

// NewBugzilla returns an empty Bugzilla like upstream's, with one account.
func NewBugzilla(apiKey string) *Bugzilla {
	return &Bugzilla{key: apiKey, mode: BugzillaUpstream}
}

// Start serves on a free loopback port and returns what BUGZILLA_URL has to be.
func (b *Bugzilla) Start(ctx context.Context) (baseURL string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("bugzilla stand-in: %w", err)
	}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = b.server.Serve(listener) }() // returns when Close is called, with nothing else to say
	return "http://" + listener.Addr().String(), nil
}

// Close stops what Start began, open connections included.
func (b *Bugzilla) Close() error {
	if b.server == nil {
		return nil
	}
	return b.server.Close()
}

// SetMode says where to look for the key from now on.
func (b *Bugzilla) SetMode(mode BugzillaMode) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mode = mode
}

// SetFaults replaces the faults from now on.
func (b *Bugzilla) SetFaults(f BugzillaFaults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = f
}

// Add stores a bug as it is, with the next number, which it returns.
func (b *Bugzilla) Add(bug BugzillaBug) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.add(bug).ID
}

// Change edits a stored bug, as a person would.
func (b *Bugzilla) Change(id int, edit func(*BugzillaBug)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	edit(b.bugs[id-1])
}

// Bugs returns a copy of every bug, by number.
func (b *Bugzilla) Bugs() []BugzillaBug {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]BugzillaBug, 0, len(b.bugs))
	for _, bug := range b.bugs {
		c := *bug
		c.Blocks, c.Comments, c.Fields = slices.Clone(c.Blocks), slices.Clone(c.Comments), maps.Clone(c.Fields)
		out = append(out, c)
	}
	return out
}

// Requests returns every request that has arrived, answered or not.
func (b *Bugzilla) Requests() []BugzillaRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

func (b *Bugzilla) add(bug BugzillaBug) *BugzillaBug {
	bug.ID = len(b.bugs) + 1
	b.bugs = append(b.bugs, &bug)
	return &bug
}

// ServeHTTP implements http.Handler.
func (b *Bugzilla) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := map[string]any{}
	var mistake error
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		mistake = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion)).Decode(&body)
	}
	faults, answer := b.serve(r, body, mistake)
	if faults.Slow > 0 {
		select {
		case <-r.Context().Done():
		case <-time.After(faults.Slow):
		}
	}
	switch {
	case faults.LoseWrites > 0:
		panic(http.ErrAbortHandler) // closes the connection without a word
	case faults.Down || faults.FailWrites > 0:
		bugzillaReplyPage(w, http.StatusInternalServerError, "Software error")
	case faults.HTML:
		bugzillaReplyPage(w, http.StatusOK, "Down for maintenance")
	case faults.Redirect > 0:
		// The query goes along, as with most servers: whoever prints it prints a key.
		http.Redirect(w, r, "http://127.0.0.2:1"+r.URL.RequestURI(), faults.Redirect)
	case answer.page != "":
		bugzillaReplyPage(w, answer.status, answer.page)
	default:
		replyJSON(w, answer.status, answer.body)
	}
}

// serve acts and returns the faults that this request meets. A fault that is
// no lost write keeps Bugzilla from acting.
func (b *Bugzilla) serve(r *http.Request, body map[string]any, mistake error) (BugzillaFaults, bugzillaAnswer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, BugzillaRequest{Method: r.Method, Path: r.URL.Path, KeyIn: b.keyIn(r, body)})
	met := b.faults
	if r.Method == http.MethodGet {
		met.LoseWrites, met.FailWrites = 0, 0
	}
	b.faults.LoseWrites = max(0, b.faults.LoseWrites-min(1, met.LoseWrites))
	b.faults.FailWrites = max(0, b.faults.FailWrites-min(1, met.FailWrites))
	switch {
	case met.Down || met.HTML || met.Redirect > 0:
		return met, bugzillaAnswer{}
	case mistake != nil:
		return met, bugzillaRefuse(http.StatusBadRequest, 32000, "the body is not a JSON object")
	}
	return met, b.route(r, body)
}
