package activities

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// sender sends a machine's command once; ready is asked just before.
type sender func(ctx context.Context, m config.Machine, ready func() error) (string, error)

func withAction(send func(context.Context, config.Machine, Action, func() error) (string, error), action Action) sender {
	return func(ctx context.Context, m config.Machine, ready func() error) (string, error) {
		return send(ctx, m, action, ready)
	}
}

// booting is reimage's dialogue by one kind of device. It asks twice whether it may
// write, and the power-cycle is the second.
func booting(by Target) func(*rig) sender {
	return func(r *rig) sender {
		return func(ctx context.Context, m config.Machine, ready func() error) (string, error) {
			asked := 0
			what, _, err := r.netbooterOf(by).boot(ctx, m, func() error {
				if asked++; asked == 2 {
					return ready()
				}
				return nil
			})
			return what, err
		}
	}
}

// nobodyPort is tcpmux: nobody listens.
const nobodyPort = 1

func sshTrial(s shape) trial {
	return func(t *testing.T) (int, error) {
		r := newSSHRig(t)
		r.Config.Devices.SSHTimeout = stageTimeout(s.open != nil)
		p := newSSHPeer(t, r, s)
		r.knows(t, p.known())
		_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
		return len(p.commands()), err
	}
}

var sshTrials = map[string]trial{
	badCredentials: sshTrial(shape{cfg: &ssh.ServerConfig{
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, net.ErrClosed },
	}}),
	unreachable: func(t *testing.T) (int, error) {
		r := newSSHRig(t)
		m := r.entry(t)
		account := *m.SSH
		account.Port = nobodyPort
		m.SSH = &account
		_, err := r.sshReboot(t.Context(), m, Reboot, always)
		return len(r.lab.Controls("")), err
	},
	timeoutBefore: sshTrial(shape{open: func(net.Conn, ssh.NewChannel) {}}),
	lostReply:     sshTrial(shape{exec: func(c net.Conn, _ *ssh.Request) { _ = c.Close() }}),
	garbageReply:  sshTrial(shape{exec: func(c net.Conn, _ *ssh.Request) { _, _ = c.Write(make([]byte, 1<<10)) }}),
}

// ipmiTrials are those of the native client. A relay before the BMC has its own
// mind from the moment of the command.
func ipmiTrials(send func(*rig) sender) map[string]trial {
	run := func(spoil func(t *testing.T, r *rig, b *config.IPMI, sent *atomic.Bool)) trial {
		return func(t *testing.T) (int, error) {
			r := newRig(t, lab.Spec{NoOutlet: true})
			r.Config.Devices.IPMITimeout = config.Duration(500 * time.Millisecond)
			r.Config.Devices.IPMIStatusWait = config.Duration(100 * time.Millisecond)
			r.Config.Devices.IPMIStatusPoll = config.Duration(50 * time.Millisecond)
			m, b := r.bmc(t)
			var sent atomic.Bool
			spoil(t, r, b, &sent)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // less than a session's set-up
			defer cancel()
			_, err := send(r)(ctx, m, func() error { sent.Store(true); return nil })
			return len(r.lab.Controls("")), err
		}
	}
	replies := func(spoil func([]byte) []byte, always bool) trial {
		return run(func(t *testing.T, _ *rig, b *config.IPMI, sent *atomic.Bool) {
			front := newRelay(t, b.Addr(), func(_ int, reply []byte) []byte {
				if sent.Load() || always {
					return spoil(reply)
				}
				return reply
			})
			b.Host, b.Port = front.host, front.port
		})
	}
	nothing := func([]byte) []byte { return nil }
	return map[string]trial{
		badCredentials: run(func(_ *testing.T, _ *rig, b *config.IPMI, _ *atomic.Bool) {
			b.Password = config.NewSecret("s3cret-wrong")
		}),
		unreachable:   run(func(_ *testing.T, _ *rig, b *config.IPMI, _ *atomic.Bool) { b.Port = nobodyPort }),
		timeoutBefore: replies(nothing, true),
		lostReply:     replies(nothing, false),
		garbageReply:  replies(func([]byte) []byte { return garbage(1) }, false),
	}
}

