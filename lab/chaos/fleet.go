package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
)

// personality is a kind of machine and how many of a hundred are like it.
type personality struct {
	share int
	is    func(s *lab.Spec)
}

// personalities are the fleet: most machines are well, and every fault that a
// device can have has its machines.
var personalities = []personality{
	{16, func(*lab.Spec) {}},
	{16, func(s *lab.Spec) { s.SSHBootID = true }},
	{8, func(s *lab.Spec) { s.Faults.IgnoreSSH = true }},
	{7, func(s *lab.Spec) { s.Faults.Hung = true }},
	{4, func(s *lab.Spec) { s.Faults.NeverReturns = true }},
	{6, func(s *lab.Spec) { s.Faults.SlowBoot = 4 * time.Second }},
	{4, func(s *lab.Spec) { s.Faults.SlowBoot = 14 * time.Second }}, // beyond UP_TIMEOUT
	{5, func(s *lab.Spec) { s.Faults.TooFast, s.SSHBootID = true, true }},
	{6, func(s *lab.Spec) { s.Faults.LoseReplies = 0.3 }},
	{4, func(s *lab.Spec) { s.Faults.LoseCommandReply = true }},
	{4, func(s *lab.Spec) { s.Timing.PDULag, s.Faults.IgnoreSSH = 2*time.Second, true }},
	{3, func(s *lab.Spec) { s.Faults.DeadBMC = true }},
	{3, func(s *lab.Spec) { s.Faults.RefuseControl, s.Faults.IgnoreSSH = true, true }},
	{2, func(s *lab.Spec) { s.Faults.OutletStuck = true }},
	{2, func(s *lab.Spec) { s.Faults.WrongHostKey = true }},
	{2, func(s *lab.Spec) { s.NoSSH = true }},
	{4, func(s *lab.Spec) { s.ILO, s.NoBMC, s.Faults.IgnoreSSH = true, true, true }},
	{6, func(s *lab.Spec) { s.Moonshot, s.NoBMC, s.NoOutlet, s.Faults.IgnoreSSH = true, true, true, true }},
	{2, func(s *lab.Spec) { s.VM, s.NoBMC, s.NoOutlet, s.NoSSH = true, true, true, true }},
	{2, func(s *lab.Spec) { s.VM, s.NoBMC, s.NoOutlet, s.Faults.RefuseShutdown = true, true, true, true }},
}

// groups are the data centres; their PDUs feed up to 64 machines each, and one
// chassis holds all their cartridges.
var groups = []string{"mdc1", "mdc2"}

// fleet deals personalities to machines.
func fleet(r *rand.Rand, machines int) []lab.Spec {
	var specs []lab.Spec
	for i := range machines {
		s := lab.Spec{WorkerID: fmt.Sprintf("ms%d-%03d", i%len(groups)+1, i), WorkerGroup: groups[i%len(groups)]}
		drawn(r).is(&s)
		if s.Moonshot {
			s.Chassis = "moon-" + s.WorkerGroup
		}
		s.Timing.Boot = time.Second + time.Duration(r.IntN(1000))*time.Millisecond
		specs = append(specs, s)
	}
	return specs
}

func drawn(r *rand.Rand) personality {
	all := 0
	for _, p := range personalities {
		all += p.share
	}
	at := r.IntN(all)
	for _, p := range personalities {
		if at -= p.share; at < 0 {
			return p
		}
	}
	return personalities[0]
}
