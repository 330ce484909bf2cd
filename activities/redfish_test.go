package activities

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// webRig is a machine with an iLO and a chassis manager, and no patience.
func webRig(t *testing.T, faults lab.Faults) (*rig, config.Machine) {
	t.Helper()
	r := newRig(t, lab.Spec{NoBMC: true, ILO: true, Moonshot: true, Faults: faults})
	r.Config.Devices.ILOTimeout = config.Duration(10 * time.Second)
	r.Config.Devices.ILOVerify = config.Duration(10 * time.Second)
	m := r.entry(t)
	ilo, node := *m.ILO, *m.Moonshot
	m.ILO, m.Moonshot = &ilo, &node
	return r, m
}

// controls is every command that reached a device, carried out or not.
func (r *rig) webControls() []string {
	var all []string
	for _, e := range r.lab.Entries("", isControl) {
		all = append(all, e.Command)
	}
	return all
}

func TestRedfishReset(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		web      lab.WebFaults
		off      bool
		want     string
		sessions int
	}{
		"on":                 {want: "reset ForceRestart", sessions: 1},
		"on, only cycles":    {web: lab.WebFaults{Offers: "PowerCycle"}, want: "reset PowerCycle", sessions: 1},
		"on, by action info": {web: lab.WebFaults{Info: true, Offers: "PowerCycle"}, want: "reset PowerCycle", sessions: 1},
		"off":                {off: true, want: "reset On", sessions: 1},
		"basic only":         {web: lab.WebFaults{NoSessions: true}, want: "reset ForceRestart"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := webRig(t, lab.Faults{Web: c.web})
			if c.off {
				r.machine.Kill()
			}
			res, err := execute(t, r.RedfishReset, r.command(Reset, rigWatch), call{})
			require.NoError(t, err)
			require.Equal(t, c.want, res.Sent)
			require.Empty(t, res.Unknown)
			require.Equal(t, []string{c.want}, r.webControls())
			if !c.off {
				require.True(t, res.Watch.Down || res.Watch.Rebooted, "%+v", res.Watch)
			}
			open, ever := r.machine.Sessions()
			require.Equal(t, []int{0, c.sessions}, []int{open, ever}, "sessions are closed")
		})
	}
}

// The power state is read until it says so, also from a BMC that remembers an
// old one, and what is as wanted is left alone.
func TestRedfishOffAndOn(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]lab.Faults{
		"acknowledged": {},
		"replies lost": {LoseCommandReply: true},
		"cached":       {Web: lab.WebFaults{StaleFor: 700 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := webRig(t, faults)
			for _, action := range []Action{Off, Off, On, On} {
				res, err := execute(t, r.RedfishReset, r.command(action, 0), call{})
				require.NoError(t, err)
				require.Equal(t, string(action), res.Power)
				require.Empty(t, res.Unknown)
				require.Equal(t, action == On, r.machine.State().Power)
			}
			require.Equal(t, []string{"reset ForceOff", "reset On"}, r.webControls())
		})
	}
}

// A BMC that says "off" of a machine that answers has an old state: the machine
// is restarted.
func TestRedfishOldStateOfAMachineThatAnswers(t *testing.T) {
	t.Parallel()
	r, m := webRig(t, lab.Faults{})
	r.machine.Kill()
	state, err := r.redfishPower(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, "off", state)
	r.machine.SetFaults(lab.Faults{Web: lab.WebFaults{StaleFor: time.Hour}})
	r.machine.PressPower()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, r.lab.Wait(ctx, func() bool { return r.machine.State().SSH }))
	what, err := r.redfishSend(t.Context(), m, Reset, allowed)
	require.NoError(t, err)
	require.Equal(t, "reset ForceRestart", what)
}