// toolTrial has ipmitool say a text to one command, in its own words of 1.8.19.
func toolTrial(command, says string) trial {
	return func(t *testing.T) (int, error) {
		f := newFake(t)
		if command == "chassis_power_status" {
			require.NoError(t, os.Remove(filepath.Join(f.dir, command)))
		}
		f.says(command+".err", says)
		r, m := blade(t)
		_, err := r.ipmiControl(t.Context(), m, Reset, allowed)
		return f.sent("chassis power reset"), err
	}
}

var toolTrials = map[string]trial{
	badCredentials: toolTrial("chassis_power_status", "> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n"),
	unreachable:    toolTrial("chassis_power_status", "Get Auth Capabilities error\nError: Unable to establish IPMI v2 / RMCP+ session\n"),
	timeoutBefore: func(t *testing.T) (int, error) {
		f := newFake(t)
		f.says("chassis_power_status.hang", "")
		r, m := blade(t)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // less than a read with its repeats
		defer cancel()
		_, err := r.ipmiControl(ctx, m, Reset, allowed)
		return f.sent("chassis power reset"), err
	},
	lostReply:    toolTrial("chassis_power_reset", "Unable to set Chassis Power Control to Reset\n"),
	garbageReply: toolTrial("chassis_power_reset", "\x00\xff\x1b[2J%s"),
}

func webTrials(send func(*rig) sender) map[string]trial {
	run := func(faults lab.Faults, spoil func(t *testing.T, r *rig, m *config.Machine)) trial {
		return func(t *testing.T) (int, error) {
			r, m := webRig(t, faults)
			if spoil != nil {
				spoil(t, r, &m)
			}
			_, err := send(r)(t.Context(), m, allowed)
			return len(r.webControls()), err
		}
	}
	return map[string]trial{
		badCredentials: run(lab.Faults{}, func(_ *testing.T, _ *rig, m *config.Machine) {
			m.ILO.Password, m.Moonshot.Password = config.NewSecret("s3cret-wrong"), config.NewSecret("s3cret-wrong")
		}),
		unreachable: run(lab.Faults{}, func(_ *testing.T, _ *rig, m *config.Machine) { m.ILO.Port, m.Moonshot.Port = nobodyPort, nobodyPort }),
		timeoutBefore: run(lab.Faults{}, func(t *testing.T, r *rig, m *config.Machine) {
			impatient(r, m)
			m.ILO.Host, m.ILO.Port = silentListener(t)
			m.Moonshot.Host, m.Moonshot.Port = m.ILO.Host, m.ILO.Port
		}),
		lostReply:    run(lab.Faults{LoseCommandReply: true}, nil),
		garbageReply: run(lab.Faults{Web: lab.WebFaults{GarbageReply: true}}, nil),
	}
}

// silentListener takes connections and says nothing.
func silentListener(t *testing.T) (host string, port int) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
}

// xenTrial starts a VM that is off. Where the reply counts, the state after it
// cannot be read: it would tell.
func xenTrial(f lab.XAPIFaults, spoil func(r *rig)) trial {
	return func(t *testing.T) (int, error) {
		r := newVM(t, lab.Faults{})
		r.Config.Devices.XenTimeout = config.Duration(4 * time.Second)
		r.Config.Devices.XenShutdown = config.Duration(time.Second)
		r.machine.Kill()
		r.lab.XAPI().SetFaults(f)
		if spoil != nil {
			spoil(r)
		}
		_, err := r.xenSend(t.Context(), r.entry(t), On, allowed)
		return len(r.commands()), err
	}
}

const xenState = "VM.get_power_state"

var xenTrials = map[string]trial{
	badCredentials: xenTrial(lab.XAPIFaults{}, func(r *rig) { r.Config.Devices.XenPassword = config.NewSecret("s3cret-wrong") }),
	unreachable:    xenTrial(lab.XAPIFaults{}, func(r *rig) { r.Config.Devices.XenURL = "https://127.0.0.1:1" }),
	timeoutBefore:  xenTrial(lab.XAPIFaults{NeverAnswers: true}, nil),
	lostReply:      xenTrial(lab.XAPIFaults{DropAfter: start, RefuseFor: xenState, Refuse: "HOST_STILL_BOOTING"}, nil),
	garbageReply:   xenTrial(lab.XAPIFaults{GarbageFor: start, Garbage: "<html>", RefuseFor: xenState, Refuse: "HOST_STILL_BOOTING"}, nil),
}

