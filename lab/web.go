package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// WebFaults is what is wrong with a machine's iLO and chassis manager, beside
// what Faults says of every device.
type WebFaults struct {
	NoSessions   bool          `json:"no_sessions,omitempty"`   // there is no SessionService: Basic only
	Offers       string        `json:"offers,omitempty"`        // the only reset types that are offered, with commas; "": the usual ones
	BootSource   string        `json:"boot_source,omitempty"`   // the only boot source that is offered; "": the usual ones
	Info         bool          `json:"info,omitempty"`          // what is offered stands in the ActionInfo
	Busy         bool          `json:"busy,omitempty"`          // commands are answered 409
	Already      bool          `json:"already,omitempty"`       // commands are answered 400, "already in that state"
	Status       int           `json:"status,omitempty"`        // commands are answered with this status
	StaleFor     time.Duration `json:"stale_for,omitempty"`     // PowerState is read anew only after so long
	GarbageReads bool          `json:"garbage_reads,omitempty"` // questions are answered with what is no JSON
	GarbageReply bool          `json:"garbage_reply,omitempty"` // commands are carried out and answered with what is no HTTP
	SlowReads    bool          `json:"slow_reads,omitempty"`    // questions are not answered at all
}

// web is the HTTPS server of a machine's iLO and chassis manager, which have
// power of their own.
type web struct {
	m      *Machine
	slot   string // the machine's, in its chassis
	door   *web   // whose server it is: another one's, for a node of a chassis that has a manager already
	mux    *http.ServeMux
	nodes  int // of the chassis, at its door
	server *http.Server
	pin    config.Fingerprint
	closed context.CancelFunc
	ctx    context.Context

	mu       sync.Mutex
	sessions map[string]bool // tokens
	opened   int
	refused  int    // logins
	read     string // the PowerState as last read
	readAt   time.Time
}

func startWeb(m *Machine) (*web, error) {
	if door := m.lab.chassis[m.spec.Chassis]; door != nil {
		return door.join(m), nil
	}
	cert, err := selfSigned(m.addr)
	if err != nil {
		return nil, err
	}
	var listen net.ListenConfig
	ln, err := listen.Listen(context.Background(), "tcp4", hostPort(m.addr, WebPort))
	if err != nil {
		return nil, err
	}
	w := &web{m: m, slot: MoonshotNode, nodes: 1, pin: config.FingerprintOf(cert.Certificate[0]), sessions: map[string]bool{}}
	w.door = w
	if m.spec.Chassis != "" {
		m.lab.chassis[m.spec.Chassis] = w
	}
	w.ctx, w.closed = context.WithCancel(context.Background())
	w.server = &http.Server{
		Handler: w.handler(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:  log.New(io.Discard, "", 0), // of handshakes that a client ends
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	m.lab.running.Go(func() { _ = w.server.ServeTLS(ln, "", "") }) // ends by stop
	return w, nil
}

// join adds a machine to a chassis that has its manager.
func (w *web) join(m *Machine) *web {
	w.nodes++
	n := &web{m: m, slot: fmt.Sprintf("c%dn1", w.nodes), door: w, pin: w.pin, sessions: map[string]bool{}, ctx: w.ctx, closed: func() {}}
	w.mux.Handle("/rest/v1/Systems/"+n.slot, n.handler())
	return n
}

func (w *web) stop() error {
	w.closed()
	if w.door != w {
		return nil
	}
	return w.server.Close()
}

func (w *web) handler() http.Handler {
	mux := http.NewServeMux()
	w.mux = mux
	if w.m.spec.ILO {
		w.redfish(mux)
	}
	if w.m.spec.Moonshot {
		mux.HandleFunc("POST /rest/v1/Systems/"+w.slot, w.coldReset)
		mux.HandleFunc("GET /rest/v1/Systems/"+w.slot, w.node)
	}
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		f := w.m.Faults()
		switch {
		case f.DeadBMC, r.Method == http.MethodGet && f.Web.SlowReads:
			select {
			case <-r.Context().Done():
			case <-w.ctx.Done():
			}
		case r.Method == http.MethodGet && f.Web.GarbageReads:
			_, _ = io.WriteString(out, "\x00\xff<html>{{")
		default:
			mux.ServeHTTP(out, r)
		}
	})
}

// login checks Basic authentication (RFC 7617).
func login(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	return ok && user == BMCUser && password == BMCPassword
}

// command is the course of every command: log, obey the faults, act, answer. do
// says whether it could be carried out.
func (w *web) command(out http.ResponseWriter, r *http.Request, e Entry, do func() bool) {
	f := w.m.Faults()
	e.Host, e.Machine, e.Control, e.From = w.door.m.FQDN(), w.m.FQDN(), true, r.RemoteAddr
	end := w.m.lab.journal.begin(e)
	switch {
	case f.LoseCommand:
		end(false)
		hangUp(out, "")
	case f.Web.Busy:
		end(false)
		redfishError(out, http.StatusConflict, "Base.1.8.ResourceInUse", "The resource is in use.")
	case f.Web.Already:
		end(false)
		redfishError(out, http.StatusBadRequest, "Base.1.8.ActionNotPossible", "The system is already in that state.")
	case f.Web.Status != 0:
		end(false)
		out.Header().Set("Location", r.URL.Path) // of a redirect
		redfishError(out, f.Web.Status, "Base.1.8.GeneralError", "An error, with the password "+BMCPassword)
	default:
		done := do()
		end(done)
		w.reply(out, f, done)
	}
}

func (w *web) reply(out http.ResponseWriter, f Faults, done bool) {
	switch {
	case f.LoseCommandReply:
		hangUp(out, "")
	case f.Web.GarbageReply:
		hangUp(out, "\x00\x01garbage\r\n\r\n")
	case !done:
		redfishError(out, http.StatusBadRequest, "iLO.2.14.InvalidOperationForSystemState", "The operation was not successful due to the current power state.")
	default:
		redfishError(out, http.StatusOK, "Base.1.8.Success", "")
	}
}

// hangUp writes bytes and ends the connection.
func hangUp(out http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(out).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

func selfSigned(addr string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("web key: %w", err)
	}
	ip := netip.MustParseAddr(addr)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{ip.AsSlice()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, errors.Join(errors.New("web certificate"), err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Certificate returns the certificate of the machine's iLO and chassis manager
// (DER); nil without one.
func (m *Machine) Certificate() []byte {
	if m.web == nil {
		return nil
	}
	return m.web.door.server.TLSConfig.Certificates[0].Certificate[0]
}

// Sessions returns how many sessions of the machine's iLO are open, and how many
// were ever opened.
func (m *Machine) Sessions() (open, ever int) {
	m.web.mu.Lock()
	defer m.web.mu.Unlock()
	return len(m.web.sessions), m.web.opened
}

// RefusedLogins returns how often the machine's iLO was given a wrong account.
func (m *Machine) RefusedLogins() int {
	if m.web == nil {
		return 0
	}
	m.web.mu.Lock()
	defer m.web.mu.Unlock()
	return m.web.refused
}