// TestWebMeanings has both protocols meet everything that can go wrong.
func TestWebMeanings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults  lab.Faults
		spoil   func(r *rig, m *config.Machine)
		meaning Meaning
		says    string
		arrived int
		ilo     bool // only where questions come first
	}{
		"wrong password": {spoil: func(_ *rig, m *config.Machine) {
			m.ILO.Password, m.Moonshot.Password = config.NewSecret("s3cret-wrong"), config.NewSecret("s3cret-wrong")
		}, meaning: Refused, says: "401"},
		"wrong password, no sessions": {faults: lab.Faults{Web: lab.WebFaults{NoSessions: true}}, spoil: func(_ *rig, m *config.Machine) {
			m.ILO.Password = config.NewSecret("s3cret-wrong")
		}, meaning: Refused, says: "401", ilo: true},
		"nobody there": {spoil: func(_ *rig, m *config.Machine) {
			m.ILO.Port, m.Moonshot.Port = 1, 1
		}, meaning: NotSent, says: "refused"},
		"another certificate": {spoil: func(_ *rig, m *config.Machine) {
			m.ILO.Fingerprint = config.FingerprintOf(nil)
			m.Moonshot.Fingerprint = m.ILO.Fingerprint
		}, meaning: NotSent, says: "not the pinned"},
		"not pinned and not signed": {spoil: func(_ *rig, m *config.Machine) {
			m.ILO.Fingerprint, m.Moonshot.Fingerprint = "", ""
		}, meaning: NotSent, says: "certificate"},
		"no CA": {spoil: func(r *rig, m *config.Machine) {
			m.ILO.Fingerprint, m.Moonshot.Fingerprint = "", ""
			r.Config.Devices.ILOCAFile = "/no/such/file"
		}, meaning: Refused, says: "ILO_CA_FILE"},
		"slow before the command": {faults: lab.Faults{Web: lab.WebFaults{SlowReads: true}}, spoil: impatient, meaning: NotSent, says: "log in", ilo: true},
		"garbage before it":       {faults: lab.Faults{Web: lab.WebFaults{GarbageReads: true}}, meaning: NotSent, says: "cannot be read", ilo: true},
		"nothing offered":         {faults: lab.Faults{Web: lab.WebFaults{Offers: "Nmi"}}, meaning: Refused, says: "offers no reset", ilo: true},
		"busy":                    {faults: lab.Faults{Web: lab.WebFaults{Busy: true}}, meaning: NotSent, says: "409 Conflict, Base.1.8.ResourceInUse", arrived: 1},
		"already off":             {faults: lab.Faults{Web: lab.WebFaults{Already: true}}, meaning: NotSent, says: "400", arrived: 1},
		"forbidden":               {faults: lab.Faults{Web: lab.WebFaults{Status: 403}}, meaning: Refused, says: "403", arrived: 1},
		"redirected":              {faults: lab.Faults{Web: lab.WebFaults{Status: 307}}, meaning: Refused, says: "307", arrived: 1},
		"precondition":            {faults: lab.Faults{Web: lab.WebFaults{Status: 412}}, meaning: Refused, says: "412", arrived: 1},
		"broken":                  {faults: lab.Faults{Web: lab.WebFaults{Status: 500}}, meaning: Unknown, says: "500", arrived: 1},
		"unavailable":             {faults: lab.Faults{Web: lab.WebFaults{Status: 503}}, meaning: Unknown, says: "503", arrived: 1},
		"lost reply":              {faults: lab.Faults{LoseCommandReply: true}, meaning: Unknown, says: "reset", arrived: 1},
		"garbage reply":           {faults: lab.Faults{Web: lab.WebFaults{GarbageReply: true}}, meaning: Unknown, says: "reset", arrived: 1},
		"not allowed any more":    {spoil: func(r *rig, _ *config.Machine) { r.Config.Devices.ILOCAFile = "forbid" }, meaning: Handover, says: "fence"},
	} {
		for protocol, send := range map[string]func(r *rig) func(context.Context, config.Machine, Action, func() error) (string, error){
			"ilo": func(r *rig) func(context.Context, config.Machine, Action, func() error) (string, error) {
				return r.redfishSend
			},
			"moonshot": func(r *rig) func(context.Context, config.Machine, Action, func() error) (string, error) {
				return r.moonshotSend
			},
		} {
			if c.ilo && protocol != "ilo" {
				continue
			}
			t.Run(protocol+" "+name, func(t *testing.T) {
				t.Parallel()
				r, m := webRig(t, c.faults)
				if c.spoil != nil {
					c.spoil(r, &m)
				}
				ready := func() error {
					if r.Config.Devices.ILOCAFile == "forbid" {
						return meaning(Handover, "fence")
					}
					return nil
				}
				what, err := send(r)(t.Context(), m, Reset, ready)
				require.Error(t, err)
				require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
				require.ErrorContains(t, err, c.says)
				require.NotContains(t, err.Error(), "s3cret")
				require.Equal(t, c.meaning == Unknown, what != "", "%q", what)
				require.Len(t, r.webControls(), c.arrived, "sent at most once")
				open, _ := r.machine.Sessions()
				require.Zero(t, open, "no session stays")
			})
		}
	}
}

