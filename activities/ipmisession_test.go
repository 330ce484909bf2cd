package activities

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	ipmi "github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// A BMC that cannot be reached is NotSent; the time for a session is bounded by
// the context here, so that the test need not wait for it.
func TestIPMIUnreachable(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(int, []byte) []byte{
		"silence": func(int, []byte) []byte { return nil },
		"garbage": func(n int, _ []byte) []byte { return garbage(n) },
		"echo":    func(_ int, b []byte) []byte { return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoOutlet: true})
			m, b := r.bmc(t)
			front := newRelay(t, "", change)
			b.Host, b.Port = front.host, front.port
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := r.ipmiControl(ctx, m, Reset, allowed)
			require.Equal(t, NotSent, MeaningOf(err), "%v", err)
		})
	}
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{NoOutlet: true})
		m, b := r.bmc(t)
		ctx, cancel := context.WithCancel(t.Context())
		front := newRelay(t, "", func(int, []byte) []byte { cancel(); return nil })
		b.Host, b.Port = front.host, front.port
		_, err := r.ipmiControl(ctx, m, Reset, allowed)
		require.Equal(t, NotSent, MeaningOf(err), "%v", err)
		require.EqualValues(t, 1, front.seen.Load(), "it does not go on asking")
	})
	t.Run("closed port", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, lab.Spec{NoOutlet: true})
		m, b := r.bmc(t)
		b.Port = 1 // tcpmux: nobody is there
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.ipmiControl(ctx, m, Reset, allowed)
		require.Equal(t, NotSent, MeaningOf(err), "%v", err)
	})
}

func TestIPMIRefusal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"password":     {ipmi.ErrRAKPAuthentication, "the password is not accepted"},
		"suite":        {types.NewRmcpStatusError(types.RmcpStatusCodeNoCipherSuiteMatch), nextSuite},
		"algorithm":    {types.NewRmcpStatusError(types.RmcpStatusCodeInvalidAuthAlg), nextSuite},
		"user":         {types.NewRmcpStatusError(types.RmcpStatusCodeUnauthorizedName), "the user is not accepted"},
		"role":         {types.NewRmcpStatusError(types.RmcpStatusCodeUnauthorizedRoleOfPriLevel), "the privilege level is not accepted"},
		"no resources": {types.NewRmcpStatusError(types.RmcpStatusCodeNoResToCreateSess), ""},
		"network":      {net.ErrClosed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, ipmiRefusal(c.err))
		})
	}
}

func TestPlausible(t *testing.T) {
	t.Parallel()
	whole := append([]byte{6, 0, 0xff, 7, 6, 0xc0, 1, 0, 0, 0, 1, 0, 0, 0, 32, 0}, make([]byte, 48)...)
	require.True(t, plausible(0xc0, whole))
	for name, c := range map[string]struct {
		asked byte
		spoil func([]byte) []byte
	}{
		"empty":           {0xc0, func([]byte) []byte { return nil }},
		"short":           {0xc0, func(b []byte) []byte { return b[:20] }},
		"not RMCP":        {0xc0, func(b []byte) []byte { b[0] = 5; return b }},
		"ASF":             {0xc0, func(b []byte) []byte { b[3] = 6; return b }},
		"IPMI v1.5":       {0xc0, func(b []byte) []byte { b[4] = 0; return b }},
		"not encrypted":   {0xc0, func(b []byte) []byte { b[5] = 0x40; return b }},
		"no session":      {0xc0, func(b []byte) []byte { b[6] = 0; return b }},
		"no block":        {0xc0, func(b []byte) []byte { b[14] = 16; return b }},
		"half a block":    {0xc0, func(b []byte) []byte { b[14] = 40; return b }},
		"serial over LAN": {0xc0, func(b []byte) []byte { b[5] = 0xc1; return b }},
		"too early":       {0x12, func(b []byte) []byte { return b }},
		"late":            {0x12, func(b []byte) []byte { b[5] = 0x11; return b }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.False(t, plausible(c.asked, c.spoil(append([]byte(nil), whole...))))
		})
	}
}

// A BMC that knows only the older cipher suite is asked for it next.
func TestIPMIOlderCipherSuite(t *testing.T) {
	t.Parallel()
	const ( // RMCP+ Open Session Request (IPMI v2.0, table 13-9)
		openSession = 0x10
		authAt      = 16 + 8 + 4 // the algorithm in the authentication payload
		hmacSHA1    = 1
	)
	for name, c := range map[string]struct {
		newest  byte // authentication algorithm that is accepted
		short   bool // it refuses as OpenIPMI's simulator does, with tag and status alone
		meaning Meaning
	}{
		"suite 3":               {newest: hmacSHA1},
		"suite 3, short answer": {newest: hmacSHA1, short: true},
		"none":                  {newest: 0, meaning: Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Spec{NoOutlet: true})
			m, b := r.bmc(t)
			front := newRelay(t, b.Addr(), func(_ int, reply []byte) []byte { return reply })
			b.Host, b.Port = front.host, front.port
			refuse := func(request []byte) []byte {
				if request[5] != openSession || request[authAt] <= c.newest {
					return nil
				}
				payload := []byte{request[16], byte(types.RmcpStatusCodeNoCipherSuiteMatch)}
				if !c.short {
					payload = append(append(payload, 0, 0), request[20:24]...)
				}
				return append([]byte{6, 0, 0xff, 7, 6, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(payload)), 0}, payload...)
			}
			front.instead.Store(&refuse)
			_, err := r.ipmiControl(t.Context(), m, Reset, allowed)
			if c.meaning != "" {
				require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
				require.ErrorContains(t, err, "none of the cipher suites")
				require.Empty(t, r.lab.Controls(""))
				return
			}
			require.NoError(t, err)
			require.Len(t, r.lab.Controls(""), 1)
		})
	}
}

// A BMC that answers late is asked again, and its first answer then looks like
// a wrong one to the next message: that is no wrong password.
func TestIPMILateAnswersAreNoRefusal(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Spec{NoOutlet: true})
	r.Config.Devices.IPMITimeout = config.Duration(400 * time.Millisecond)
	m, b := r.bmc(t)
	var rakp2 atomic.Int32
	first := make(chan []byte, 1)
	front := newRelay(t, b.Addr(), func(_ int, reply []byte) []byte {
		if reply[5] != 0x13 { // RAKP message 2
			return reply
		}
		switch rakp2.Add(1) {
		case 1: // kept, so that the request is repeated
			first <- reply
			return nil
		case 2: // the answer to the repeat is lost, the first one comes at last
			return <-first
		default:
			return reply
		}
	})
	b.Host, b.Port = front.host, front.port
	_, err := r.ipmiControl(t.Context(), m, Reset, allowed)
	require.NoError(t, err)
	require.Len(t, r.lab.Controls(""), 1)
}
