package activities

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// The defaults of the ipmitool action, as the old service had them.
const (
	toolInterface = "lanplus" // the one that encrypts
	toolPrivilege = "OPERATOR"
	toolTimeout   = 15 * time.Second
	toolReadLimit = time.Minute // a task's read with all its repeats, as forRead allows
)

// IPMIToolInput is any command of the ipmitool binary, to a machine's BMC.
type IPMIToolInput struct {
	Machine   config.Name     `json:"machine"`
	Privilege string          `json:"privilege,omitempty"` // of the session; the machine's own, or else OPERATOR
	Timeout   config.Duration `json:"timeout,omitzero"`    // for a read as a whole, for one reply to anything else; 15s
	Command   []string        `json:"command"`             // "chassis", "power", "status"
}

// IPMIToolResult is what ipmitool printed.
type IPMIToolResult struct {
	Text string `json:"text"`
}

// IPMITool runs the ipmitool binary. A command is sent once, unless it only reads.
// Errors: BadInput, Refused, NotSent, and Unknown for all that may have been
// carried out.
func (a *Activities) IPMITool(ctx context.Context, in IPMIToolInput) (IPMIToolResult, error) {
	c, err := a.toolCall(in)
	if err != nil {
		return IPMIToolResult{}, fail(err)
	}
	text, err := c.run(ctx)
	if err != nil && (ctx.Err() == nil || !c.repeat) {
		return IPMIToolResult{}, fail(err)
	}
	return IPMIToolResult{Text: text}, fail(endedOr(ctx, err))
}

// toolCall is one command to be given to ipmitool.
type toolCall struct {
	bmc     config.IPMI
	session time.Duration // setting it up, with its repeats
	timeout time.Duration // one reply
	whole   time.Duration // a read with its repeats; 0 is toolReadLimit
	repeat  bool          // it changes nothing, and may be sent again when its reply is lost
	words   []string
	verbose bool
	ready   func() error // asked before each ipmitool that acts; nil: none does
}

func (a *Activities) toolCall(in IPMIToolInput) (toolCall, error) {
	timeout := cmp.Or(in.Timeout.D(), toolTimeout)
	c := toolCall{
		timeout: timeout, whole: timeout, words: in.Command,
		repeat: IPMIToolReads(in.Command), session: a.Config.Devices.IPMISession.D(),
	}
	switch {
	case len(c.words) == 0:
		return c, meaning(BadInput, "ipmitool: no command")
	case beginsWith(c.words, toolUnfit):
		return c, meaning(BadInput, "ipmitool: %q needs a terminal, a file or a password among its words: run ipmitool itself", c.words[0])
	}
	m, err := a.ipmiMachine(Read{Machine: in.Machine})
	if err != nil {
		return c, err
	}
	c.bmc = *m.IPMI
	c.bmc.Privilege = strings.ToUpper(cmp.Or(in.Privilege, c.bmc.Privilege, toolPrivilege))
	if _, ok := ipmiPrivileges[c.bmc.Privilege]; !ok {
		return c, meaning(BadInput, "ipmitool: privilege %q must be one of CALLBACK, USER, OPERATOR, ADMINISTRATOR", in.Privilege)
	}
	return c, nil
}

// run tries the cipher suites in order. Only the session is set up anew: the
// command went out under none that was refused. A worker may have been frozen
// meanwhile, and given up: ready is asked for each.
func (c toolCall) run(ctx context.Context) (string, error) {
	var text string
	var err error
	for _, suite := range suites(c.bmc) {
		if c.ready != nil {
			if err := c.ready(); err != nil {
				return "", err
			}
		}
		if text, err = c.once(ctx, int(suite)); noSessionIn(err) && ctx.Err() == nil {
			err = c.why(ctx, int(suite), err)
		}
		if e, ok := errors.AsType[*toolError](err); !ok || e.reason != nextSuite {
			break
		}
	}
	return text, err
}

// noSession is all that ipmitool says without -v, of a wrong password too.
const noSession = "no session"

func noSessionIn(err error) bool {
	e, ok := errors.AsType[*toolError](err)
	return ok && e.reason == noSession
}

// why asks a harmless question with -v, which says why a session was refused but
// changes the form of the answers, and returns a clear refusal in the place of
// the error. Nothing has gone out without a session.
func (c toolCall) why(ctx context.Context, suite int, err error) error {
	c.verbose, c.repeat, c.words, c.ready = true, true, []string{"mc", "info"}, nil
	if _, told := c.once(ctx, suite); told != nil && MeaningOf(told) == Refused {
		return told
	}
	return err
}

