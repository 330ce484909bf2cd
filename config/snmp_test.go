package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	relay    = `"status": ".1.3.6.1.4.1.9.1", "states": {"on": 1, "off": 0}, "on": {"oid": "1.3.6.1.4.1.9.2", "value": 1}, "off": {"oid": ".1.3.6.1.4.1.9.2", "value": 0}`
	someUser = `"user": "roller", "auth_protocol": "SHA-256", "auth_password": "hunter2hunter2", "priv_protocol": "AES", "priv_password": "hunter3hunter3"`
)

// badPDUs is what the files about PDUs may have wrong, with the exact message.
var badPDUs = map[string]struct{ pdus, profiles, users, want string }{
	"unknown profile":    {pdus: `"pdu": "pdu1:7", "profile": "apc"`, want: `pdus.json:1: ` + a + `: "profile" "apc" is not known; known are "apc_masterswitch", "apc_rpdu", "apc_rpdu2", "cyberpower", "eaton_epdu", "poe", "raritan_px2", "sentry3", "sentry4", "tripplite", "tripplite_old"`},
	"letters for APC":    {pdus: `"pdu": "pdu1:AA7", "profile": "apc_rpdu"`, want: `pdus.json:1: ` + a + `: pdu1:AA7 is not an outlet of apc_rpdu: their names are like pdu1.example:7`},
	"number for Sentry":  {pdus: `"pdu": "pdu1:7", "profile": "sentry4"`, want: `pdus.json:1: ` + a + `: pdu1:7 is not an outlet of sentry4: their names are like pdu1.example:AB12`},
	"group for APC":      {pdus: `"pdu": "pdu1:1.7", "profile": "apc_rpdu"`, want: `pdus.json:1: ` + a + `: pdu1:1.7 is not an outlet of apc_rpdu, which has no groups: their names are like pdu1.example:7`},
	"group, no profile":  {pdus: `"pdu": "pdu1:1.7"`, want: `pdus.json:1: ` + a + `: pdu1:1.7 has a group: name the "profile"`},
	"two names of one":   {pdus: `"pdu": ["sw:7", "sw:1.7"], "profile": "poe"`, want: `pdus.json:1: ` + a + `: outlet sw:7 stands twice`},
	"version":            {pdus: `"pdu": "pdu1:7", "version": "v2c"`, want: `pdus.json:1: ` + a + `: "version" must be one of "1", "2c", "3"`},
	"user for version 2": {pdus: `"pdu": "pdu1:7", "v3": "u"`, users: `"u": {` + someUser + `}`, want: `pdus.json:1: ` + a + `: "v3" needs "version": "3"`},
	"unknown user":       {pdus: `"pdu": "pdu1:7", "version": "3", "v3": "u"`, want: `pdus.json:1: ` + a + `: "v3" "u" is not in snmp_users.json (SNMP_USERS_FILE)`},
	"built in":           {profiles: `"poe": {` + relay + `}`, want: `pdu_profiles.json:1: poe: this profile is built in and cannot be changed: take another name`},
	"a name":             {profiles: `"a b": {` + relay + `}`, want: `pdu_profiles.json:1: a b: a name must be letters, digits, dots, - and _`},
	"no OID":             {profiles: `"r": {"status": "sysName", ` + relay[len(`"status": ".1.3.6.1.4.1.9.1", `):] + `}`, want: `pdu_profiles.json:1: r: "status" "sysName" is not an OID in numbers, like .1.3.6.1.4.1.318`},
	"value":              {profiles: `"r": {` + relay + `, "reboot": {"oid": ".1.3", "value": "3"}}`, want: `pdu_profiles.json:1: r: reboot: "value" must be a whole number of 32 bits`},
	"stray group":        {profiles: `"r": {` + relay + `, "group": 1}`, want: `pdu_profiles.json:1: r: "group" must be 0 or more, and needs "index": "group.outlet"`},
	"unknown key":        {profiles: `"r": {` + relay + `, "reset": 1}`, want: `pdu_profiles.json:1: r: "reset" is not known here; known are "status", "states", "on", "off", "reboot", "index", "group"`},
	"short password":     {users: `"u": {"user": "r", "auth_protocol": "SHA", "auth_password": "hunter2", "priv_protocol": "none"}`, want: `snmp_users.json:1: u: "auth_password" must be 8 bytes or more (RFC 3414, 11.2); whoever wants none says "none" as the protocol`},
	"privacy alone":      {users: `"u": {"user": "r", "auth_protocol": "none", "priv_protocol": "AES", "priv_password": "hunter2hunter2"}`, want: `snmp_users.json:1: u: "priv_protocol" must be "none" where there is no authentication (RFC 3414, 1.4.2)`},
	"MD5":                {users: `"u": {"user": "r", "auth_protocol": "MD5", "auth_password": "hunter2hunter2", "priv_protocol": "none"}`, want: `snmp_users.json:1: u: "auth_protocol" must be one of "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512", "none"`},
	"level not said":     {users: `"u": {"user": "r"}`, want: `snmp_users.json:1: u: "auth_protocol" is missing` + "\n" + `snmp_users.json:1: u: "priv_protocol" is missing`},
}

