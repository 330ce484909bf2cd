package lab

import (
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Kinds of device, in Entry.Device.
const (
	DeviceSSH = "ssh"
	DeviceBMC = "bmc"
	DevicePDU = "pdu"

	DeviceILO      = "ilo"
	DeviceMoonshot = "moonshot"
)

// Entry is one command that a device received, or one datagram's worth of it:
// a retransmission that was carried out twice is two entries.
type Entry struct {
	Seq      int       `json:"seq"`      // order of arrival in this lab, shared with Edges
	At       time.Time `json:"at"`       // when the command arrived
	End      time.Time `json:"end"`      // when the device had dealt with it, before the reply
	Device   string    `json:"device"`   // one of the Device constants
	Host     string    `json:"host"`     // the device: the PDU's name, else the machine's
	Machine  string    `json:"machine"`  // FQDN
	Command  string    `json:"command"`  // "reboot", "chassis power reset", "set AA1 off", "get AA1 status"
	Control  bool      `json:"control"`  // meant to change power
	Executed bool      `json:"executed"` // carried out; false with a fault that ignores it, or when refused
	From     string    `json:"from"`     // the sender's address
}

// Edge is one change of a machine's state, as the machine itself knows it.
type Edge struct {
	Seq     int       `json:"seq"` // shared with Log
	At      time.Time `json:"at"`
	Machine string    `json:"machine"` // FQDN
	Event   string    `json:"event"`   // one of the Edge constants
	BootID  string    `json:"boot_id,omitempty"`
}

// What an Edge can be.
const (
	EdgePowerOn  = "power on"
	EdgePowerOff = "power off"
	EdgeUp       = "up"      // answers probes
	EdgeSSH      = "ssh"     // shows an SSH banner
	EdgeDown     = "down"    // answers nothing
	EdgeRestart  = "restart" // restarted too fast to be seen down
	EdgeHung     = "hung"    // answers nothing, keeps its power and its connections
)

// Moment is a point in a command's course at which its device can be held.
type Moment string

// The moments, in order.
const (
	Arrived Moment = "arrived" // it is in the log, and nothing has been done
	Acted   Moment = "acted"   // it has been carried out, or not; the reply has not been sent
)

// During is called at each moment of each command, by the device itself, which
// goes on when it returns: what happens meanwhile happens in mid-command.
type During func(Moment, Entry)

// journal is everything that happened, and the bell that rings when more did.
type journal struct {
	log    *slog.Logger
	during During

	mu      sync.Mutex
	seq     int
	entries []Entry
	edges   []Edge
	bell    chan struct{} // closed at the next change
}

func newJournal(log *slog.Logger, during During) *journal {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if during == nil {
		during = func(Moment, Entry) {}
	}
	return &journal{log: log, during: during, bell: make(chan struct{})}
}

// begin records a command at its arrival. The returned function records its
// end, and must be called before the reply is sent: whoever has the reply must
// find the command in the log.
func (j *journal) begin(e Entry) (end func(executed bool)) {
	at := j.arrive(&e)
	j.during(Arrived, e)
	return func(executed bool) {
		e.Executed = executed
		j.during(Acted, e)
		j.finish(at, &e)
		j.log.Info("command", "device", e.Device, "host", e.Host, "machine", e.Machine,
			"command", e.Command, "executed", executed, "from", e.From)
	}
}

// arrive adds an entry and returns its index.
func (j *journal) arrive(e *Entry) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq, e.At = j.seq, time.Now()
	j.entries = append(j.entries, *e)
	j.ringLocked()
	return len(j.entries) - 1
}

func (j *journal) finish(at int, e *Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.End = time.Now()
	j.entries[at] = *e
	j.ringLocked()
}

func (j *journal) edge(e Edge) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq, e.At = j.seq, time.Now()
	j.edges = append(j.edges, e)
	j.ringLocked()
	j.log.Info("edge", "machine", e.Machine, "event", e.Event, "boot_id", e.BootID)
}

func (j *journal) ring() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ringLocked()
}

func (j *journal) ringLocked() {
	close(j.bell)
	j.bell = make(chan struct{})
}

func (j *journal) nextRing() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bell
}

func (j *journal) snapshot() ([]Entry, []Edge) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries), slices.Clone(j.edges)
}
