//go:build lab && linux

package rig

import (
	"strconv"
	"time"
)

// Values of Sentry3-MIB's outletControlAction.
const (
	OutletOn     = 1
	OutletOff    = 2
	OutletReboot = 3
)

// TakeOutlet lets the outlet take an action and returns before it acts, as
// Server Technology's PDUs do; one that is still pending is replaced.
func (r *Rig) TakeOutlet(action int) error {
	return r.Update(func(s *State) error {
		s.Taken++
		s.Pending = action
		return r.Detach("outlet", strconv.Itoa(s.Taken))
	})
}

// ActOutlet carries out the action number taken, unless a newer one was taken.
func (r *Rig) ActOutlet(taken int) error {
	<-time.After(r.OutletDelay)
	var reboot bool
	err := r.ifPending(taken, func(s *State) error {
		if s.Pending == OutletOn {
			return r.feed(s)
		}
		reboot = s.Pending == OutletReboot
		return r.cut(s, reboot)
	})
	if err != nil || !reboot {
		return err
	}
	<-time.After(r.OutletOff)
	return r.ifPending(taken, r.feed)
}

func (r *Rig) ifPending(taken int, change func(*State) error) error {
	return r.Update(func(s *State) error {
		if s.Taken != taken {
			return nil
		}
		return change(s)
	})
}

// cut switches the outlet off; its action stays pending if more is to come.
func (r *Rig) cut(s *State, more bool) error {
	if !more {
		s.Pending = 0
	}
	was := s.Power
	s.Outlet, s.Power = false, false
	if err := r.halt(s); err != nil || !was {
		return err
	}
	return r.edge(PowerOff, s)
}

// feed switches the outlet on. A machine that gets power boots, whatever its
// switch was before: the firmware setting that machines on PDUs are given.
func (r *Rig) feed(s *State) error {
	s.Pending = 0
	if s.Outlet {
		return nil
	}
	s.Outlet = true
	return r.coldBoot(s)
}
