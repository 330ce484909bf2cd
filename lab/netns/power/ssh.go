//go:build lab && linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// session is the account's ForceCommand: it may reboot the machine, ask for its
// boot's identity, and nothing else. SSH_ORIGINAL_COMMAND and SSH_CLIENT are
// set by sshd (ssh(1), ENVIRONMENT).
func session(r *rig.Rig) error {
	command := os.Getenv("SSH_ORIGINAL_COMMAND")
	from, _, _ := strings.Cut(os.Getenv("SSH_CLIENT"), " ")
	s, err := r.State()
	if err != nil {
		return err
	}
	entry := rig.Entry{Device: rig.SSH, Command: command, From: from}
	verb, _, _ := strings.Cut(command, " ")
	switch verb {
	case "boot_id":
		entry.Executed = true
		fmt.Println(s.BootID)
		return r.Note(entry)
	case "reboot", "shutdown":
		entry.Control, entry.Executed = true, !s.Faults.IgnoreSSH
		if err := r.Note(entry); err != nil || !entry.Executed {
			return err
		}
		return r.Detach("reboot", strconv.Itoa(s.Gen))
	}
	if err := r.Note(entry); err != nil {
		return err
	}
	return fmt.Errorf("%q is not allowed", command)
}