func impatient(r *rig, _ *config.Machine) {
	r.Config.Devices.ILOTimeout = config.Duration(300 * time.Millisecond)
}

// "Already in that state" is success to be checked, for a command that sets one.
func TestRedfishAlreadyInThatState(t *testing.T) {
	t.Parallel()
	r, m := webRig(t, lab.Faults{Web: lab.WebFaults{Already: true}})
	what, err := r.redfishSend(t.Context(), m, On, allowed)
	require.NoError(t, err)
	require.Equal(t, "reset On (already in that state)", what)
}

// A machine with a CA's certificate needs no pin, and ILO_USERNAME stands in for
// an entry without a user.
func TestRedfishByCA(t *testing.T) {
	t.Parallel()
	r, m := webRig(t, lab.Faults{})
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: r.machine.Certificate()}
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	d := &r.Config.Devices
	d.ILOCAFile = file
	m.ILO.Fingerprint, m.ILO.User, m.ILO.Password = "", "", config.Secret{}
	require.NotEmpty(t, noILO(*d, m))
	d.ILOUsername, d.ILOPassword = lab.BMCUser, config.NewSecret(lab.BMCPassword)
	require.Empty(t, noILO(*d, m))
	state, err := r.redfishPower(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, "on", state)
}

// Silence after the command has gone out is Unknown, and a cancel does not tear
// a command in two.
func TestWebSilence(t *testing.T) {
	t.Parallel()
	r, m := webRig(t, lab.Faults{DeadBMC: true})
	impatient(r, nil)
	_, err := r.moonshotSend(t.Context(), m, Reset, allowed)
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	_, err = r.redfishSend(t.Context(), m, Reset, allowed)
	require.Equal(t, NotSent, MeaningOf(err), "nothing but questions went out: %v", err)

	r.machine.SetFaults(lab.Faults{})
	r.Config.Devices.ILOTimeout = config.Duration(10 * time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	what, err := r.redfishSend(ctx, m, Reset, func() error { cancel(); return nil })
	require.NoError(t, err)
	require.Equal(t, "reset ForceRestart", what)
	open, _ := r.machine.Sessions()
	require.Zero(t, open)
	ctx, cancel = context.WithCancel(t.Context())
	what, err = r.moonshotSend(ctx, m, Reset, func() error { cancel(); return nil })
	require.NoError(t, err)
	require.Equal(t, "cold reset of c1n1", what)
}

// A handshake that never ends has sent nothing.
func TestWebHandshakeHangs(t *testing.T) {
	t.Parallel()
	var listen net.ListenConfig
	ln, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	r, m := webRig(t, lab.Faults{})
	impatient(r, nil)
	port := ln.Addr().(*net.TCPAddr).Port
	m.ILO.Host, m.ILO.Port, m.Moonshot.Host, m.Moonshot.Port = "127.0.0.1", port, "127.0.0.1", port
	_, err = r.redfishSend(t.Context(), m, Reset, allowed)
	require.Equal(t, NotSent, MeaningOf(err), "%v", err)
	_, err = r.moonshotSend(t.Context(), m, Reset, allowed)
	require.Equal(t, NotSent, MeaningOf(err), "%v", err)
}

// After arm, a second POST does not go out, whoever asks for it.
func TestBMCHTTPActsOnce(t *testing.T) {
	t.Parallel()
	r, m := webRig(t, lab.Faults{})
	b, err := newBMCHTTP(r.Config.Devices, m.Moonshot.Fingerprint)
	require.NoError(t, err)
	b.arm(allowed)
	for i := range 2 {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+m.Moonshot.Addr()+"/", nil)
		require.NoError(t, err)
		resp, err := b.client().Do(q)
		require.Equal(t, i == 1, err != nil, "%v", err)
		if err == nil {
			require.NoError(t, resp.Body.Close())
		}
	}
	require.Error(t, pinned("x")(tls.ConnectionState{}), "no certificate is no match")
}

