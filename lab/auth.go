package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The calls of Taskcluster's auth service that the stand-in has.
const (
	authPath     = "/api/auth/v1/authenticate-hawk"
	authPingPath = "/api/auth/v1/ping"
)

// maxQuestion bounds the body of a question, in bytes: the largest part is an
// Authorization header, which HTTP servers cut near 64 KiB.
const maxQuestion = 128 << 10

// credentialsLife is what is left of the clients' validity: they never expire
// here, but every answer has to name a time.
const credentialsLife = 24 * time.Hour

// Client is a Taskcluster client that the stand-in knows. Its scopes are as if
// all its roles were expanded.
type Client struct {
	ID          string
	AccessToken string
	Scopes      []string
}

// AuthFault is a way in which the stand-in fails.
type AuthFault string

// The faults. The answers that are no answers repeat the question, as error
// pages of real services do, so that a test sees who prints them.
const (
	AuthWorks       AuthFault = ""
	AuthUnavailable AuthFault = "unavailable" // 500
	AuthSlow        AuthFault = "slow"        // nothing, until the caller goes
	AuthGarbage     AuthFault = "garbage"     // 200, but HTML
)

// Auth stands in for Taskcluster's auth service: it answers authenticateHawk
// as the service does, with the signature checked for real, of plain and of
// temporary credentials, with and without authorizedScopes.
type Auth struct {
	Now func() time.Time // the service's clock, time.Now unless set before the first question

	clients  map[string]Client
	mu       sync.Mutex
	fault    AuthFault
	asked    int
	pinged   int
	mistaken []string
	began    time.Time
	server   *http.Server
}

// NewAuth returns a stand-in that knows these clients.
func NewAuth(clients ...Client) *Auth {
	a := &Auth{Now: time.Now, began: time.Now(), clients: map[string]Client{}}
	for _, c := range clients {
		a.clients[c.ID] = c
	}
	return a
}

// Start serves on a free loopback port and returns the root URL of the
// deployment that the stand-in plays.
func (a *Auth) Start(ctx context.Context) (rootURL string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("auth stand-in: %w", err)
	}
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = a.server.Serve(listener) }() // returns when Close is called, with nothing else to say
	return "http://" + listener.Addr().String(), nil
}

// Close stops what Start began, open connections included.
func (a *Auth) Close() error {
	if a.server == nil {
		return nil
	}
	return a.server.Close()
}

// SetFault makes the stand-in fail from now on, or work again.
func (a *Auth) SetFault(f AuthFault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// Asked returns how many questions have arrived, answered or not.
func (a *Auth) Asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// Pinged returns how often somebody asked whether the service is there.
func (a *Auth) Pinged() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pinged
}

// ServeHTTP implements http.Handler.
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == authPingPath && r.Method == http.MethodGet {
		a.ping(w, r)
		return
	}
	if r.URL.Path != authPath || r.Method != http.MethodPost {
		a.mistake("no such call: " + r.Method + " " + r.URL.Path)
		replyError(w, http.StatusNotFound, "ResourceNotFound", "no such call", nil)
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err != nil || !json.Valid(raw) {
		raw = json.RawMessage("null") // which the schema refuses
	}
	if a.fail(w, r, raw) {
		return
	}
	q, mistakes := check(raw)
	if mistakes != "" {
		a.mistake("auth.authenticateHawk: " + mistakes)
		replyError(w, http.StatusBadRequest, "InputValidationError",
			"Schema Validation Failed!\nErrors:\n"+mistakes, raw)
		return
	}
	verdict, err := a.answer(q)
	if err != nil {
		a.mistake("auth.authenticateHawk: " + err.Error())
		replyError(w, http.StatusInternalServerError, "InternalServerError", err.Error(), nil)
		return
	}
	replyJSON(w, http.StatusOK, verdict)
}

func (a *Auth) mistake(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mistaken = append(a.mistaken, text)
}

// Mistakes returns what was asked outside the documented schema so far.
func (a *Auth) Mistakes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.mistaken)
}

// ping answers as every Taskcluster service does.
func (a *Auth) ping(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.pinged++
	fault := a.fault
	a.mu.Unlock()
	if !a.play(fault, w, r, nil) {
		replyJSON(w, http.StatusOK, map[string]any{"alive": true, "uptime": time.Since(a.began).Seconds()})
	}
}

// fail counts the question and plays the fault, if one is set.
func (a *Auth) fail(w http.ResponseWriter, r *http.Request, raw json.RawMessage) bool {
	a.mu.Lock()
	a.asked++
	fault := a.fault
	a.mu.Unlock()
	return a.play(fault, w, r, raw)
}

func (a *Auth) play(fault AuthFault, w http.ResponseWriter, r *http.Request, raw json.RawMessage) bool {
	switch fault {
	case AuthUnavailable:
		replyError(w, http.StatusInternalServerError, "InternalServerError", "Internal Server Error", raw)
	case AuthGarbage:
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprintf(w, "<h1>gateway</h1>\n%s\n", raw)
	case AuthSlow:
		<-r.Context().Done()
	case AuthWorks:
		return false
	}
	return true
}

// replyError has the shape of Taskcluster's errors, which repeat the payload
// and with it the Authorization header that was asked about.
func replyError(w http.ResponseWriter, status int, code, message string, payload json.RawMessage) {
	replyJSON(w, status, map[string]any{
		"code":    code,
		"message": message,
		"requestInfo": map[string]any{
			"method": "authenticateHawk", "params": map[string]string{}, "payload": payload,
			"time": time.Now().UTC().Format(time.RFC3339Nano),
		},
	})
}

func replyJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only when the caller has gone
}
