//go:build lab && linux

package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// Options says what to start; the zero value is one machine.
type Options struct {
	IDs         []string      // worker IDs, "ms1-1" alone if empty
	Site        int           // 0 to 9: labs that one roller reaches have different ones
	Boot        time.Duration // from power on until the network answers, 2s
	SSHDelay    time.Duration // from then until sshd listens, 1s
	Shutdown    time.Duration // from an operating system's own reboot until it is down, 300ms
	OutletDelay time.Duration // from an outlet's command until it acts, 300ms
	OutletOff   time.Duration // how long the PDU's own reboot stays off, 1s
	NewKernel   bool          // a boot leaves nothing of a machine's network namespace, as a real one leaves nothing of its kernel's state
}

// maxMachines is what the lab's addresses have room for.
const maxMachines = 80

// startLimit is how long all machines together may take to boot.
const startLimit = 2 * time.Minute

// Entry is one command as a device received it.
type Entry = rig.Entry

// Edge is one change of a machine's state.
type Edge = rig.Edge

// Faults are ways in which a machine misbehaves from now on.
type Faults = rig.Faults

// State is a machine as it is, not as anybody believes it to be.
type State = rig.State

// Lab is one lab, with a network of its own.
type Lab struct {
	t        testing.TB
	site     int
	name     string // prefix of all its namespaces, and its directory's name
	dir      string
	spaces   []string
	daemons  []*exec.Cmd
	machines []*Machine
	pdu      *Device
	keys     *keys
	once     sync.Once
}

// Start builds the lab and returns when every machine shows its SSH banner. The
// test's cleanup tears it down. It fails the test, saying what is missing, where
// the lab cannot be built.
func Start(t testing.TB, opts Options) *Lab {
	t.Helper()
	if err := requirements(os.Geteuid(), exec.LookPath); err != nil {
		t.Fatal(err)
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	l := &Lab{t: t, name: newName(), site: opts.Site}
	t.Cleanup(l.Close)
	if err := l.build(opts.withDefaults()); err != nil {
		t.Fatalf("start lab: %v", err)
	}
	return l
}

func (l *Lab) build(opts Options) error {
	if len(opts.IDs) > maxMachines {
		return fmt.Errorf("%d machines, and addresses for %d", len(opts.IDs), maxMachines)
	}
	l.dir = filepath.Join(os.TempDir(), l.name)
	if err := os.MkdirAll(l.machinesDir(), 0o700); err != nil {
		return err
	}
	program := filepath.Join(l.dir, "power")
	if _, err := rig.Run("go", "build", "-tags", "lab", "-o", program, "github.com/mozilla-platform-ops/roller/lab/netns/power"); err != nil {
		return err
	}
	var err error
	if l.keys, err = newKeys(); err != nil {
		return err
	}
	if err := l.addBridge(); err != nil {
		return err
	}
	for i, id := range opts.IDs {
		if err := l.addMachine(i+1, id, program, opts); err != nil {
			return fmt.Errorf("machine %s: %w", id, err)
		}
	}
	if err := l.addPDU(program); err != nil {
		return fmt.Errorf("pdu: %w", err)
	}
	return l.powerOn()
}

// powerOn boots all machines and waits for them and for the devices.
func (l *Lab) powerOn() error {
	for _, m := range l.machines {
		if _, err := m.rig.On(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), startLimit)
	defer cancel()
	if err := l.Wait(ctx, l.ready); err != nil {
		return fmt.Errorf("not all machines and devices came up: %w\n%s", err, l.logs())
	}
	return nil
}

func (l *Lab) ready() bool {
	for _, m := range l.machines {
		if s, err := m.rig.State(); err != nil || !s.SSH || !m.bmc.listening() {
			return false
		}
	}
	return l.pdu.listening()
}

// Wait returns when the condition holds, or with the context's error.
func (l *Lab) Wait(ctx context.Context, condition func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Command is a program to be run inside the lab's namespace, from where every
// machine and device is reached, and nothing else but loopback.
func (l *Lab) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return rig.Command(ctx, l.space("lab"), name, args...)
}

// Machines returns all machines in the order of Options.
func (l *Lab) Machines() []*Machine { return l.machines }

// PDU returns the PDU that feeds all machines.
func (l *Lab) PDU() *Device { return l.pdu }

// Dir returns the directory of the logs, for people; Close removes it.
func (l *Lab) Dir() string { return l.dir }

// Edges returns every change of a machine's state so far; ID "" is all machines.
func (l *Lab) Edges(id string) []Edge {
	all, err := rig.Edges(l.dir)
	if err != nil {
		l.t.Errorf("lab: %v", err)
	}
	return keep(all, func(e Edge) bool { return id == "" || e.Machine == id })
}

// Commands returns every command that a machine's devices and its SSH received
// so far; ID "" is all machines.
func (l *Lab) Commands(id string) []Entry {
	all, err := rig.Entries(l.dir)
	if err != nil {
		l.t.Errorf("lab: %v", err)
	}
	return keep(all, func(e Entry) bool { return id == "" || e.Machine == id })
}

// Controls returns the commands that were meant to change a machine's power and
// were carried out.
func (l *Lab) Controls(id string) []Entry {
	return keep(l.Commands(id), func(e Entry) bool { return e.Control && e.Executed })
}

func keep[T any](all []T, want func(T) bool) []T {
	var kept []T
	for _, v := range all {
		if want(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

func (l *Lab) space(what string) string { return l.name + "-" + what }

func (l *Lab) machinesDir() string { return filepath.Join(l.dir, "machines") }

func (o Options) withDefaults() Options {
	if len(o.IDs) == 0 {
		o.IDs = []string{"ms1-1"}
	}
	for value, otherwise := range map[*time.Duration]time.Duration{
		&o.Boot: 2 * time.Second, &o.SSHDelay: time.Second, &o.Shutdown: 300 * time.Millisecond,
		&o.OutletDelay: 300 * time.Millisecond, &o.OutletOff: time.Second,
	} {
		if *value == 0 {
			*value = otherwise
		}
	}
	return o
}
