package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// maxBody is far more than any Faults needs.
const maxBody = 1 << 16

// View is a machine as the control API shows it.
type View struct {
	WorkerID    string `json:"worker_id"`
	WorkerGroup string `json:"worker_group"`
	FQDN        string `json:"fqdn"`
	SSH         string `json:"ssh"`              // address and port, also of the probe
	BMC         string `json:"bmc,omitempty"`    // address and port
	PDU         string `json:"pdu,omitempty"`    // address and port
	Web         string `json:"web,omitempty"`    // address and port of iLO and chassis manager
	Outlet      string `json:"outlet,omitempty"` // "pdu1.mdc1.example:AA1"
	State       State  `json:"state"`
	Faults      Faults `json:"faults"`
}

// View returns the machine as the control API shows it.
func (m *Machine) View() View {
	v := View{
		WorkerID: m.spec.WorkerID, WorkerGroup: m.spec.WorkerGroup, FQDN: m.FQDN(),
		SSH: hostPort(m.addr, SSHPort), Outlet: m.Outlet(), State: m.State(), Faults: m.Faults(),
	}
	if m.bmc != nil {
		v.BMC = hostPort(m.addr, BMCPort)
	}
	if m.web != nil {
		v.Web = hostPort(m.addr, WebPort)
	}
	if m.outlet != nil {
		v.PDU = hostPort(m.PDUAddr(), PDUPort)
	}
	return v
}

// Handler returns the control API: GET /machines, GET /machines/{id}, GET /log
// and GET /edges (both with ?machine=), and POST /machines/{id}/faults, which
// replaces the machine's faults.
func (l *Lab) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /machines", l.serveMachines)
	mux.HandleFunc("GET /machines/{id}", l.withMachine(func(w http.ResponseWriter, _ *http.Request, m *Machine) {
		writeReply(w, m.View())
	}))
	mux.HandleFunc("POST /machines/{id}/faults", l.withMachine(serveFaults))
	mux.HandleFunc("GET /log", l.serveLog)
	mux.HandleFunc("GET /edges", l.serveEdges)
	return mux
}

func (l *Lab) serveMachines(w http.ResponseWriter, _ *http.Request) {
	views := []View{}
	for _, m := range l.machines {
		views = append(views, m.View())
	}
	writeReply(w, views)
}

func (l *Lab) withMachine(serve func(http.ResponseWriter, *http.Request, *Machine)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m := l.Machine(r.PathValue("id"))
		if m == nil {
			http.Error(w, "no such machine", http.StatusNotFound)
			return
		}
		serve(w, r, m)
	}
}

func serveFaults(w http.ResponseWriter, r *http.Request, m *Machine) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var f Faults
	if err := json.Unmarshal(data, &f); err != nil {
		http.Error(w, fmt.Sprintf("bad faults: %v", err), http.StatusBadRequest)
		return
	}
	m.SetFaults(f)
	writeReply(w, m.View())
}

func (l *Lab) serveLog(w http.ResponseWriter, r *http.Request) {
	writeReply(w, append([]Entry{}, l.Entries(r.URL.Query().Get("machine"), nil)...))
}

func (l *Lab) serveEdges(w http.ResponseWriter, r *http.Request) {
	writeReply(w, append([]Edge{}, l.edgesOf(r.URL.Query().Get("machine"))...))
}

func writeReply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}
