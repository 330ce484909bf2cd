//go:build lab && linux

package rig

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// Off takes the machine's power away by its switch, as a BMC does.
func (r *Rig) Off() error {
	return r.Update(func(s *State) error {
		was := s.Power
		s.Power = false
		if err := r.halt(s); err != nil || !was {
			return err
		}
		return r.edge(PowerOff, s)
	})
}

// On switches the machine on; it does nothing to one that is on, nor to one
// whose outlet is dead, and says whether it could.
func (r *Rig) On() (ok bool, err error) {
	err = r.Update(func(s *State) error {
		if ok = s.Outlet; !ok || s.Power {
			return nil
		}
		return r.coldBoot(s)
	})
	return ok, err
}

// Reset restarts a machine whatever it does, wedged too; one without power
// cannot be reset.
func (r *Rig) Reset() (ok bool, err error) {
	err = r.Update(func(s *State) error {
		if ok = s.Power; !ok {
			return nil
		}
		return r.restart(s)
	})
	return ok, err
}

// Wedge makes the machine do nothing at all, with its power on.
func (r *Rig) Wedge() error {
	return r.Update(func(s *State) error {
		if err := r.halt(s); err != nil {
			return err
		}
		s.Wedged = true
		return r.edge(Wedged, s)
	})
}

// LeaveSoon lets the operating system of power action gen end after the time
// that a shutdown takes, and boot again or, with off, stay off. Anything that
// happens to the machine's power meanwhile overtakes it.
func (r *Rig) LeaveSoon(gen int, off bool) error {
	<-time.After(r.Shutdown)
	return r.during(gen, func(s *State) error {
		if off {
			s.Power = false
			if err := r.halt(s); err != nil {
				return err
			}
			return r.edge(PowerOff, s)
		}
		if !s.Faults.HangSSH {
			return r.restart(s)
		}
		if err := r.halt(s); err != nil {
			return err
		}
		s.Wedged = true
		return r.edge(Wedged, s)
	})
}

// halt takes the machine off the network, ends everything that runs on it and
// overtakes what was under way.
func (r *Rig) halt(s *State) error {
	was := s.Up
	s.Gen++
	s.Up, s.SSH, s.Wedged = false, false, false
	if _, err := Run("ip", "-n", r.Lab, "link", "set", r.Link, "down"); err != nil {
		return err
	}
	if was {
		if err := r.edge(Down, s); err != nil {
			return err
		}
	}
	return Kill(r.Space)
}

func (r *Rig) restart(s *State) error {
	if err := r.halt(s); err != nil {
		return err
	}
	return r.boot(s)
}

func (r *Rig) coldBoot(s *State) error {
	s.Power = true
	if err := r.boot(s); err != nil {
		return err
	}
	return r.edge(PowerOn, s)
}

// boot gives the machine a new boot and lets it begin behind the caller's back.
func (r *Rig) boot(s *State) error {
	s.Gen++
	s.BootID = rand.Text()
	if s.Faults.NoReturn {
		return nil
	}
	return r.Detach("boot", strconv.Itoa(s.Gen))
}

// during changes the state if no power action came after gen.
func (r *Rig) during(gen int, change func(*State) error) error {
	return r.Update(func(s *State) error {
		if s.Gen != gen {
			return nil
		}
		return change(s)
	})
}

// Detach runs the program's verb for this machine in the lab's namespace, in a
// session of its own and with nothing open: the caller may be inside the machine
// that is about to die, and a device must answer before its command is done.
func (r *Rig) Detach(verb string, args ...string) error {
	cmd := Command(context.Background(), r.Lab, r.Program, append([]string{verb, r.Dir}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("detach %s: %w", verb, err)
	}
	go func() { _ = cmd.Wait() }() // for callers that live on: no zombies
	return nil
}
