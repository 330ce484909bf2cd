//go:build lab && linux

package main

import (
	"strconv"
	"strings"

	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// Columns of PowerNet-MIB (APC), in the order of their OIDs.
const (
	apcCommand = ".1.3.6.1.4.1.318.1.1.12.3.3.1.1.4" // rPDUOutletControlOutletCommand: on(1), off(2), reboot(3)
	apcStatus  = ".1.3.6.1.4.1.318.1.1.12.3.5.1.1.4" // rPDUOutletStatusOutletState: on(1), off(2)
)

// apc shows the outlets as an APC rPDU does.
type apc struct{ pdu }

func (a apc) names() []string {
	var all []string
	for _, column := range []string{apcCommand, apcStatus} {
		for i := range a.outlets {
			all = append(all, column+"."+strconv.Itoa(i+1))
		}
	}
	return all
}

// outlet returns the outlet of a name, nil if there is none.
func (a apc) outlet(name string) *rig.Rig {
	at := strings.LastIndex(name, ".")
	n, err := strconv.Atoi(name[at+1:])
	if err != nil || n < 1 || n > len(a.outlets) || name[:at] != apcCommand && name[:at] != apcStatus {
		return nil
	}
	return a.outlets[n-1]
}

func (a apc) after(name string) string {
	for _, candidate := range a.names() {
		if behind(candidate, name) {
			return candidate
		}
	}
	return ""
}

func (a apc) read(name string) string {
	if name == "" {
		return "NONE"
	}
	r := a.outlet(name)
	if r == nil {
		return "NONE"
	}
	s, err := r.State()
	if err != nil {
		return "NONE"
	}
	return strings.Join([]string{name, "integer", strconv.Itoa(2 - status(s))}, "\n")
}

// set takes the same values as a Sentry's action column.
func (a apc) set(name, typed string) string {
	r := a.outlet(name)
	if r == nil || !strings.HasPrefix(name, apcCommand+".") {
		return "not-writable"
	}
	return a.pdu.set(oid(columnAction, r), typed)
}
