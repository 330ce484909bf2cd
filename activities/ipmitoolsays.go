package activities

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/mozilla-platform-ops/roller/config"
)

// toolSays is what ipmitool 1.8.18 and 1.8.19 print before any command has gone
// out, and what it means. The first that fits counts: a session that was refused
// is followed by the line that there is none.
var toolSays = []struct {
	text    string
	meaning Meaning
	reason  string
}{
	{"RAKP 2 HMAC is invalid", Refused, "the password is not accepted"},
	{"unauthorized name", Refused, "the user is not accepted"},
	{"unauthorized role", Refused, "the privilege level is not accepted"},
	{"invalid role", Refused, "the privilege level is not accepted"},
	{"invalid integrity check value", Refused, "the password or the key is not accepted"},
	{"invalid authentication algorithm", Refused, nextSuite},
	{"invalid integrity algorithm", Refused, nextSuite},
	{"invalid confidentiality algorithm", Refused, nextSuite},
	{"no cipher suite match", Refused, nextSuite},
	{"no matching cipher suite", Refused, nextSuite},
	{"Failed to set session privilege level", Refused, "the privilege level is not accepted"},
	{"user name too long", Refused, "the user's name is too long"},
	{"Address lookup for", NotSent, "the host's name is not known"},
	{"Could not open socket", NotSent, noSession},
	{"Unable to establish IPMI v2 / RMCP+ session", NotSent, noSession},
	{"Invalid chassis power command", Refused, ""},
	{"Invalid command:", Refused, ""},
}

// toolCodes are ipmitool's words for the completion codes that do not simply
// refuse (its completion_code_vals; IPMI v2.0, table 5-2).
var toolCodes = map[string]types.CompletionCode{
	"Node busy":                              0xc0,
	"Timeout":                                0xc3,
	"Out of space":                           0xc4,
	"Command response could not be provided": 0xce,
	"Cannot execute duplicated request":      0xcf,
	"BMC initialization in progress":         0xd2,
	"Unspecified error":                      0xff,
}

// toolRefusals are its words for those that do.
var toolRefusals = []string{
	"Invalid command", "Invalid command on LUN", "Parameter out of range", "Invalid data field in request",
	"Request data length invalid", "Insufficient privilege level", "Command not supported in present state",
	"Cannot execute command, command disabled", "Requested sensor, data, or record not found",
	"Command illegal for specified sensor or record type",
}

// toolFailed is a command's answer that is an error. Lines of the set-up, which
// also fail, have other forms.
var toolFailed = regexp.MustCompile(`(?m)^(?:Set|Get|IPMI|MC|SEL|Clear)\b[^\n]* failed: ([^\n]+)$`)

// nakOnWrite is Send Message's 83h (IPMI v2.0, 22.7): the controller behind the
// bridge did not take the message.
const nakOnWrite = "Unknown (0x83)"

// toolMeaning reads what ipmitool printed when it failed. What is not known is
// Unknown: the command may have gone out. Before says that none has.
func toolMeaning(said string) (m Meaning, reason string, before bool) {
	for _, s := range toolSays {
		if strings.Contains(said, s.text) {
			return s.meaning, s.reason, true
		}
	}
	if found := toolFailed.FindAllStringSubmatch(said, -1); len(found) > 0 {
		m, reason = codeMeaning(strings.TrimSpace(found[len(found)-1][1]))
		return m, reason, false
	}
	return Unknown, "", false
}

func codeMeaning(text string) (Meaning, string) {
	if text == nakOnWrite {
		return NotSent, "the bridge could not deliver it (83h)"
	}
	if code, ok := toolCodes[text]; ok {
		return completionMeaning(code), text
	}
	if slices.Contains(toolRefusals, text) {
		return Refused, text
	}
	return Unknown, text
}

// lastLine is the last thing that ipmitool said, for an error's text.
func lastLine(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	line := strings.ToValidUTF8(strings.TrimSpace(lines[len(lines)-1]), "?")
	return line[:min(len(line), 200)]
}

// toolPower reads `chassis power status`.
var toolPower = regexp.MustCompile(`(?m)^Chassis Power is (on|off)$`)

// tool runs a task's words, which may be sent again, for a machine whose BMC the
// library cannot reach.
func (a *Activities) tool(ctx context.Context, b config.IPMI, task string, words ...string) (string, error) {
	c := a.toolTask(b, task, words...)
	c.repeat = true
	return c.run(ctx)
}

// toolTask is a task's words, which go out once.
func (a *Activities) toolTask(b config.IPMI, task string, words ...string) toolCall {
	if own := b.Commands[task]; len(own) > 0 {
		words = own
	}
	b.Privilege = cmp.Or(b.Privilege, a.Config.Devices.IPMIPrivilege)
	return toolCall{bmc: b, session: a.Config.Devices.IPMISession.D(), timeout: a.Config.Devices.IPMITimeout.D(), words: words}
}

// toolControl sends one chassis control command. Reading the state before it
// shows that the BMC is there and takes the account, as a session does that the
// library sets up.
func (a *Activities) toolControl(ctx context.Context, m config.Machine, action Action, ready func() error) (string, error) {
	if _, err := a.toolState(ctx, m); err != nil {
		return "", err
	}
	word, fenced := string(action), false
	c := a.toolTask(*m.IPMI, "ipmi_"+word, "chassis", "power", word)
	c.ready = func() error {
		err := ready()
		fenced = err != nil
		return err
	}
	_, err := c.run(context.WithoutCancel(ctx)) // no cancel kills an ipmitool that may have sent it
	if e, ok := errors.AsType[*toolError](err); err != nil && (fenced || MeaningOf(err) == NotSent || ok && e.before) {
		return "", err
	}
	return strings.Join(c.words, " "), err
}

// toolState reads the chassis power state.
func (a *Activities) toolState(ctx context.Context, m config.Machine) (string, error) {
	text, err := a.tool(ctx, *m.IPMI, "ipmi_status", "chassis", "power", "status")
	if err != nil {
		return "", err
	}
	if found := toolPower.FindStringSubmatch(text); found != nil {
		return found[1], nil
	}
	return "", notSent("ipmitool %s: the power state cannot be read out of the answer", m.IPMI.Addr())
}

// suites returns the cipher suites in the order in which they are tried.
func suites(b config.IPMI) []types.CipherSuiteID {
	if len(b.CipherSuites) == 0 {
		return ipmiSuites
	}
	out := make([]types.CipherSuiteID, len(b.CipherSuites))
	for i, s := range b.CipherSuites {
		out[i] = types.CipherSuiteID(s) //nolint:gosec // 3 or 17, checked when it was read
	}
	return out
}
