//go:build lab && linux

package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The logs' names, in Spec.Logs: JSON lines, appended to by all devices.
const (
	edgesLog    = "edges.log"
	commandsLog = "commands.log"
)

// Kinds of device, in Entry.Device.
const (
	SSH = "ssh"
	BMC = "bmc"
	PDU = "pdu"
)

// Events, in Edge.Event.
const (
	PowerOn  = "power on"  // it began to boot from cold
	PowerOff = "power off" // its power went away
	Down     = "down"      // it no longer answers
	Up       = "up"        // its network answers
	Banner   = "ssh"       // sshd shows its banner
	Wedged   = "wedged"    // it has power and does nothing
)

// Edge is one change of a machine's state.
type Edge struct {
	At      time.Time `json:"at"`
	Machine string    `json:"machine"` // its ID
	Event   string    `json:"event"`
	BootID  string    `json:"boot_id,omitempty"`
}

// Entry is one command as a device received it: a datagram that was sent twice
// and carried out twice is two entries.
type Entry struct {
	At       time.Time `json:"at"`
	Device   string    `json:"device"`
	Machine  string    `json:"machine"` // its ID
	Command  string    `json:"command"` // "reboot", "chassis power reset", "set AA1 off", "get AA1 status"
	Control  bool      `json:"control"` // meant to change power
	Executed bool      `json:"executed"`
	From     string    `json:"from,omitempty"` // the sender, where the device is told
}

func (r *Rig) edge(event string, s *State) error {
	return appendLine(r.Logs, edgesLog, Edge{At: Now(), Machine: r.ID, Event: event, BootID: s.BootID})
}

// Note logs a command that the machine's device received, at this moment unless
// the entry says when.
func (r *Rig) Note(e Entry) error {
	if e.Machine = r.ID; e.At.IsZero() {
		e.At = Now()
	}
	return appendLine(r.Logs, commandsLog, e)
}

// Now has the logs' grain, a millisecond.
func Now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// appendLine writes with one call, which O_APPEND makes whole among processes.
func appendLine(dir, name string, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // of the lab's own directory
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// Edges returns every change logged so far.
func Edges(dir string) ([]Edge, error) { return readLines[Edge](dir, edgesLog) }

// Entries returns every command logged so far.
func Entries(dir string) ([]Entry, error) { return readLines[Entry](dir, commandsLog) }

func readLines[T any](dir, name string) ([]T, error) {
	text, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // of the lab's own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing has happened yet
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	var all []T
	for line := range bytes.Lines(text) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return all, fmt.Errorf("read %s: line %d: %w", name, len(all)+1, err)
		}
		all = append(all, v)
	}
	return all, nil
}
