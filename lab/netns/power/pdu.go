//go:build lab && linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// outletEntry is Sentry3-MIB's, and its columns are those that roller and its
// users read and write.
const (
	outletEntry   = ".1.3.6.1.4.1.1718.3.2.3.1"
	columnID      = 2  // outletID, "AA1"
	columnStatus  = 5  // outletStatus: off(0), on(1)
	columnControl = 10 // outletControlState
	columnAction  = 11 // outletControlAction, the only one that can be set
)

var columns = []int{columnID, columnStatus, columnControl, columnAction}

// Values of outletControlState, Sentry3-MIB.
const (
	stateIdleOff = 0
	stateIdleOn  = 1
	stateReboot  = 8
	statePendOn  = 10
	statePendOff = 11
)

// pdu is the outlets in the order of their index.
type pdu struct{ outlets []*rig.Rig }

// subtree is what one family of PDUs shows of its outlets.
type subtree interface {
	read(name string) string
	after(name string) string
	set(name, typed string) string
}

// servePDU speaks net-snmp's pass_persist protocol (snmpd.conf(5)).
func servePDU(p subtree, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	next := func() string { lines.Scan(); return strings.TrimSpace(lines.Text()) }
	for lines.Scan() {
		var answer string
		switch strings.TrimSpace(lines.Text()) {
		case "":
			continue // net-snmp 5.9 sends one after every set; it is not the end
		case "PING":
			answer = "PONG"
		case "get":
			answer = p.read(next())
		case "getnext":
			answer = p.read(p.after(next()))
		case "set":
			answer = p.set(next(), next())
		default:
			answer = "NONE"
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return fmt.Errorf("answer snmpd: %w", err)
		}
	}
	return lines.Err()
}

// openPDU has an outlet for each of dir's subdirectories. It relies on Glob's order, which is that of the outlets because their
// directories are numbered with leading zeros.
func openPDU(dir string) (pdu, error) {
	var p pdu
	dirs, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return p, fmt.Errorf("list outlets: %w", err)
	}
	for _, d := range dirs {
		r, err := rig.Open(d)
		if err != nil {
			return p, err
		}
		p.outlets = append(p.outlets, r)
	}
	return p, nil
}

func oid(column int, r *rig.Rig) string {
	return fmt.Sprintf("%s.%d.%s", outletEntry, column, r.Outlet)
}

func (p pdu) find(name string) (*rig.Rig, int) {
	for _, column := range columns {
		for _, r := range p.outlets {
			if oid(column, r) == name {
				return r, column
			}
		}
	}
	return nil, 0
}

// after returns the first object behind name, "" if there is none.
func (p pdu) after(name string) string {
	for _, column := range columns {
		for _, r := range p.outlets {
			if candidate := oid(column, r); behind(candidate, name) {
				return candidate
			}
		}
	}
	return ""
}

// behind compares number by number, as SNMP orders object identifiers (RFC 3416, section 4.2.2).
func behind(a, b string) bool {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(left), len(right)) {
		x, _ := strconv.Atoi(left[i])
		y, _ := strconv.Atoi(right[i])
		if x != y {
			return x > y
		}
	}
	return len(left) > len(right)
}

func (p pdu) read(name string) string {
	r, column := p.find(name)
	if r == nil {
		return "NONE"
	}
	s, err := r.State()
	if err != nil {
		return "NONE"
	}
	kind, value, what := "integer", "0", ""
	switch column {
	case columnAction: // always reads 0, and snmpd itself reads it before every set: not logged
		return strings.Join([]string{name, kind, value}, "\n")
	case columnID:
		kind, value, what = "string", r.OutletName, "id"
	case columnStatus:
		value, what = strconv.Itoa(status(s)), "status"
	case columnControl:
		value, what = strconv.Itoa(controlState(s)), "control"
	}
	entry := rig.Entry{Device: rig.PDU, Command: "get " + r.OutletName + " " + what, Executed: true}
	if err := r.Note(entry); err != nil {
		return "NONE"
	}
	return strings.Join([]string{name, kind, value}, "\n")
}

func status(s rig.State) int {
	if s.Outlet {
		return 1
	}
	return 0
}

func controlState(s rig.State) int {
	switch {
	case s.Pending == rig.OutletReboot:
		return stateReboot
	case s.Pending == rig.OutletOn:
		return statePendOn
	case s.Pending == rig.OutletOff:
		return statePendOff
	case s.Outlet:
		return stateIdleOn
	}
	return stateIdleOff
}

// actionNames are outletControlAction's words, but none(0), which no client has a use for.
var actionNames = map[string]string{"1": "on", "2": "off", "3": "reboot"}

func (p pdu) set(name, typed string) string {
	r, column := p.find(name)
	if column != columnAction {
		return "not-writable"
	}
	kind, value, _ := strings.Cut(typed, " ")
	action, known := actionNames[value]
	if kind != "integer" {
		return "wrong-type"
	}
	if !known {
		return "wrong-value"
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		return "wrong-value"
	}
	arrived := rig.Now()
	err = r.TakeOutlet(number)
	note := r.Note(rig.Entry{At: arrived, Device: rig.PDU, Command: "set " + r.OutletName + " " + action, Control: true, Executed: err == nil})
	if err != nil || note != nil {
		return "not-writable"
	}
	return "DONE"
}
