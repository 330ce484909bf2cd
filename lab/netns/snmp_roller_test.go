//go:build lab && linux

package netns

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
)

// The variable that names the inventory and the action of TestSNMPInside.
const snmpOrders = "ROLLER_NETNS_SNMP"

// snmpOrder is one action of roller's, on an outlet or by IPMI, and how it ended.
type snmpOrder struct {
	Environ []string                 `json:"environ"`
	IPMI    string                   `json:"ipmi"` // the machine's worker ID; "" is the first one's outlet
	Action  activities.Action        `json:"action"`
	Result  activities.CommandResult `json:"result"`
	Error   string                   `json:"error"`
}

// TestSNMPInside is the child: roller's own activity, in the lab's network.
func TestSNMPInside(t *testing.T) {
	path := os.Getenv(snmpOrders)
	if path == "" {
		t.Log("not a test of its own: TestRollerAgainstSnmpd runs it inside the lab's network")
		return
	}
	var o snmpOrder
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &o))
	cfg, err := config.Load(o.Environ)
	require.NoError(t, err)
	v, err := config.LoadInventory(cfg.Files)
	require.NoError(t, err)
	a := activities.New(cfg, func() *config.Inventory { return v })
	m, do, task := v.Machines()[0], a.SNMPOutlet, "snmp_rebootdelay"
	if o.IPMI != "" {
		m, err = v.Resolve(o.IPMI, "mdc1")
		require.NoError(t, err)
		do, task = a.IPMIPower, "ipmi_off"
	}
	o.Result, err = do(t.Context(), activities.Command{
		Machine: m.Name, Action: o.Action, Target: activities.TargetOf(m, task),
	})
	if err != nil {
		o.Error = err.Error()
	}
	text, err = json.Marshal(o)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))
}

// roll has roller carry out an action on the lab's first machine with one more
// pair of keys in its pdus.json.
func roll(t *testing.T, l *Lab, entry map[string]any, environ []string, action activities.Action) snmpOrder {
	t.Helper()
	dir := t.TempDir()
	env := l.WriteFiles(dir)
	text, err := os.ReadFile(env["FQDN_TO_PDU_FILE"])
	require.NoError(t, err)
	pdus := map[string]map[string]any{}
	require.NoError(t, json.Unmarshal(text, &pdus))
	maps.Copy(pdus[l.Machines()[0].FQDN], entry)
	text, err = json.Marshal(pdus)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(env["FQDN_TO_PDU_FILE"], text, 0o600))
	o := snmpOrder{Action: action, Environ: append([]string{"SNMP_TIMEOUT=4s", "SNMP_VERIFY_TIMEOUT=20s"}, environ...)}
	for name, value := range env {
		o.Environ = append([]string{name + "=" + value}, o.Environ...)
	}
	return carryOut(t, l, o)
}

// carryOut has the child do what an order says.
func carryOut(t *testing.T, l *Lab, o snmpOrder) snmpOrder {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orders.json")
	text, err := json.Marshal(o)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	child := l.Command(t.Context(), os.Args[0], "-test.run=^TestSNMPInside$")
	child.Env = append(os.Environ(), snmpOrders+"="+path)
	said, err := child.CombinedOutput()
	require.NoError(t, err, "%s", said)
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &o))
	require.NotContains(t, string(said)+o.Error, "s3cret")
	return o
}

func v3(user, auth, authPassword string) []string {
	return []string{
		"SNMP_V3_USER=" + user, "SNMP_V3_AUTH_PROTOCOL=" + auth, "SNMP_V3_AUTH_PASSWORD=" + authPassword,
		"SNMP_V3_PRIV_PROTOCOL=AES", "SNMP_V3_PRIV_PASSWORD=" + V3PrivPassword,
	}
}

var version3 = map[string]any{"version": "3"}

