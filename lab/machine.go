package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Ports, below Linux's ephemeral range (32768 and up), so that the port of a
// machine that is down is never a stranger's and never connects to itself.
const (
	SSHPort = 2022 // TCP
	BMCPort = 6623 // UDP
	PDUPort = 1161 // UDP
	WebPort = 8443 // TCP, of the iLO and the chassis manager
)

// Accounts, the same on every device of a kind.
const (
	SSHUser        = "roller"
	BMCUser        = "admin"  // ADMINISTRATOR
	BMCOperator    = "oper"   // OPERATOR: may control power
	BMCReader      = "reader" // USER: may read only
	BMCPassword    = "s3cret-bmc"
	BMCKey         = "s3cret-kg"
	CommunityWrite = "s3cret-rw" // SNMP, read and write
	CommunityRead  = "s3cret-ro" // SNMP, read only
)

// State is a machine as it is, not as anybody believes it to be.
type State struct {
	Power  bool   `json:"power"`   // it has power and is switched on
	Outlet bool   `json:"outlet"`  // an outlet of its has power; true without one
	Up     bool   `json:"up"`      // answers probes
	SSH    bool   `json:"ssh"`     // shows an SSH banner
	BootID string `json:"boot_id"` // of this boot or, while it is down, of the last one
	Boots  int    `json:"boots"`   // boots since the lab started, the first included

	Netboot   bool `json:"netboot,omitempty"`   // the next boot is from the network
	Installed int  `json:"installed,omitempty"` // how often it was installed anew
}

// Machine is one simulated machine with its BMC. Its power states are in
// power.go and boot.go, its sshd in sshd.go.
type Machine struct {
	spec   Spec
	timing Timing
	lab    *Lab
	addr   string
	outlet *outlet // nil without one
	second *outlet // nil without one
	bmc    *board  // nil without one
	web    *web    // nil without an iLO and a chassis manager
	host   hostKeys

	mu       sync.Mutex
	faults   Faults
	rand     *rand.Rand // of lost replies
	switched bool       // on at its own switch, the one a BMC presses
	feeds    int        // how many of its outlets have power; 1 without one
	stopping bool       // its operating system is shutting down
	os       *life      // nil while no operating system answers
	bootID   string
	boots    int
	netboot  bool // the next boot is from the network, for once
	fromNet  bool // this boot is
	installs int
	timer    *time.Timer // what is to happen next
	gen      int         // whose timer it is: a newer event overtakes an older one's
	closed   bool
}

func newMachine(l *Lab, spec Spec, addr string, seed uint64) (*Machine, error) {
	keys, err := newHostKeys()
	if err != nil {
		return nil, err
	}
	return &Machine{
		spec: spec, timing: spec.Timing.withDefaults(), lab: l, addr: addr, host: keys,
		faults: spec.Faults, rand: rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // reproducible on purpose
	}, nil
}

// start powers the machine on, with no boot time, and its BMC.
func (m *Machine) start() error {
	if !m.spec.NoBMC {
		b, err := startBoard(m)
		if err != nil {
			return err
		}
		m.bmc = b
	}
	if m.spec.ILO || m.spec.Moonshot {
		w, err := startWeb(m)
		if err != nil {
			return err
		}
		m.web = w
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.feeds, m.switched = 1, true
	if m.outlet != nil && m.second != nil {
		m.feeds = 2
	}
	m.edge(EdgePowerOn)
	if err := m.comeUp(); err != nil {
		return err
	}
	if !m.os.hung {
		m.serveBanner()
	}
	return nil
}

func (m *Machine) stop() error {
	m.mu.Lock()
	m.cancel()
	m.closed = true
	m.goDown(hardStop)
	m.mu.Unlock()
	var errs []error
	if m.web != nil {
		errs = append(errs, m.web.stop())
	}
	if m.bmc != nil {
		errs = append(errs, m.bmc.stop())
	}
	return errors.Join(errs...)
}

// Spec returns what the machine was started from.
func (m *Machine) Spec() Spec { return m.spec }

// FQDN returns its full host name.
func (m *Machine) FQDN() string { return m.spec.FQDN() }

// Addr returns its loopback address, where SSHPort and BMCPort are served.
func (m *Machine) Addr() string { return m.addr }

// Outlet returns the outlet that feeds it ("pdu1.mdc1.example:AA1"), or "".
func (m *Machine) Outlet() string {
	if m.outlet == nil {
		return ""
	}
	return fmt.Sprintf("%s:%s", m.outlet.pdu.host, m.outlet.name())
}

// PDUAddr returns the loopback address of that outlet's PDU, or "".
func (m *Machine) PDUAddr() string {
	if m.outlet == nil {
		return ""
	}
	return m.outlet.pdu.addr
}

// HostKey returns the public key its sshd shows unless Faults.WrongHostKey; a
// machine that is installed anew has another one.
func (m *Machine) HostKey() ssh.PublicKey { return m.hostKeys().right.PublicKey() }

func (m *Machine) hostKeys() hostKeys {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.host
}

// State returns what the machine is now.
func (m *Machine) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	up := m.os != nil && !m.os.hung
	return State{
		Power: m.powered(), Outlet: m.feeds > 0, Up: up, SSH: up && m.os.banner,
		BootID: m.bootID, Boots: m.boots, Netboot: m.netboot, Installed: m.installs,
	}
}

// Faults returns the faults set now.
func (m *Machine) Faults() Faults {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults
}

// SetFaults replaces the faults from now on.
func (m *Machine) SetFaults(f Faults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
	if m.os != nil && f.Hung != m.os.hung {
		m.setHung(f.Hung)
	}
	m.lab.journal.ring()
}

// losesReply draws whether one reply of the machine's BMC or PDU gets lost.
func (m *Machine) losesReply() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults.LoseReplies > 0 && m.rand.Float64() < m.faults.LoseReplies
}

func (m *Machine) edge(event string) {
	e := Edge{Machine: m.FQDN(), Event: event}
	if m.os != nil {
		e.BootID = m.bootID
	}
	m.lab.journal.edge(e)
}
