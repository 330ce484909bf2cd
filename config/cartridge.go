package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Cartridge is a node's place in an HP Moonshot 1500 chassis, as people write
// it: c10n1.
type Cartridge struct{ Slot, Node int }

// A Moonshot 1500 chassis has 45 cartridges, a cartridge up to four nodes (HP
// Moonshot System, user guide).
const (
	maxSlot = 45
	maxNode = 4
)

var cartridgeForm = regexp.MustCompile(`\Ac([1-9][0-9]?)n([1-9])\z`)

// ParseCartridge reads cNnM in any letter case. It fails on any other form, on
// slots above 45 and on nodes above 4.
func ParseCartridge(text string) (Cartridge, error) {
	m := cartridgeForm.FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return Cartridge{}, fmt.Errorf("%q is not a cartridge: write c10n1 for node 1 of cartridge 10", text)
	}
	slot, _ := strconv.Atoi(m[1]) // two digits
	node, _ := strconv.Atoi(m[2])
	if slot > maxSlot || node > maxNode {
		return Cartridge{}, fmt.Errorf("%q is not a cartridge: they are c1n1 to c%dn%d", text, maxSlot, maxNode)
	}
	return Cartridge{slot, node}, nil
}

// String returns the form of the files, c10n1.
func (c Cartridge) String() string { return fmt.Sprintf("c%dn%d", c.Slot, c.Node) }

// firstNode is where the first node of every cartridge answers. HP publishes no
// formula for the others: a node says its own address ("sdr list mcloc" asked of
// its cartridge), and a guess would switch a neighbour off.
const firstNode = "0x72"

// Bridge returns ipmitool's options for the two bridges from the chassis manager
// to the cartridge's node, the formula behind the old service's map: over channel
// 0 to the cartridge's controller at 0x80 + 2 x slot (-B, -T), and from there over
// channel 7 to the node (-b, -t). For nodes 2 to 4 it has no -t.
func (c Cartridge) Bridge() []string {
	bridge := []string{"-B", "0", "-b", "7", "-T", fmt.Sprintf("0x%02x", 0x80+2*c.Slot)}
	if c.Node > 1 {
		return bridge
	}
	return append(bridge, "-t", firstNode)
}

// toolOptions is what a machine type may say to ipmitool; all else is roller's
// own business, above all what sends twice (-R, -N) and what holds a secret.
type toolOptions map[string]string

// toolFlags are the options by their letter: whether they belong to bridging.
var toolFlags = map[string]bool{"-B": true, "-b": true, "-T": true, "-t": true, "-I": false, "-L": false, "-p": false, "-C": false}

// bridgeOrder is the order in which ipmitool's options are written.
var bridgeOrder = []string{"-B", "-b", "-T", "-t"}

// parseOptions reads "-T 0x82" or "-T", "0x82". The message of a mistake names
// no value of an option that is not known, which may be a password.
func parseOptions(texts []string) (toolOptions, error) {
	words := strings.Fields(strings.Join(texts, " "))
	options := toolOptions{}
	for i := 0; i < len(words); i += 2 {
		flag := words[i]
		bridging, known := toolFlags[flag]
		if !known {
			return nil, fmt.Errorf("has an option that is not known here; known are %s", quoted(slices.Sorted(maps.Keys(toolFlags))))
		}
		if _, twice := options[flag]; twice || i+1 == len(words) {
			return nil, fmt.Errorf("%s must stand once and have a value", flag)
		}
		if err := checkOption(flag, words[i+1], bridging); err != nil {
			return nil, err
		}
		options[flag] = words[i+1]
	}
	return options, nil
}

func checkOption(flag, value string, bridging bool) error {
	n, err := strconv.ParseUint(value, 0, 16)
	ok := err == nil
	want := "a number from 0 to 0xff"
	switch {
	case bridging:
		ok = ok && n <= 0xff
	case flag == "-I":
		ok, want = value == "lanplus", "lanplus"
	case flag == "-L":
		ok, want = slices.Contains(privileges, strings.ToUpper(value)), "one of "+strings.Join(privileges, ", ")
	case flag == "-p":
		ok, want = ok && n >= 1, "a port"
	case flag == "-C":
		ok, want = ok && slices.Contains(cipherSuites, int(n)), "17 or 3"
	}
	if !ok {
		return fmt.Errorf("%s must be %s", flag, want)
	}
	return nil
}

// bridge returns the options of bridging in ipmitool's form.
func (o toolOptions) bridge() []string {
	var out []string
	for _, flag := range bridgeOrder {
		if value, ok := o[flag]; ok {
			out = append(out, flag, value)
		}
	}
	return out
}

// differs says how options contradict the formula's, "" if they do not; they may
// leave out what the formula knows.
func (o toolOptions) differs(c Cartridge) string {
	formula := c.Bridge()
	for i := 0; i < len(formula); i += 2 {
		flag, want := formula[i], formula[i+1]
		has, ok := o[flag]
		if ok && number(has) != number(want) {
			return fmt.Sprintf("%s %s, where the formula for %s gives %s %s", flag, has, c, flag, want)
		}
	}
	if has, ok := o["-t"]; ok && c.Node > 1 && number(has) == number(firstNode) {
		return fmt.Sprintf("-t %s, which is node 1's", has)
	}
	return ""
}

func number(text string) uint64 {
	n, _ := strconv.ParseUint(text, 0, 16) // checked when it was read
	return n
}
