package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestManagedHost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pattern, id string
		want        bool
	}{
		"not set":            {"", "anything", true},
		"matches":            {`t-linux64-ms-\d+`, "t-linux64-ms-001", true},
		"in capitals":        {`t-linux64-ms-\d+`, "T-LINUX64-MS-001", true},
		"only the beginning": {`t-linux64-ms-\d+`, "t-linux64-ms-001x", false},
		"only the end":       {`t-linux64-ms-\d+`, "xt-linux64-ms-001", false},
		"first alternative":  {`a|b`, "ax", false},
		"last alternative":   {`a|b`, "xb", false},
		"second line":        {`(?m)^a$`, "b\na", false},
		"does not compile":   {`a[`, "a", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, API{WorkerIDs: tc.pattern}.ManagedHost(tc.id))
		})
	}
}

func TestValidateAPI(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{"BUGZILLA_URL=https://bugzilla.example", "FQDN_TO_SSH_FILE=/no/such/file"})
	require.NoError(t, err)
	require.EqualError(t, c.ValidateAPI(),
		"PUBLIC_URL: must be set: a Hawk header is signed for the address that clients see, like https://roller.example.com\n"+
			"TASKCLUSTER_ROOT_URL: must be set: its auth service says who a requester is, like https://firefox-ci-tc.services.mozilla.com")
	c, err = Load([]string{"PUBLIC_URL=https://roller.example", "TASKCLUSTER_ROOT_URL=https://tc.example", "FQDN_TO_SSH_FILE=/no/such/file"})
	require.NoError(t, err)
	require.NoError(t, c.ValidateAPI(), "what the worker needs is not asked for")
	c.API.TLSCertFile = "/no/such/file"
	require.EqualError(t, c.ValidateAPI(), "TLS_KEY_FILE: must be set too, because TLS_CERT_FILE is")
	c.API.TLSKeyFile = "/no/such/key"
	require.EqualError(t, c.ValidateAPI(), `TLS_CERT_FILE="/no/such/file", TLS_KEY_FILE="/no/such/key": no such file or directory`)
}

func TestValidateWorker(t *testing.T) {
	t.Parallel()
	in := write(t, map[string]string{
		"ssh.json":  `{"ms1.test.releng.mdc1.mozilla.com":{"ssh":{"user":"roller","key_file":"KEY"}}}`,
		"pdus.json": `{"ms1.test.releng.mdc1.mozilla.com":{"pdu":"pdu1:AA1"}}`,
	})
	xen := write(t, map[string]string{"xen.json": `{"ms1.test.releng.mdc1.mozilla.com":{"xen_uuid":"2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"}}`})
	vm := []string{"FQDN_TO_XEN_FILE=" + xen.files.Xen, "XEN_URL=https://xen.example", "XEN_USERNAME=roller", "XEN_PASSWORD=hunter2"}
	vm = vm[:len(vm):len(vm)]
	known := filepath.Join(in.dir, "known_hosts")
	require.NoError(t, os.WriteFile(known, nil, 0o600))
	right := []string{"SSH_KNOWN_HOSTS_FILE=" + known, "SNMP_COMMUNITY=hunter2", "FQDN_TO_SSH_FILE=" + in.files.SSH, "FQDN_TO_PDU_FILE=" + in.files.PDU}
	for name, tc := range map[string]struct {
		also []string
		want string
	}{
		"right":          {},
		"no host keys":   {[]string{"SSH_KNOWN_HOSTS_FILE=/no/such/file"}, `SSH_KNOWN_HOSTS_FILE="/no/such/file": no such file or directory; it holds the host keys of the machines with an ssh entry (ssh-keyscan writes it)`},
		"no community":   {[]string{"SNMP_COMMUNITY="}, "SNMP_COMMUNITY: must be set: the inventory has machines on a PDU"},
		"no such file":   {[]string{"FQDN_TO_IPMI_FILE=/no/such/file"}, "/no/such/file: cannot be read: no such file or directory"},
		"Bugzilla half":  {[]string{"BUGZILLA_API_KEY=hunter2"}, "BUGZILLA_URL: must be set too, because BUGZILLA_API_KEY is"},
		"Xen half":       {[]string{"XEN_URL=https://xen.example"}, "XEN_USERNAME, XEN_PASSWORD: must be set too, because XEN_URL is"},
		"Xen in clear":   {append(vm, "XEN_URL=http://xen.example"), "XEN_URL: must begin with https://: the password goes over it"},
		"no Xen CA":      {append(vm, "XEN_CA_FILE=/no/such/file"), `XEN_CA_FILE="/no/such/file": no such file or directory`},
		"empty Xen CA":   {append(vm, "XEN_CA_FILE="+known), `XEN_CA_FILE="` + known + `": holds no PEM certificate`},
		"iLO half":       {[]string{"ILO_USERNAME=roller"}, "ILO_PASSWORD: must be set too, because ILO_USERNAME is"},
		"several":        {[]string{"ILO_USERNAME=roller", "SNMP_COMMUNITY="}, "ILO_PASSWORD: must be set too, because ILO_USERNAME is\nSNMP_COMMUNITY: must be set: the inventory has machines on a PDU"},
		"Bugzilla whole": {[]string{"BUGZILLA_API_KEY=hunter2", "BUGZILLA_URL=https://bugzilla.example"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(append(right[:len(right):len(right)], tc.also...))
			require.NoError(t, err)
			err = c.ValidateWorker()
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tc.want)
			require.NotContains(t, err.Error(), hush)
		})
	}
}