func TestMoonshotReset(t *testing.T) {
	t.Parallel()
	r, _ := webRig(t, lab.Faults{})
	res, err := execute(t, r.MoonshotReset, r.command(Reset, rigWatch), call{})
	require.NoError(t, err)
	require.Equal(t, "cold reset of c1n1", res.Sent)
	require.True(t, res.Watch.Down || res.Watch.Rebooted, "%+v", res.Watch)
	require.Equal(t, []string{"cold reset c1n1"}, r.webControls())
}

func TestActMeaning(t *testing.T) {
	t.Parallel()
	message := func(id, text string) []byte {
		return []byte(`{"error":{"@Message.ExtendedInfo":[{"MessageId":"` + id + `","Message":"` + text + `"}]}}`)
	}
	for name, c := range map[string]struct {
		act     act
		meaning Meaning
		already bool
	}{
		"never connected":     {act{err: errors.New("x")}, NotSent, false},
		"begun":               {act{begun: true}, Unknown, false},
		"200":                 {act{begun: true, status: 200}, "", false},
		"202 with garbage":    {act{begun: true, status: 202, body: []byte("{{")}, "", false},
		"Dell's already":      {act{begun: true, status: 409, body: message("IDRAC.2.5.PSU501", "Server is already powered ON.")}, "", true},
		"HP's already":        {act{begun: true, status: 400, body: []byte(`{"Messages":[{"MessageID":"X","Message":"already on"}]}`)}, "", true},
		"a plain 400":         {act{begun: true, status: 400, body: message("Base.1.8.ActionParameterMissing", "no")}, Refused, false},
		"already and 500":     {act{begun: true, status: 500, body: message("X", "already on")}, Unknown, false},
		"other power state":   {act{begun: true, status: 400, body: message("iLO.2.14.InvalidOperationForSystemState", "")}, NotSent, false},
		"501 does not act":    {act{begun: true, status: 501}, Refused, false},
		"429":                 {act{begun: true, status: 429}, NotSent, false},
		"408":                 {act{begun: true, status: 408}, Unknown, false},
		"404 without message": {act{begun: true, status: 404}, Refused, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, already := actMeaning(c.act)
			require.Equal(t, c.meaning, m)
			require.Equal(t, c.already, already)
		})
	}
}

// FuzzActMeaning holds that no answer panics, that a body alone never makes a
// command look done unless it says "already", and that no text of it is shown.
func FuzzActMeaning(f *testing.F) {
	f.Add(400, []byte(`{"error":{"@Message.ExtendedInfo":[{"MessageId":"Base.1.8.X","Message":"already on"}]}}`))
	f.Add(409, []byte(`{"Messages":[{"MessageID":"Base.0.10.Success"}]}`))
	f.Add(500, []byte("\x00\xff{{"))
	f.Add(400, []byte(`{"error":[],"Messages":7}`))
	f.Add(400, []byte(`{"error":{"code":"s3cret with blanks"}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := act{begun: true, status: status, body: body}
		m, already := actMeaning(a)
		if m == "" && !already {
			require.True(t, status >= 200 && status < 300)
		}
		require.NotContains(t, actText(a), "\x00")
		require.NotContains(t, actText(a), "\n")
		require.Less(t, len(actText(a)), 500)
	})
}
