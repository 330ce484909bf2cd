package lab

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Options says what to simulate.
type Options struct {
	Machines []Spec
	Seed     uint64       // of the lost replies; the same seed loses the same replies
	Log      *slog.Logger // nil: silent
	During   During       // nil: nothing holds a command
}

// Lab is a set of simulated machines with the devices that power them.
type Lab struct {
	journal  *journal
	blocks   []*block
	machines []*Machine
	byName   map[string]*Machine // FQDN and worker ID, lower case
	chassis  map[string]*web     // the managers that machines share, by Spec.Chassis
	pdus     []*pdu
	xen      *XAPI              // nil without a VM
	key      ed25519.PrivateKey // the account's, on every machine
	account  ssh.PublicKey

	running sync.WaitGroup
	close   func() error
}

// Start powers on every machine and returns when all that are not hung answer
// probes and show an SSH banner.
func Start(opts Options) (*Lab, error) {
	l := &Lab{journal: newJournal(opts.Log, opts.During), byName: make(map[string]*Machine), chassis: make(map[string]*web)}
	l.close = sync.OnceValue(l.shutdown)
	if err := l.build(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) build(opts Options) (err error) {
	if l.key, l.account, err = newAccountKey(); err != nil {
		return err
	}
	racks := rackMachines(opts.Machines)
	if l.blocks, err = claimBlocks(context.Background(), len(opts.Machines), len(racks)); err != nil {
		return err
	}
	for i, spec := range opts.Machines {
		if err := l.add(i, spec, opts.Seed); err != nil {
			return fmt.Errorf("machine %d: %w", i, err)
		}
	}
	for i, r := range racks {
		p, err := startPDU(l, r, pduAddr(l.blocks, i), l.pick(r.machines))
		if err != nil {
			return fmt.Errorf("%s: %w", r.host, err)
		}
		l.pdus = append(l.pdus, p)
	}
	for _, m := range l.machines {
		if m.spec.VM && l.xen == nil {
			l.xen = startXAPI(l)
		}
		if err := m.start(); err != nil {
			return fmt.Errorf("%s: %w", m.FQDN(), err)
		}
	}
	return nil
}

func (l *Lab) add(i int, spec Spec, seed uint64) error {
	if spec.WorkerID == "" || spec.WorkerGroup == "" {
		return errors.New("worker_id and worker_group are needed")
	}
	m, err := newMachine(l, spec, machineAddr(l.blocks, i), seed+uint64(i)) //nolint:gosec // i is an index
	if err != nil {
		return err
	}
	fqdn := m.FQDN()
	if l.byName[fqdn] != nil {
		return fmt.Errorf("%s is there twice", fqdn)
	}
	l.byName[fqdn] = m
	if id := strings.ToLower(spec.WorkerID); l.byName[id] == nil {
		l.byName[id] = m
	}
	l.machines = append(l.machines, m)
	return nil
}

func (l *Lab) pick(indexes []int) []*Machine {
	var picked []*Machine
	for _, i := range indexes {
		picked = append(picked, l.machines[i])
	}
	return picked
}

// Close stops everything; it is safe to call twice.
func (l *Lab) Close() error { return l.close() }

func (l *Lab) shutdown() error {
	var errs []error
	for _, p := range l.pdus {
		errs = append(errs, p.stop())
	}
	for _, m := range l.machines {
		errs = append(errs, m.stop())
	}
	if l.xen != nil {
		l.xen.stop()
	}
	l.running.Wait()
	return errors.Join(append(errs, releaseBlocks(l.blocks))...)
}

// XAPI returns the Xen pool, nil if no machine is a VM.
func (l *Lab) XAPI() *XAPI { return l.xen }

// Machine returns the machine with this FQDN or worker ID, in any letter case,
// or nil. A worker ID that several groups have is the first one's.
func (l *Lab) Machine(name string) *Machine { return l.byName[strings.ToLower(name)] }

// Machines returns all machines in the order of Options.
func (l *Lab) Machines() []*Machine { return l.machines }

// Log returns every command received by any device so far.
func (l *Lab) Log() []Entry {
	entries, _ := l.journal.snapshot()
	return entries
}

// Edges returns every change of state of any machine so far.
func (l *Lab) Edges() []Edge {
	_, edges := l.journal.snapshot()
	return edges
}

// Entries returns the log entries of a machine (FQDN or worker ID, "" is all of
// them) that match, in order; a nil match is every entry.
func (l *Lab) Entries(machine string, match func(Entry) bool) []Entry {
	fqdn := l.fullName(machine)
	var found []Entry
	for _, e := range l.Log() {
		if (fqdn == "" || e.Machine == fqdn) && (match == nil || match(e)) {
			found = append(found, e)
		}
	}
	return found
}

func (l *Lab) edgesOf(machine string) []Edge {
	fqdn := l.fullName(machine)
	return slices.DeleteFunc(l.Edges(), func(e Edge) bool { return fqdn != "" && e.Machine != fqdn })
}

// fullName returns the FQDN of a machine the lab has, and any other name as it is.
func (l *Lab) fullName(name string) string {
	if m := l.Machine(name); m != nil {
		return m.FQDN()
	}
	return name
}

// Count returns how many entries Entries would return.
func (l *Lab) Count(machine string, match func(Entry) bool) int {
	return len(l.Entries(machine, match))
}

// Controls returns the log entries of a machine that were meant to change its
// power and were carried out.
func (l *Lab) Controls(machine string) []Entry {
	return l.Entries(machine, func(e Entry) bool { return e.Control && e.Executed })
}

// Wait returns when the condition holds, which is looked at again whenever
// anything in the lab changes, or with the context's error.
func (l *Lab) Wait(ctx context.Context, condition func() bool) error {
	for {
		changed := l.journal.nextRing()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("lab: waiting for a condition: %w", ctx.Err())
		}
	}
}
