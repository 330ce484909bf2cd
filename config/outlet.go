package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// snmpPort is where SNMP agents listen (RFC 3417, 3.1).
const snmpPort = 161

// maxOutlet is the highest outlet of an infeed in Server Technology's
// Sentry3-MIB (outletIndex).
const maxOutlet = 64

var outletForm = regexp.MustCompile(`\A([a-zA-Z])([a-zA-Z])([1-9][0-9]?)\z`)

// ParseOutlet reads an outlet as the old service wrote it, PDU:TIO, in any
// letter case: "pdu1.example:AB12" is outlet 12 of infeed b of tower a. It fails
// on any other form and on outlets above 64.
func ParseOutlet(text string) (Outlet, error) {
	pdu, socket, _ := strings.Cut(text, ":")
	m := outletForm.FindStringSubmatch(socket)
	if !hostForm.MatchString(pdu) || m == nil {
		return Outlet{}, fmt.Errorf("%q is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12", text)
	}
	number, err := strconv.Atoi(m[3])
	if err != nil || number > maxOutlet {
		return Outlet{}, fmt.Errorf("%q is not an outlet: their numbers are 1 to %d", text, maxOutlet)
	}
	host := strings.ToLower(pdu)
	return Outlet{PDU: host, Host: host, Port: snmpPort, Tower: letter(m[1]), Infeed: letter(m[2]), Number: number}, nil
}

// letter counts a letter from a = 1, as the Sentry3-MIB's indices do.
func letter(s string) int { return int(strings.ToLower(s)[0]-'a') + 1 }