func withoutDir(err error, dir string) string { return strings.ReplaceAll(err.Error(), dir+"/", "") }

func TestBadPDUFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range badPDUs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contents := map[string]string{"pdu_profiles.json": "{" + tc.profiles + "}", "snmp_users.json": "{" + tc.users + "}"}
			if tc.pdus != "" {
				contents["pdus.json"] = `{` + fa + `: {` + tc.pdus + `}}`
			}
			w := write(t, contents)
			_, err := LoadInventory(w.files)
			require.Error(t, err)
			require.Equal(t, tc.want, withoutDir(err, w.dir))
			require.NotContains(t, err.Error(), "hunter")
		})
	}
}

func TestOnePDUHasOneProfile(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"pdus.json": `{` + fa + ": {\"pdu\": \"sw:7\", \"profile\": \"poe\"},\n" + fb + `: {"pdu": "sw:7"}}`})
	_, err := LoadInventory(w.files)
	require.Error(t, err)
	require.Equal(t, `pdus.json:2: outlet sw:7 feeds `+b+` here, but `+a+" at pdus.json:1\n"+
		`pdus.json:2: the profile of PDU sw is found by sysObjectID here, but poe at pdus.json:1`, withoutDir(err, w.dir))
}

func TestPDUEntry(t *testing.T) {
	t.Parallel()
	files := write(t, map[string]string{
		"pdus.json":         `{` + fa + `: {"pdu": "pdu1:2.7", "profile": "relay", "version": "3", "v3": "u"}, ` + fb + `: {"pdu": ["sw:1.7", "sw:2.7"], "profile": "poe"}}`,
		"pdu_profiles.json": `{"relay": {` + relay + `, "index": "group.outlet", "group": 0}}`,
		"snmp_users.json":   `{"u": {` + someUser + `}}`,
	}).files
	v, err := LoadInventory(files)
	require.NoError(t, err)
	o := v.Machines()[0].Outlets[0]
	require.Equal(t, "pdu1:2.7", o.String())
	require.Equal(t, ".1.3.6.1.4.1.9.1.2.7", o.Profile.At(o.Profile.Status, o))
	require.Equal(t, Setting{".1.3.6.1.4.1.9.2", 1}, o.Profile.On)
	require.Equal(t, SNMPv3, o.Version)
	require.Equal(t, "hunter2hunter2", o.V3.AuthPassword.Reveal())
	require.NotContains(t, fmt.Sprintf("%+v %v", *o.V3, v.Machines()), "hunter")
	require.Equal(t, "[sw:7 sw:2.7]", fmt.Sprint(v.Machines()[1].Outlets), "a profile's own group is left out")

	files.NamesOnly = true
	v, err = LoadInventory(files)
	require.NoError(t, err)
	require.True(t, v.Machines()[0].Outlets[0].V3.AuthPassword.IsZero())
}