// args is ipmitool's command line; no secret is in it. -R counts transmissions,
// not repeats: with 1 each message goes out once, and -N seconds later it is
// given up (ipmi_lanplus_send_payload in ipmitool's lanplus.c). Behind -- nothing is
// an option.
func (c toolCall) args(suite int) []string {
	tries, seconds := 1, int((c.timeout+time.Second-1)/time.Second)
	if c.repeat {
		tries, seconds = ipmiReadRepeats, int(ipmiReplyTimeout/time.Second)
	}
	args := []string{
		"-I", toolInterface, "-H", c.bmc.Host, "-p", strconv.Itoa(c.bmc.Port), "-U", c.bmc.User, "-E",
		"-L", c.bmc.Privilege, "-C", strconv.Itoa(suite), "-R", strconv.Itoa(tries), "-N", strconv.Itoa(seconds),
	}
	if c.verbose {
		args = append(args, "-v")
	}
	if !c.bmc.KG.IsZero() {
		args = append(args, "-K")
	}
	args = append(args, c.bmc.Bridge...)
	return append(append(args, "--"), c.words...)
}

// env is all of ipmitool's environment: IPMITOOL_PASSWORD of this process would
// be preferred to ours.
func (c toolCall) env() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "IPMI_PASSWORD=" + c.bmc.Password.Reveal()}
	if !c.bmc.KG.IsZero() {
		env = append(env, "IPMI_KGKEY="+c.bmc.KG.Reveal())
	}
	return env
}

// limit is when ipmitool is killed: it waits for several replies in turn.
func (c toolCall) limit() time.Duration {
	if c.repeat {
		return cmp.Or(c.whole, toolReadLimit)
	}
	return c.session + 3*c.timeout
}

func (c toolCall) once(ctx context.Context, suite int) (string, error) {
	path, err := exec.LookPath("ipmitool")
	if err != nil {
		return "", notSent("ipmitool: not installed on this worker: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, c.limit())
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(limited, path, c.args(suite)...) //nolint:gosec // no shell; words behind --
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.env(), &out, &said, time.Second
	dieWithWorker(cmd)
	if err := cmd.Start(); err != nil {
		return "", notSent("ipmitool: %w", err)
	}
	err = cmd.Wait()
	if err == nil {
		return c.answer(out.String(), said.String()), nil
	}
	switch {
	case ctx.Err() != nil:
		err = errors.New(endedEarly(ctx))
	case limited.Err() != nil:
		err = fmt.Errorf("ended after %s: %w", c.limit(), context.Cause(limited))
	}
	return "", c.failed(err, c.clean(said.String()+"\n"+out.String()))
}

// emptySEL is what ipmitool says of an empty log, among its complaints and not
// among its answers.
const emptySEL = "SEL has no entries"

func (c toolCall) answer(out, said string) string {
	text := strings.TrimSpace(c.clean(out))
	if text == "" && strings.Contains(said, emptySEL) {
		return emptySEL
	}
	return text
}

// clean takes the secrets out of a text, should ipmitool ever print one.
func (c toolCall) clean(text string) string {
	for _, s := range []config.Secret{c.bmc.Password, c.bmc.KG} {
		if !s.IsZero() {
			text = strings.ReplaceAll(text, s.Reveal(), s.String())
		}
	}
	return text
}

// failed gives ipmitool's exit its meaning. A read that may have been carried
// out is as good as one that was not.
func (c toolCall) failed(err error, said string) error {
	what := fmt.Sprintf("ipmitool %s: %s", c.bmc.Addr(), strings.Join(c.words, " "))
	m, reason, before := toolMeaning(said)
	if m == Unknown && c.repeat {
		m = NotSent
	}
	return meaning(m, "%s: %w", what, &toolError{reason: cmp.Or(reason, lastLine(said)), before: before, err: err})
}

// toolError is what ipmitool said.
type toolError struct {
	reason string
	before bool // it was said before any command went out
	err    error
}

// Error implements error.
func (e *toolError) Error() string {
	if e.reason == "" {
		return e.err.Error()
	}
	return e.reason + " (" + e.err.Error() + ")"
}

// Unwrap returns how the process ended.
func (e *toolError) Unwrap() error { return e.err }
