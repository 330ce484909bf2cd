package activities

import (
	"context"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// boot is what tells one boot of a machine from the next: its ID, the moment at
// which it began, or both. What could not be read is zero.
type boot struct {
	id string
	at time.Time
}

// boot asks a machine for what the baseline has of it; the boot ID is enough
// where it can be read.
func (a *Activities) boot(ctx context.Context, m config.Machine, base Baseline) boot {
	var now boot
	if base.BootID != "" {
		now.id = a.witness.bootID(ctx, m, nil)
	}
	if now.id == "" && !base.BootedAt.IsZero() {
		now.at = a.witness.bootedAt(ctx, m)
	}
	return now
}

// known reports whether the machine had an identity before the command.
func (b Baseline) known() bool { return b.BootID != "" || !b.BootedAt.IsZero() }

// uptimeWraps is when hrSystemUptime, which counts hundredths of a second in 32
// bits (RFC 2578, 7.1.8), begins anew although the machine does not: 497 days.
const uptimeWraps = (1 << 32) * 10 * time.Millisecond

// compare says whether the machine has restarted since the baseline; known is
// false where its identity does not tell.
func (b Baseline) compare(now boot) (restarted, known bool, evidence string) {
	switch {
	case b.BootID != "" && now.id == b.BootID:
		return false, true, "boot id unchanged"
	case b.BootID != "" && now.id != "":
		return true, true, "boot id changed"
	case b.BootedAt.IsZero() || now.at.IsZero() || time.Since(b.BootedAt) >= uptimeWraps:
		return false, false, ""
	// Two workers' clocks may differ, and one may have been set: it is the same
	// boot if it lies nearer to the one before than to the command.
	case now.at.After(b.BootedAt.Add(b.At.Sub(b.BootedAt) / 2)):
		return true, true, "uptime began anew"
	default:
		return false, true, "uptime goes on"
	}
}