func TestProfileFor(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		".1.3.6.1.4.1.1718.3": "sentry3", "1.3.6.1.4.1.1718.4": "sentry4", ".1.3.6.1.4.1.1718.3.1": "sentry3",
		".1.3.6.1.4.1.1718.30": "", ".1.3.6.1.4.1.1718": "", "": "",
		".1.3.6.1.4.1.318.1.3.4.5": "apc_rpdu", ".1.3.6.1.4.1.318.1.3.4.6": "apc_rpdu2", ".1.3.6.1.4.1.318.1.3.4.1": "apc_masterswitch",
		".1.3.6.1.4.1.318.1.3.4.8": "apc_rpdu2", ".1.3.6.1.4.1.318.1.3.4.3": "", ".1.3.6.1.4.1.318.1.3.4.4": "",
		".1.3.6.1.4.1.534.6.6.7": "eaton_epdu", ".1.3.6.1.4.1.534.6.6.6": "", ".1.3.6.1.4.1.3808.1.1.3": "cyberpower",
		".1.3.6.1.4.1.850.1.1.1": "tripplite", ".1.3.6.1.4.1.850.1": "tripplite_old",
		".1.3.6.1.4.1.318.1.3.27": "",                                        // a UPS
		".1.3.6.1.4.1.13742.6":    "raritan_px2", ".1.3.6.1.4.1.13742.4": "", // Raritan's first generation has another MIB
	} {
		got := ""
		if p := ProfileFor(id); p != nil {
			got = p.Name
		}
		require.Equal(t, want, got, id)
	}
}

func TestRebootsItself(t *testing.T) {
	t.Parallel()
	one := func(o Outlet) []Outlet { return []Outlet{o} }
	sentry, apc, poe := profiles[0], profiles[2], profiles[len(profiles)-1]
	for name, tc := range map[string]struct {
		outlets []Outlet
		want    bool
	}{
		"Sentry":            {one(Outlet{Tower: 1, Profile: sentry}), true},
		"Sentry by letters": {one(Outlet{Tower: 1}), true},
		"APC":               {one(Outlet{Profile: apc}), true},
		"nobody said what":  {one(Outlet{}), false},
		"no such command":   {one(Outlet{Profile: poe}), false},
		"two supplies":      {[]Outlet{{Tower: 1, Number: 1}, {Tower: 1, Number: 2}}, false},
		"none":              {nil, false},
	} {
		require.Equal(t, tc.want, Machine{Outlets: tc.outlets}.RebootsItself(), name)
	}
}

func TestSNMPv3Environment(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		environ []string
		want    string
	}{
		"passwords missing": {[]string{"SNMP_V3_USER=r"}, "SNMP_V3_AUTH_PASSWORD: must be 8 bytes or more (RFC 3414, 11.2); whoever wants none says \"none\" as the protocol\nSNMP_V3_PRIV_PASSWORD: must be 8 bytes or more (RFC 3414, 11.2); whoever wants none says \"none\" as the protocol"},
		"none, but set":     {[]string{"SNMP_V3_USER=r", "SNMP_V3_AUTH_PASSWORD=hunter2hunter2", "SNMP_V3_PRIV_PROTOCOL=none", "SNMP_V3_PRIV_PASSWORD=hunter3hunter3"}, `SNMP_V3_PRIV_PASSWORD: must not be set where the protocol is "none"`},
		"without, as said":  {[]string{"SNMP_V3_USER=r", "SNMP_V3_AUTH_PROTOCOL=none", "SNMP_V3_PRIV_PROTOCOL=none"}, ""},
		"both":              {[]string{"SNMP_V3_USER=r", "SNMP_V3_AUTH_PROTOCOL=sha-512", "SNMP_V3_AUTH_PASSWORD=hunter2hunter2", "SNMP_V3_PRIV_PASSWORD=hunter3hunter3"}, ""},
	} {
		_, err := Load(tc.environ)
		if tc.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.EqualError(t, err, tc.want, name)
	}
}

func TestValidateWorkerSNMP(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entry string
		want  string
	}{
		"community": {`"pdu": "pdu1:7"`, "SNMP_COMMUNITY: must be set: the inventory has machines on a PDU"},
		"user":      {`"pdu": "pdu1:7", "version": "3"`, `SNMP_V3_USER: must be set: the inventory has machines on a PDU with version 3 and no "v3"`},
		"named":     {`"pdu": "pdu1:7", "version": "3", "v3": "u"`, ""},
	} {
		cfg, err := Load(nil)
		require.NoError(t, err)
		cfg.Files = write(t, map[string]string{"pdus.json": `{` + fa + `: {` + tc.entry + `}}`, "snmp_users.json": `{"u": {` + someUser + `}}`}).files
		if err = cfg.ValidateWorker(); tc.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.EqualError(t, err, tc.want, name)
	}
}
