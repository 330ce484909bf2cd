//go:build lab && linux

// Package rig is one machine of the lab as its devices see it: its state on
// disk, held under a lock because the BMC, the PDU, the SSH session and the boot
// are processes of their own, and what each of them does to it.
package rig

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Spec is what never changes about a machine.
type Spec struct {
	ID          string        `json:"id"`
	FQDN        string        `json:"fqdn"`
	Program     string        `json:"program"`      // path of lab/netns/power
	Logs        string        `json:"logs"`         // directory of edges.log and commands.log
	Lab         string        `json:"lab"`          // namespace of the bridge and of all clients
	Space       string        `json:"space"`        // namespace of the machine
	Link        string        `json:"link"`         // bridge side of the machine's cable
	Bridge      string        `json:"bridge"`       // what that is plugged into
	Addr        string        `json:"addr"`         // IPv4
	Outlet      string        `json:"outlet"`       // Sentry3 index: tower.infeed.outlet
	OutletName  string        `json:"outlet_name"`  // "AA1"
	Boot        time.Duration `json:"boot"`         // from power on until the network answers
	SSHDelay    time.Duration `json:"ssh_delay"`    // from then until sshd listens
	Shutdown    time.Duration `json:"shutdown"`     // from an OS's own reboot until it is down
	OutletDelay time.Duration `json:"outlet_delay"` // from an outlet's command until it acts
	OutletOff   time.Duration `json:"outlet_off"`   // how long an outlet's reboot stays off
	NewKernel   bool          `json:"new_kernel"`   // a boot leaves nothing of the old network namespace
}

// Faults are ways in which a machine misbehaves from now on.
type Faults struct {
	IgnoreSSH bool          `json:"ignore_ssh,omitempty"` // takes the command, exits 0, does nothing
	HangSSH   bool          `json:"hang_ssh,omitempty"`   // goes down by SSH and hangs there until a device resets it
	NoReturn  bool          `json:"no_return,omitempty"`  // goes down by anything and never boots
	Boot      time.Duration `json:"boot,omitempty"`       // boots in this time in place of the usual one

	RefuseBoot  bool `json:"refuse_boot,omitempty"`  // its BMC sets no boot device
	IgnoreBoot  bool `json:"ignore_boot,omitempty"`  // its firmware does not heed the one that is set
	RefusePower bool `json:"refuse_power,omitempty"` // its BMC carries out no power command
}

// State is the machine as it is.
type State struct {
	Outlet  bool   `json:"outlet"`  // its outlet has power
	Power   bool   `json:"power"`   // it is switched on; off too while the outlet is
	Wedged  bool   `json:"wedged"`  // has power, does nothing
	Up      bool   `json:"up"`      // its network answers
	SSH     bool   `json:"ssh"`     // sshd has shown its banner
	Gen     int    `json:"gen"`     // counts power actions: what is under way for an older one stops
	BootID  string `json:"boot_id"` // changes with every boot
	Pending int    `json:"pending"` // Sentry3 action the outlet has taken and not done yet; 0 is none
	Taken   int    `json:"taken"`   // counts the outlet's actions: a newer one replaces a pending one
	Faults  Faults `json:"faults"`

	BootDevice string `json:"boot_device,omitempty"` // of the next boot, in ipmi_sim's words: "pxe"; "" is the disk
	Installing bool   `json:"installing,omitempty"`  // this boot is an installer's, from the network
	Installed  int    `json:"installed,omitempty"`   // how often it was installed anew
}

// Rig is one machine.
type Rig struct {
	Spec
	Dir string
}

// Create writes a machine that is switched off with a live outlet.
func Create(dir string, spec Spec) (*Rig, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create machine: %w", err)
	}
	r := &Rig{Spec: spec, Dir: dir}
	if err := writeJSON(r.path("spec.json"), spec); err != nil {
		return nil, err
	}
	return r, writeJSON(r.path("state.json"), State{Outlet: true})
}

// Open reads a machine that Create wrote.
func Open(dir string) (*Rig, error) {
	r := &Rig{Dir: dir}
	return r, readJSON(r.path("spec.json"), &r.Spec)
}

// State returns the state of this moment.
func (r *Rig) State() (State, error) {
	var s State
	return s, readJSON(r.path("state.json"), &s)
}

// Update changes the state while no other process can.
func (r *Rig) Update(change func(*State) error) error {
	lock, err := os.OpenFile(r.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock machine: %w", err)
	}
	// Closing the file unlocks it.
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { //nolint:gosec // a descriptor is small
		return fmt.Errorf("lock machine: %w", err)
	}
	s, err := r.State()
	if err != nil {
		return err
	}
	if err := change(&s); err != nil {
		return err
	}
	return writeJSON(r.path("state.json"), s)
}

func (r *Rig) path(name string) string { return filepath.Join(r.Dir, name) }

// writeJSON replaces a file whole, so that readers need no lock.
func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return os.Rename(path+".new", path)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path) //nolint:gosec // of the lab's own directory
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
