package activities

import "slices"

// toolReads are the commands of ipmitool (its manual, 1.8.19) that change neither
// the machine, nor its BMC, nor a file here; whatever may follow them names a
// record, a sensor or a channel. Everything that does not stand here counts as
// changing something: "raw" may be any command.
var toolReads = [][]string{
	{"power", "status"},
	{"chassis", "power", "status"},
	{"chassis", "status"},
	{"chassis", "poh"},
	{"chassis", "restart_cause"},
	{"chassis", "bootparam", "get"},
	{"mc", "info"},
	{"mc", "guid"},
	{"mc", "selftest"},
	{"mc", "getenables"},
	{"mc", "watchdog", "get"},
	{"bmc", "info"},
	{"bmc", "guid"},
	{"bmc", "selftest"},
	{"bmc", "getenables"},
	{"bmc", "watchdog", "get"},
	{"sel", "info"},
	{"sel", "list"},
	{"sel", "elist"},
	{"sel", "get"},
	{"sel", "time", "get"},
	{"sdr", "info"},
	{"sdr", "list"},
	{"sdr", "elist"},
	{"sdr", "get"},
	{"sdr", "type"},
	{"sdr", "entity"},
	{"sensor", "list"},
	{"sensor", "get"},
	{"sensor", "reading"},
	{"fru", "print"},
	{"fru", "list"},
	{"lan", "print"},
	{"user", "list"},
	{"user", "summary"},
	{"channel", "info"},
	{"channel", "getaccess"},
	{"channel", "getciphers"},
	{"session", "info"},
	{"sol", "info"},
	{"dcmi", "power", "reading"},
}

// toolWhole are reads only where nothing follows: their other words change things.
var toolWhole = [][]string{{"sel"}, {"sdr"}, {"sensor"}, {"fru"}}

// toolUnfit are the commands that need a terminal, hide from roller what they
// send, or have a password among their words.
var toolUnfit = [][]string{{"shell"}, {"exec"}, {"set"}, {"sol", "activate"}, {"tsol"}, {"isol"}, {"user", "set", "password"}, {"user", "test"}}

// IPMIToolReads reports whether a command of ipmitool only reads: it may be sent
// again when its reply is lost, and needs no machine to itself.
func IPMIToolReads(words []string) bool {
	return beginsWith(words, toolReads) || slices.ContainsFunc(toolWhole, func(w []string) bool { return slices.Equal(words, w) })
}

func beginsWith(words []string, commands [][]string) bool {
	return slices.ContainsFunc(commands, func(c []string) bool {
		return len(words) >= len(c) && slices.Equal(words[:len(c)], c)
	})
}
