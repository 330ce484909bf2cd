//go:build lab && linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// chassis answers ipmi_sim's chassis_control hook (ipmi_lan(5)): "get power"
// prints power:0 or power:1, "set WHAT VALUE" acts.
func chassis(r *rig.Rig, args []string) error {
	words := strings.Join(args, " ")
	switch words {
	case "get power":
		return chassisStatus(r)
	case "get boot":
		return bootDevice(r)
	case "set boot pxe", "set boot none":
		return setBootDevice(r, args[2])
	case "set power 0":
		return control(r, "off", func() (bool, error) { return true, r.Off() })
	case "set power 1":
		return control(r, "on", r.On)
	case "set reset 1":
		return control(r, "reset", r.Reset)
	case "set shutdown 1":
		return control(r, "soft", func() (bool, error) { return soft(r) })
	}
	return fmt.Errorf("%s: not known to this BMC", words)
}

func chassisStatus(r *rig.Rig) error {
	s, err := r.State()
	if err != nil {
		return err
	}
	power := 0
	if s.Power {
		power = 1
	}
	fmt.Printf("power:%d\n", power)
	return r.Note(rig.Entry{Device: rig.BMC, Command: "chassis power status", Executed: true})
}

// bootDevice says where the next boot is from. ipmi_sim's own flags have no valid
// bit, whatever was set.
func bootDevice(r *rig.Rig) error {
	s, err := r.State()
	if err != nil {
		return err
	}
	fmt.Printf("boot:%s\n", cmp.Or(s.BootDevice, "none"))
	return nil
}

func setBootDevice(r *rig.Rig, device string) error {
	entry := rig.Entry{Device: rig.BMC, Command: "chassis bootdev " + device, Executed: true}
	err := r.Update(func(s *rig.State) error {
		if s.Faults.RefuseBoot {
			entry.Executed = false
			return errors.New("this BMC sets no boot device")
		}
		if s.BootDevice = device; device == "none" {
			s.BootDevice = ""
		}
		return nil
	})
	return errors.Join(err, r.Note(entry))
}

// control logs the command with the time of its arrival, also when it failed.
func control(r *rig.Rig, word string, act func() (bool, error)) error {
	arrived := rig.Now()
	if s, err := r.State(); err != nil || s.Faults.RefusePower {
		act = func() (bool, error) { return false, err }
	}
	done, err := act()
	note := r.Note(rig.Entry{At: arrived, Device: rig.BMC, Command: "chassis power " + word, Control: true, Executed: done && err == nil})
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("chassis power %s: not in this state", word)
	}
	return note
}

// soft is ACPI's power button: an operating system that hangs ignores it.
func soft(r *rig.Rig) (bool, error) {
	s, err := r.State()
	if err != nil || !s.Up {
		return false, err
	}
	return true, r.Detach("shutdown", strconv.Itoa(s.Gen))
}