// snmpV3 gives the rig's outlet the lab's user.
func (r *rig) snmpV3(o *config.Outlet) {
	o.Version = config.SNMPv3
	o.V3 = &config.SNMPUser{
		User: lab.SNMPUser, AuthProtocol: "SHA-256", AuthPassword: config.NewSecret(lab.SNMPAuthPassword),
		PrivProtocol: "AES", PrivPassword: config.NewSecret(lab.SNMPPrivPassword),
	}
}

func snmpTrials(version config.SNMPVersion) map[string]trial {
	run := func(faults lab.Faults, spoil func(t *testing.T, r *rig, o *config.Outlet, sent *atomic.Bool)) trial {
		return func(t *testing.T) (int, error) {
			r := newRig(t, lab.Spec{NoBMC: true, Faults: faults})
			r.Config.Devices.SNMPTimeout = config.Duration(400 * time.Millisecond)
			m, o := r.pdu(t)
			if o.Version = version; version == config.SNMPv3 {
				r.snmpV3(o)
			}
			var sent atomic.Bool
			if spoil != nil {
				spoil(t, r, o, &sent)
			}
			_, err := r.snmpSet(t.Context(), m, Reboot, func() error { sent.Store(true); return nil })
			return len(r.lab.Controls("")), err
		}
	}
	return map[string]trial{
		badCredentials: run(lab.Faults{}, func(_ *testing.T, r *rig, o *config.Outlet, _ *atomic.Bool) {
			r.Config.Devices.SNMPCommunity = config.NewSecret("s3cret-wrong")
			if o.V3 != nil {
				o.V3.AuthPassword = config.NewSecret("s3cret-wrong")
			}
		}),
		unreachable:   run(lab.Faults{}, func(_ *testing.T, _ *rig, o *config.Outlet, _ *atomic.Bool) { o.Port = nobodyPort }),
		timeoutBefore: run(lab.Faults{PDUDead: true}, nil),
		lostReply:     run(lab.Faults{LoseCommandReply: true}, nil),
		garbageReply: run(lab.Faults{}, func(t *testing.T, _ *rig, o *config.Outlet, sent *atomic.Bool) {
			front := newRelay(t, o.Addr(), func(_ int, reply []byte) []byte {
				if sent.Load() {
					return reply[:len(reply)/2]
				}
				return reply
			})
			o.Host, o.Port = front.host, front.port
		}),
	}
}

// bugzillaTrial files a report; instead answers its creation in the place of the
// stand-in, which has created it.
func bugzillaTrial(spoil func(*config.Bugzilla, *lab.Bugzilla), instead http.HandlerFunc) trial {
	return func(t *testing.T) (int, error) {
		const key = "s3cret-key"
		b := lab.NewBugzilla(key)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if instead == nil || r.Method != http.MethodPost {
				b.ServeHTTP(w, r)
				return
			}
			b.ServeHTTP(httptest.NewRecorder(), r)
			instead(w, r)
		}))
		t.Cleanup(server.Close)
		cfg := &config.Config{Bugzilla: config.Bugzilla{URL: server.URL, APIKey: config.NewSecret(key), Timeout: config.Duration(time.Second)}}
		if spoil != nil {
			spoil(&cfg.Bugzilla, b)
		}
		_, err := New(cfg, func() *config.Inventory { return config.NewInventory() }).BugzillaFile(t.Context(), Bug{
			Machine: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: "ms1-10.test.releng.mdc1.mozilla.com", Task: "reboot",
		})
		app, ok := errors.AsType[*temporal.ApplicationError](err)
		require.True(t, ok, "%v", err)
		return len(b.Bugs()), meaning(Meaning(app.Type()), "%s", app.Message())
	}
}

var bugzillaTrials = map[string]trial{
	badCredentials: bugzillaTrial(func(c *config.Bugzilla, _ *lab.Bugzilla) { c.APIKey = config.NewSecret("s3cret-wrong") }, nil),
	unreachable:    bugzillaTrial(func(c *config.Bugzilla, _ *lab.Bugzilla) { c.URL = "http://127.0.0.1:1" }, nil),
	timeoutBefore: bugzillaTrial(func(c *config.Bugzilla, b *lab.Bugzilla) {
		c.Timeout = config.Duration(100 * time.Millisecond)
		b.SetFaults(lab.BugzillaFaults{Slow: time.Hour})
	}, nil),
	lostReply:    bugzillaTrial(nil, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	garbageReply: bugzillaTrial(nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(garbage(1)) }),
}
