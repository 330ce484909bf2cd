package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// task is one name that may be asked for, or stand in the ladder.
type task struct {
	name string
	read bool // changes nothing: needs no machine to itself
	rung bool // may stand in REBOOT_METHODS
}

// bugRung ends a ladder: whatever stood after it would act on a machine that
// people have been told is theirs now.
const bugRung = "file_bugzilla_bug"

// The tasks that lend a machine to somebody and take it back.
const (
	Loan       = "loan"
	ReturnLoan = "return_loan"
)

// IsLoan reports whether a task is about a loan, and may have words to go with it.
func IsLoan(name string) bool { return name == Loan || name == ReturnLoan }

// MayDrain reports whether a task can drain the worker first: one that changes nothing
// need not, and a loan is a quarantine itself.
func MayDrain(name string) bool { return !IsRead(name) && !IsLoan(name) }

// mostWhy bounds what a loan is for, in bytes.
const mostWhy = 200

// WhyProblem says what is wrong with the words that go with a task; "" if nothing.
func WhyProblem(task, why string) string {
	switch {
	case why == "":
		return ""
	case !IsLoan(task):
		return "is for " + Loan + " and " + ReturnLoan + " only"
	case len(why) > mostWhy || !utf8.ValidString(why) || strings.ContainsFunc(why, unicode.IsControl):
		return fmt.Sprintf("must be one line of at most %d bytes", mostWhy)
	}
	return ""
}

// tasks is every name roller knows. A new one is a line here, its step in
// package workflows and its activity.
var tasks = []task{
	{name: "reboot"},
	{name: "ping", read: true},
	{name: "status", read: true},
	{name: "ipmi_status", read: true},
	{name: "ipmi_list", read: true},
	{name: "reimage"},
	{name: Loan},
	{name: ReturnLoan},
	{name: "ssh_reboot", rung: true},
	{name: "ipmi_reset", rung: true},
	{name: "ipmi_cycle", rung: true},
	{name: "ipmi_reboot", rung: true},
	{name: "ipmi_on", rung: true},
	{name: "ipmi_off", rung: true},
	{name: "snmp_reboot", rung: true},
	{name: "snmp_rebootdelay", rung: true},
	{name: "ilo_reboot", rung: true},
	{name: "moonshot_reset", rung: true},
	{name: "xenapi_reboot", rung: true},
	{name: bugRung, rung: true},
}

// spellings are the other names of tasks that the old service took.
var spellings = map[string]string{"xen_reboot": "xenapi_reboot"}

// CanonicalTask returns a task's one name, wherever a name is read, so that two
// spellings never become two tasks. A name that nobody knows stays as it is.
func CanonicalTask(name string) string {
	if canonical, ok := spellings[name]; ok {
		return canonical
	}
	return name
}

// Spellings returns the other names of tasks, each with the task's one name.
func Spellings() map[string]string { return maps.Clone(spellings) }

// Tasks returns every task that can be asked for, in a fixed order.
func Tasks() []string { return named(func(task) bool { return true }) }

// Rungs returns every task that may stand in REBOOT_METHODS, in a fixed order.
func Rungs() []string { return named(func(t task) bool { return t.rung }) }

// IsRead reports whether a task changes nothing; every other one, a name that
// nobody knows among them, needs the machine to itself.
func IsRead(name string) bool {
	return slices.ContainsFunc(tasks, func(t task) bool { return t.name == name && t.read })
}

func named(keep func(task) bool) []string {
	var names []string
	for _, t := range tasks {
		if keep(t) {
			names = append(names, t.name)
		}
	}
	return names
}
