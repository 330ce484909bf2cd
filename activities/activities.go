// Package activities holds everything that touches the world outside Temporal:
// one file per protocol, each with its activity's input and result. Credentials
// are looked up here, at the moment of use, and appear in no input or result.
package activities

import (
	"context"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// Activities is what the worker registers; a nil *Activities is the source of
// the activities' names in workflow code.
type Activities struct {
	Config    *config.Config
	Inventory func() *config.Inventory // the newest inventory that was read without mistakes
	Runs      Runs                     // lists and reads runs, for FindLeftOff, RecallOff, Status and ResolveJob; nil: nobody is asked
	Prober    Prober                   // how machines are probed; all watches of a worker share it
	Turns     Turns                    // who may speak to a device; nil: everybody, as in a terminal

	lookouts *lookouts // New makes them
	witness  witness   // New makes it the activities themselves
	bulk     crowd

	hostFiles hostFiles
}

// witness is what a machine shows of itself beside its answers to probes.
type witness interface {
	sshBanner(ctx context.Context, m config.Machine) bool
	bootID(ctx context.Context, m config.Machine, keep func(*sshClient)) string
	bootedAt(ctx context.Context, m config.Machine) time.Time
	hold(ctx context.Context, m config.Machine) *held
}

// New returns the activities with the prober of this machine's own network.
func New(cfg *config.Config, inventory func() *config.Inventory) *Activities {
	a := &Activities{Config: cfg, Inventory: inventory, Prober: NewProber(cfg.Ladder.ProbeTimeout.D()), lookouts: &lookouts{open: map[string]*lookout{}}}
	a.witness = a
	return a
}
