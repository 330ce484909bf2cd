package lab

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
)

// The pool's account.
const (
	XenUser     = "roller"
	XenPassword = "s3cret-xen"
)

// XAPIFaults is what is wrong with the pool itself.
type XAPIFaults struct {
	Slave        bool   // /jsonrpc of a member: every login is answered HOST_IS_SLAVE
	Master       string // the address it then names
	Garbage      string // this in the place of every answer to this method's calls
	GarbageFor   string
	Refuse       string // this code for RefuseFor
	RefuseFor    string
	DropAfter    string // calls of this method are carried out, and not answered
	NeverAnswers bool   // no request is answered until the client gives up
}

// XAPI stands in for a Xen pool's master: JSON-RPC 2.0 over TLS, written from
// the XenAPI reference, as far as power needs it.
type XAPI struct {
	lab    *Lab
	server *httptest.Server

	mu       sync.Mutex
	faults   XAPIFaults
	sessions map[string]bool
	logins   int
	stopping map[*Machine]chan struct{} // clean shutdowns under way; closed when one is over
}

func startXAPI(l *Lab) *XAPI {
	x := &XAPI{lab: l, sessions: map[string]bool{}, stopping: map[*Machine]chan struct{}{}}
	x.server = httptest.NewUnstartedServer(http.HandlerFunc(x.serve))
	x.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that refuse the certificate
	x.server.StartTLS()
	return x
}

// URL is what XEN_URL says.
func (x *XAPI) URL() string { return x.server.URL }

// SetFaults replaces the faults from now on.
func (x *XAPI) SetFaults(f XAPIFaults) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.faults = f
}

// Sessions returns how many sessions are open, and how many ever were.
func (x *XAPI) Sessions() (open, logins int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.sessions), x.logins
}

// VMUUID is the machine's UUID in the pool.
func (m *Machine) VMUUID() string {
	h := sha256.Sum256([]byte(m.FQDN()))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func vmRef(m *Machine) string { return "OpaqueRef:" + m.VMUUID() }

// rpcError is XAPI's code with its parameters.
type rpcError struct {
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Data    []string `json:"data"`
}

func failure(code string, data ...string) *rpcError {
	return &rpcError{Code: 1, Message: code, Data: append([]string{}, data...)}
}

func (x *XAPI) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) // what is cut off is malformed
	var call struct {
		Method string `json:"method"`
		Params []any  `json:"params"`
		ID     any    `json:"id"`
	}
	if r.URL.Path != "/jsonrpc" || json.Unmarshal(body, &call) != nil || call.ID == nil {
		http.Error(w, "<html><body>Internal Server Error</body></html>", http.StatusInternalServerError)
		return
	}
	x.mu.Lock()
	f := x.faults
	x.mu.Unlock()
	if f.NeverAnswers {
		<-r.Context().Done()
		return
	}
	result, failed := x.answer(r, call.Method, call.Params, f)
	if f.DropAfter == call.Method {
		panic(http.ErrAbortHandler)
	}
	if f.GarbageFor == call.Method && f.Garbage != "" {
		_, _ = io.WriteString(w, f.Garbage)
		return
	}
	reply := map[string]any{"jsonrpc": "2.0", "id": call.ID, "result": result}
	if failed != nil {
		delete(reply, "result")
		reply["error"] = failed
	}
	writeReply(w, reply)
}

func (x *XAPI) answer(r *http.Request, method string, params []any, f XAPIFaults) (any, *rpcError) {
	text := func(i int) string {
		if i >= len(params) {
			return ""
		}
		s, _ := params[i].(string)
		return s
	}
	if f.RefuseFor == method && f.Refuse != "" {
		return nil, failure(f.Refuse)
	}
	if method == "session.login_with_password" {
		return x.login(text(0), text(1), f)
	}
	x.mu.Lock()
	known := x.sessions[text(0)]
	if method == "session.logout" {
		delete(x.sessions, text(0))
	}
	x.mu.Unlock()
	if !known {
		return nil, failure("SESSION_INVALID", text(0))
	}
	if method == "session.logout" {
		return "", nil
	}
	for _, m := range x.lab.machines {
		if m.spec.VM && (text(1) == vmRef(m) || method == "VM.get_by_uuid" && text(1) == m.VMUUID()) {
			return x.vm(r, m, method)
		}
	}
	if method == "VM.get_by_uuid" {
		return nil, failure("UUID_INVALID", "VM", text(1))
	}
	return nil, failure("HANDLE_INVALID", "VM", text(1))
}

func (x *XAPI) login(user, password string, f XAPIFaults) (any, *rpcError) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f.Slave {
		x.faults.Slave = false // the next login is the master's
		return nil, failure("HOST_IS_SLAVE", f.Master)
	}
	if user != XenUser || password != XenPassword {
		return nil, failure("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")
	}
	x.logins++
	session := "OpaqueRef:session-" + strconv.Itoa(x.logins)
	x.sessions[session] = true
	return session, nil
}
