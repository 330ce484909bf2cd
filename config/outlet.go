package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// snmpPort is where SNMP agents listen (RFC 3417, 3.1).
const snmpPort = 161

// maxTowerOutlet is the highest outlet of an infeed in Server Technology's
// Sentry4-MIB (st4OutletIndex). Sentry3 has fewer, and says itself which.
const maxTowerOutlet = 128

var (
	towerForm  = regexp.MustCompile(`\A([a-zA-Z])([a-zA-Z])([1-9][0-9]{0,2})\z`)
	numberForm = regexp.MustCompile(`\A(?:([1-9][0-9]{0,3})\.)?([1-9][0-9]{0,3})\z`)
)

// ParseOutlet reads an outlet, PDU:NAME. A Sentry's is as the old service wrote
// it, in any letter case: "pdu1.example:AB12" is outlet 12 of infeed b of tower
// a. All others are numbers: "pdu2.example:7", or "switch.example:1.24" for port
// 24 of group 1. It fails on any other form, on letters with a number above 128
// and on numbers above 9999.
func ParseOutlet(text string) (Outlet, error) {
	pdu, socket, _ := strings.Cut(text, ":")
	if !hostForm.MatchString(pdu) {
		return Outlet{}, notOutlet(text)
	}
	host := strings.ToLower(pdu)
	o := Outlet{PDU: host, Host: host, Port: snmpPort}
	if m := towerForm.FindStringSubmatch(socket); m != nil {
		o.Tower, o.Infeed, o.Number = letter(m[1]), letter(m[2]), digits(m[3])
		if o.Number > maxTowerOutlet {
			return Outlet{}, fmt.Errorf("%q is not an outlet: their numbers are 1 to %d", text, maxTowerOutlet)
		}
		return o, nil
	}
	m := numberForm.FindStringSubmatch(socket)
	if m == nil {
		return Outlet{}, notOutlet(text)
	}
	o.Group, o.Number = digits(m[1]), digits(m[2])
	return o, nil
}

func notOutlet(text string) error {
	return fmt.Errorf("%q is not an outlet: write pdu1.example:AB12 for tower A, infeed B, outlet 12, else pdu1.example:7 or pdu1.example:1.7", text)
}

// letter counts a letter from a = 1, as the Sentry3-MIB's indices do.
func letter(s string) int { return int(strings.ToLower(s)[0]-'a') + 1 }

// digits reads at most four digits; none is 0.
func digits(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
