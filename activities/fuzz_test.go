package activities

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// oneAgent is the network with an SNMP agent in it that answers each request once.
type oneAgent struct {
	net.Conn
	answer func(request []byte) []byte
	said   []byte
}

func (a *oneAgent) Write(b []byte) (int, error) {
	a.said = a.answer(append([]byte(nil), b...))
	return len(b), nil
}
func (*oneAgent) SetDeadline(time.Time) error { return nil }
func (*oneAgent) Close() error                { return nil }

func (a *oneAgent) Read(b []byte) (int, error) {
	if a.said == nil {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b, a.said)
	a.said = nil
	return n, nil
}

// said is an agent's message, or silence for what cannot be said: the library
// panics over a value that is not of its type.
func said(p *gosnmp.SnmpPacket) (out []byte) {
	defer func() { _ = recover() }()
	out, _ = p.MarshalMsg()
	return out
}

// FuzzSNMPAnswer holds that no datagram makes a Set look done but a response to
// it without an error, and that nothing but a read's error says "not sent".
func FuzzSNMPAnswer(f *testing.F) {
	f.Add(uint8(gosnmp.GetResponse), uint8(gosnmp.NoError), uint8(gosnmp.Integer), []byte(nil))
	f.Add(uint8(gosnmp.GetResponse), uint8(gosnmp.NoAccess), uint8(gosnmp.Integer), []byte(nil))
	f.Add(uint8(gosnmp.GetResponse), uint8(gosnmp.NoError), uint8(gosnmp.NoSuchInstance), []byte(nil))
	f.Add(uint8(gosnmp.SetRequest), uint8(gosnmp.GenErr), uint8(gosnmp.OctetString), []byte(nil))
	f.Add(uint8(gosnmp.Report), uint8(0), uint8(gosnmp.Counter32), []byte{0x30, 0x82})
	f.Add(uint8(0), uint8(0), uint8(0), garbage(3))
	f.Fuzz(func(t *testing.T, kind, status, value uint8, raw []byte) {
		decoder := &gosnmp.GoSNMP{Version: gosnmp.Version2c}
		answer := func(request []byte) []byte {
			if len(raw) > 0 {
				return raw
			}
			p, err := decoder.SnmpDecodePacket(request)
			require.NoError(t, err)
			p.PDUType, p.Error, p.ErrorIndex = gosnmp.PDUType(kind), gosnmp.SNMPError(status), 1
			p.Variables[0].Type = gosnmp.Asn1BER(value)
			return said(p)
		}
		o := config.Outlet{Host: "pdu1", Number: 1, Profile: config.ProfileFor(".1.3.6.1.4.1.318.1.3.4.5")}
		session := func() *snmpSession {
			g := &gosnmp.GoSNMP{
				Target: "127.0.0.1", Port: 161, Transport: "udp", Context: t.Context(),
				Version: gosnmp.Version2c, Community: "c", Timeout: time.Minute, MaxOids: gosnmp.MaxOids,
			}
			require.NoError(t, g.Connect()) // which sends nothing, and makes buffers
			require.NoError(t, g.Conn.Close())
			g.Conn, g.Timeout = &oneAgent{answer: answer}, time.Millisecond
			return &snmpSession{GoSNMP: g, outlet: o, limit: time.Millisecond, close: func() {}}
		}
		err := session().setOutlet(o, Off)
		good := len(raw) == 0 && gosnmp.PDUType(kind) == gosnmp.GetResponse && status == uint8(gosnmp.NoError)
		if err == nil && len(raw) == 0 {
			require.True(t, good, "done, says nobody")
		}
		if MeaningOf(err) == NotSent && err != nil {
			require.True(t, len(raw) > 0 || status == uint8(gosnmp.ResourceUnavailable), "%v", err)
		}
		if _, err := session().get(sysObjectID); err != nil {
			require.NotEqual(t, Unknown, MeaningOf(err), "a read changes nothing: %v", err)
			require.NotContains(t, err.Error(), "goroutine")
		}
	})
}

const hostLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// dialable is what the inventory takes for a host.
var dialable = regexp.MustCompile(`\A[_0-9a-zA-Z][-_.0-9a-zA-Z]{0,252}\z`)

// FuzzKnownHosts holds that adding a key keeps every byte of the file that was
// there, and that the key is known afterwards where the file can be read.
func FuzzKnownHosts(f *testing.F) {
	key := signerOf(f, newKey(f, "ssh-ed25519")).PublicKey()
	f.Add("", "ms1-10.example:22")
	f.Add("# a comment without an end", "[ms1-10.example]:2022")
	f.Add("|1|x|y ssh-ed25519 AAAA\n@revoked * ssh-rsa AAAA\n", "ms1-10.example:22")
	f.Add("\x00\xff\n\n\r", "10.0.0.1:22")
	f.Fuzz(func(t *testing.T, had, host string) {
		name, _, err := net.SplitHostPort(host)
		if err != nil || !dialable.MatchString(name) || strings.Trim(host, "[]:."+hostLetters) != "" {
			return // the inventory has no such host
		}
		path := filepath.Join(t.TempDir(), "known_hosts")
		require.NoError(t, os.WriteFile(path, []byte(had), 0o600))
		devices := config.Devices{KnownHostsFile: path, HostKeys: config.HostKeysAcceptNew}
		h, err := newHostKeys(devices, host)
		if err != nil || len(h.known) > 0 || h.authority {
			return
		}
		added := h.add(t.Context(), key)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(text), had), "what was there stays")
		if added == nil {
			again, err := newHostKeys(devices, host)
			require.NoError(t, err)
			require.NoError(t, again.check(t.Context(), key))
		}
	})
}

// FuzzBugzillaAnswer holds that an answer is success only if it is JSON that
// says no error, and that no answer makes an error show the key.
func FuzzBugzillaAnswer(f *testing.F) {
	const key = "s3cret-key/+"
	f.Add(200, `{"id":7}`, "application/json")
	f.Add(400, `{"error":true,"code":103,"message":"taken `+key+`"}`, "application/json")
	f.Add(500, "<html>", "text/html")
	f.Add(200, `{"error":true,"code":"306"}`, key)
	f.Add(301, "", "")
	f.Fuzz(func(t *testing.T, status int, body, kind string) {
		b := &bugzilla{key: config.NewSecret(key)}
		resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			var answer struct {
				ID int `json:"id"`
			}
			err := b.read("bugzilla: x", method, resp, []byte(body), &answer)
			if err == nil {
				require.Less(t, status, 300)
				require.True(t, json.Valid([]byte(body)))
				continue
			}
			require.Contains(t, []Meaning{NotSent, Refused}, MeaningOf(err))
			require.NotContains(t, err.Error(), key)
		}
	})
}

// FuzzRedfishAnswer holds that the messages of an answer, whatever it is, never
// reach what roller says of it.
func FuzzRedfishAnswer(f *testing.F) {
	f.Add(409, `{"error":{"code":"Base.1.8.ResourceInUse","message":"s3cret"}}`)
	f.Add(400, `{"Messages":[{"MessageID":"iLO.2.14.InvalidOperationForSystemState"}]}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		a := act{begun: true, status: status, body: []byte(body)}
		m, already := actMeaning(a)
		require.False(t, already && m != "")
		for _, msg := range bmcMessages(a.body) {
			if len(msg.Message) > 20 && !strings.Contains(statusText(status), msg.Message) && !strings.Contains(msg.MessageID, msg.Message) {
				require.NotContains(t, actText(a), msg.Message)
			}
		}
	})
}
