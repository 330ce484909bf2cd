package activities

import (
	"cmp"
	"context"
	"errors"
	"time"

	ipmi "github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/mozilla-platform-ops/roller/config"
)

// Setting a session up (within IPMI_SESSION_TIMEOUT) and reading may be repeated;
// a control command may not.
const (
	ipmiReplyTimeout = time.Second // for one reply, as in ipmitool's lanplus
	ipmiReadRepeats  = 4           // the same
	ipmiCloseTimeout = 500 * time.Millisecond
)

// ipmiReply is the time for one reply, which is less where not even a control
// command has four times as much.
func (a *Activities) ipmiReply() time.Duration {
	return min(ipmiReplyTimeout, a.Config.Devices.IPMITimeout.D()/4)
}

// ipmiSuites are tried in this order (IPMI v2.0, table 22-20): 17 is
// HMAC-SHA256 and AES, 3 is HMAC-SHA1 and AES. Only the session is set up under
// the next one; no command is ever repeated under it.
var ipmiSuites = []types.CipherSuiteID{types.CipherSuiteID17, types.CipherSuiteID3}

var ipmiPrivileges = map[string]types.PrivilegeLevel{
	"CALLBACK":      types.PrivilegeLevelCallback,
	"USER":          types.PrivilegeLevelUser,
	"OPERATOR":      types.PrivilegeLevelOperator,
	"ADMINISTRATOR": types.PrivilegeLevelAdministrator,
	"":              types.PrivilegeLevelAdministrator,
}

// ipmiSession is an authenticated session with a BMC.
type ipmiSession struct {
	client *ipmi.Client
	conn   *bmcConn
	stop   func() bool
}

// ipmiOpen sets a session up. A try in which a message had to be repeated
// proves nothing when it fails, because the reply to the first copy may have
// been taken for the reply to the next message: it is made again on a fresh
// socket. Errors: Refused for what the BMC said clearly, NotSent for all else.
func (a *Activities) ipmiOpen(ctx context.Context, b config.IPMI) (*ipmiSession, error) {
	level := cmp.Or(b.Privilege, a.Config.Devices.IPMIPrivilege)
	privilege, ok := ipmiPrivileges[level]
	if !ok {
		return nil, refused("ipmi: %q is no privilege level", level)
	}
	order := suites(b)
	setup, cancel := context.WithTimeout(ctx, a.Config.Devices.IPMISession.D())
	defer cancel()
	var err error
	for suite := 0; setup.Err() == nil && suite < len(order); {
		var s *ipmiSession
		var repeated bool
		s, repeated, err = a.ipmiTry(setup, b, order[suite], privilege)
		if err == nil {
			s.stop()
			s.stop = context.AfterFunc(ctx, s.conn.cut)
			return s, nil
		}
		switch refusal := ipmiRefusal(err); {
		case errors.Is(err, errNoDial):
			return nil, notSent("ipmi %s: %w", b.Addr(), err)
		case errors.Is(err, errBadUser):
			return nil, refused("ipmi %s: %w", b.Addr(), err)
		case repeated:
		case refusal == nextSuite:
			suite++
		case refusal != "":
			return nil, refused("ipmi %s: %s: %w", b.Addr(), refusal, err)
		default:
			pause(setup, a.ipmiReply()) // a port that is closed says so at once, and may open
		}
	}
	if ipmiRefusal(err) == nextSuite {
		return nil, refused("ipmi %s: none of the cipher suites %v is accepted: %w", b.Addr(), order, err)
	}
	if setup.Err() != nil && ctx.Err() == nil {
		return nil, notSent("ipmi %s: no session within %s: %w", b.Addr(), a.Config.Devices.IPMISession, err)
	}
	return nil, notSent("ipmi %s: no session: %w", b.Addr(), errors.Join(err, context.Cause(ctx)))
}

// nextSuite is a refusal of the cipher suite alone.
const nextSuite = "the cipher suite is not accepted"

// ipmiRefusal says what a BMC refused clearly, "" if it did not (RMCP+ status
// codes: IPMI v2.0, table 13-15).
func ipmiRefusal(err error) string {
	if errors.Is(err, ipmi.ErrRAKPAuthentication) {
		return "the password is not accepted"
	}
	if status, ok := errors.AsType[*types.RmcpStatusError](err); ok {
		switch status.StatusCode() { //nolint:exhaustive // all others are no clear refusal
		case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg,
			types.RmcpStatusCodeNoMatchingAuthPayload, types.RmcpStatusCodeNoMatchingIntegrityPayload,
			types.RmcpStatusCodeInvalidConfidentAlg, types.RmcpStatusCodeNoCipherSuiteMatch:
			return nextSuite
		case types.RmcpStatusCodeInvalidNameLength, types.RmcpStatusCodeUnauthorizedName:
			return "the user is not accepted"
		case types.RmcpStatusCodeInvalidRole, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel:
			return "the privilege level is not accepted"
		case types.RmcpStatusCodeInvalidIntegrityCheckValue:
			return "the password is not accepted"
		}
	}
	if _, ok := types.IsResponseError(err); ok { // of Set Session Privilege Level, the only command here
		return "the privilege level is not accepted"
	}
	return ""
}

// ipmiTry sets a session up on a socket of its own, step by step: the library's
// Connect loses the errors' types. It reports whether a message was repeated.
func (a *Activities) ipmiTry(ctx context.Context, b config.IPMI, suite types.CipherSuiteID, privilege types.PrivilegeLevel) (*ipmiSession, bool, error) {
	conn, err := dialBMC(ctx, b)
	if err != nil {
		return nil, false, err
	}
	c, err := ipmi.NewClient(b.Host, b.Port, b.User, b.Password.Reveal())
	if err != nil { // quotes the user's name, not the password
		_ = conn.Close()
		return nil, false, errors.Join(errBadUser, err)
	}
	c.WithUDPProxy(conn).WithCipherSuiteID(suite).WithMaxPrivilegeLevel(privilege).
		WithTimeout(a.ipmiReply()).WithRetry(ipmiReadRepeats)
	s := &ipmiSession{client: c, conn: conn, stop: context.AfterFunc(ctx, conn.cut)}
	// The library leaves a goroutine behind when its context ends; conn.cut
	// ends its reading instead.
	quiet := context.WithoutCancel(ctx)
	steps := []func() error{
		func() error { _, err := c.OpenSession(quiet); return err },
		func() error { _, err := c.RAKPMessage1(quiet); return err },
		func() error { _, err := c.RAKPMessage3(quiet); return err },
		func() error { _, err := c.SetSessionPrivilegeLevel(quiet, privilege); return err },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			repeated := conn.written() > i+1
			s.stop()
			if i < len(steps)-1 {
				_ = conn.Close()
			} else {
				s.close(ctx)
			}
			return nil, repeated, err
		}
	}
	return s, false, nil
}

// close ends the session, whatever became of it: BMCs have few.
func (s *ipmiSession) close(ctx context.Context) {
	s.stop()
	s.client.WithTimeout(ipmiCloseTimeout).WithRetry(0)
	_ = s.client.Close(context.WithoutCancel(ctx))
	_ = s.conn.Close()
}

var (
	errNoDial  = errors.New("no socket to the BMC")
	errBadUser = errors.New("no user of a BMC")
	errCut     = errors.New("the dialogue with the BMC was ended from here")
)
