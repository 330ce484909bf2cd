package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidateName(t *testing.T) {
	t.Parallel()
	const form, dash = "must be 1 to 128 characters out of letters, digits, - and _", "must not begin with -"
	long := strings.Repeat("a", 128)
	for name, tc := range map[string]struct {
		id, group string
		want      map[string][]string
	}{
		"right":               {"ms1-10", "mdc1", map[string][]string{}},
		"upper case":          {"MS1-10", "MDC1", map[string][]string{}},
		"any group":           {"ms1-10", "none", map[string][]string{}},
		"underscore":          {"_a_", "_", map[string][]string{}},
		"longest":             {long, long, map[string][]string{}},
		"too long":            {long + "a", "mdc1", map[string][]string{"worker_id": {form}}},
		"empty":               {"", "", map[string][]string{"worker_id": {form}, "worker_group": {form}}},
		"an option":           {"-oProxyCommand", "-x", map[string][]string{"worker_id": {dash}, "worker_group": {dash}}},
		"dots":                {"ms1.test", "mdc1", map[string][]string{"worker_id": {form}}},
		"an option with dots": {"-a.b", "mdc1", map[string][]string{"worker_id": {form, dash}}},
		"a line break at end": {"ms1\n", "mdc1\n", map[string][]string{"worker_id": {form}, "worker_group": {form}}},
		"shell":               {"a;reboot", "$(id)", map[string][]string{"worker_id": {form}, "worker_group": {form}}},
		"other letters":       {"mś1", "mdc1", map[string][]string{"worker_id": {form}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, ValidateName(tc.id, tc.group))
		})
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		template, fqdn string
		want           Name
		err            string
	}{
		"default":        {template: defaultTemplates[0], fqdn: "MS1.test.releng.MDC1.mozilla.com", want: Name{"ms1", "mdc1"}},
		"group first":    {template: "{worker_group}.{worker_id}.example", fqdn: "mdc1.ms1.example", want: Name{"ms1", "mdc1"}},
		"group missing":  {template: "{worker_id}.example", err: "a template needs {worker_id} and {worker_group}, each once"},
		"id twice":       {template: "{worker_id}.{worker_id}.{worker_group}", err: "a template needs {worker_id} and {worker_group}, each once"},
		"third hole":     {template: "{worker_id}.{worker_group}.{x}", err: "a template is a host name with no other placeholders than {worker_id} and {worker_group}"},
		"dot is no wild": {template: "{worker_id}.{worker_group}.example", fqdn: "ms1.mdc1xexample"},
		"not anchored":   {template: "{worker_id}.{worker_group}.example", fqdn: "ms1.mdc1.example.com"},
		"leading dash":   {template: "{worker_id}.{worker_group}.example", fqdn: "-ms1.mdc1.example"},
		"id with a dot":  {template: "{worker_id}.{worker_group}.example", fqdn: "ms1.a.mdc1.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form, err := parseTemplate(tc.template)
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			got, ok := form.name(tc.fqdn)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.want != Name{}, ok)
		})
	}
}

func TestTasks(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"reboot", "ping", "status", "ipmi_status", "ipmi_list", "reimage", "loan", "return_loan", "ssh_reboot", "ipmi_reset", "ipmi_cycle", "ipmi_reboot", "ipmi_on",
		"ipmi_off", "snmp_reboot", "snmp_rebootdelay", "ilo_reboot", "moonshot_reset", "xenapi_reboot", "file_bugzilla_bug",
	}, Tasks())
	require.Equal(t, Tasks()[8:], Rungs())
	for _, name := range Tasks() {
		require.Equal(t, name == "ping" || name == "status" || name == "ipmi_status" || name == "ipmi_list", IsRead(name), name)
	}
	for _, name := range []string{"", "no_such_task", "Ping", "ping "} {
		require.False(t, IsRead(name), "what nobody knows is exclusive: %q", name)
	}
}