// TestRollerAgainstSnmpd switches a machine with every version, two families of
// PDUs and both kinds of authentication, at an agent that nobody here wrote.
func TestRollerAgainstSnmpd(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	cases := map[string]struct {
		entry   map[string]any
		environ []string
	}{
		"v1":         {map[string]any{"version": "1"}, nil},
		"v2c":        {nil, nil},
		"v2c, APC":   {map[string]any{"pdu": "pdu1.mdc1.example:1", "profile": "apc_rpdu"}, nil},
		"v3 SHA":     {version3, v3(V3User, "SHA", V3AuthPassword)},
		"v3 SHA-256": {version3, v3(V3User256, "SHA-256", V3AuthPassword)},
	}
	for name, u := range V3Users {
		c := cases["v1"]
		c.entry, c.environ = version3, append(v3(name, u.Auth, V3AuthPassword), "SNMP_V3_PRIV_PROTOCOL="+u.Priv)
		cases["v3 "+u.Auth+" "+u.Priv] = c
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { // one after the other: there is one machine
			before := len(l.Controls(m.ID))
			for _, action := range []activities.Action{activities.Off, activities.Off, activities.On} {
				o := roll(t, l, c.entry, c.environ, action)
				require.Empty(t, o.Error)
				require.Equal(t, string(action), o.Result.Power)
				require.Empty(t, o.Result.Unknown)
				require.Equal(t, action == activities.On, state(t, m).Outlet)
			}
			var sent []string
			for _, control := range l.Controls(m.ID)[before:] {
				sent = append(sent, control.Command)
			}
			require.Equal(t, []string{"set AA1 off", "set AA1 on"}, sent, "each is sent once, and what is off is left alone")
		})
	}
}

// TestSnmpdRefusesRoller has each thing that snmpd may not like end with the
// right meaning and nothing switched.
func TestSnmpdRefusesRoller(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	none := []string{"SNMP_V3_AUTH_PROTOCOL=none", "SNMP_V3_PRIV_PROTOCOL=none"}
	for name, c := range map[string]struct {
		entry   map[string]any
		environ []string
		says    string
		meaning activities.Meaning
	}{
		"wrong password":    {version3, v3(V3User, "SHA", "s3cret-wrong"), "refuses the SNMPv3 user", activities.Refused},
		"wrong hash":        {version3, v3(V3User, "SHA-256", V3AuthPassword), "refuses the SNMPv3 user", activities.Refused},
		"unknown user":      {version3, v3("stranger", "SHA", V3AuthPassword), "refuses the SNMPv3 user", activities.Refused},
		"level too low":     {version3, append(none, "SNMP_V3_USER="+V3User), "", activities.Refused},
		"may only read":     {version3, append(none, "SNMP_V3_USER="+V3UserOpen), "NoAccess", activities.Refused},
		"wrong community":   {nil, []string{"SNMP_COMMUNITY=s3cret-wrong"}, "no answer", activities.NotSent},
		"no such outlet":    {map[string]any{"pdu": "pdu1.mdc1.example:AA63"}, nil, "no such outlet", activities.Refused},
		"no such outlet v1": {map[string]any{"pdu": "pdu1.mdc1.example:AA63", "version": "1"}, nil, "no such outlet", activities.Refused},
	} {
		o := roll(t, l, c.entry, c.environ, activities.Off)
		require.Contains(t, o.Error, c.says, name)
		require.Contains(t, o.Error, "(type: "+string(c.meaning), name)
		require.Empty(t, l.Controls(m.ID), name)
	}
}

// TestLostReplyOfSnmpd has every reply lost: off is sent once, if at all, and
// never twice.
func TestLostReplyOfSnmpd(t *testing.T) {
	t.Parallel()
	l := Start(t, quick)
	m := l.Machines()[0]
	require.NoError(t, l.PDU().LoseReplies(40))
	for _, version := range []map[string]any{nil, version3} {
		before := len(l.Controls(m.ID))
		began := time.Now()
		o := roll(t, l, version, v3(V3User256, "SHA-256", V3AuthPassword), activities.Off)
		t.Logf("%v after %s: %+v %s", version, time.Since(began), o.Result, o.Error)
		sent := l.Controls(m.ID)[before:]
		require.LessOrEqual(t, len(sent), 1)
		if o.Error == "" {
			require.Equal(t, "off", o.Result.Power)
			require.True(t, strings.HasSuffix(o.Result.Sent, "off"))
		}
		require.NoError(t, l.PDU().LoseReplies(0))
		require.Empty(t, roll(t, l, nil, nil, activities.On).Error)
		require.NoError(t, l.PDU().LoseReplies(40))
	}
}
