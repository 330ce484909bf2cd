package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

const hush = "hunter2"

// everySecret is an environment in which every secret has one value.
func everySecret(t *testing.T) *Config {
	t.Helper()
	c, err := Load([]string{
		"TASKCLUSTER_ACCESS_TOKEN=" + hush, "SNMP_COMMUNITY=" + hush, "XEN_PASSWORD=" + hush,
		"ILO_PASSWORD=" + hush, "BUGZILLA_API_KEY=" + hush,
	})
	require.NoError(t, err)
	for name, s := range map[string]Secret{
		"token": c.Taskcluster.AccessToken, "community": c.Devices.SNMPCommunity, "xen": c.Devices.XenPassword,
		"ilo": c.Devices.ILOPassword, "bugzilla": c.Bugzilla.APIKey,
	} {
		require.Equal(t, hush, s.Reveal(), name)
	}
	return c
}

func TestSecretsNeverPrint(t *testing.T) {
	t.Parallel()
	m := Machine{IPMI: &IPMI{Host: "bmc", User: "admin", Password: NewSecret(hush), KG: NewSecret(hush)}}
	config := everySecret(t)
	values := map[string]any{
		"secret": NewSecret(hush), "config": config, "config by value": *config,
		"machine": m, "machine by pointer": &m, "bmc": *m.IPMI, "bmc by pointer": m.IPMI,
		"inventory":        &Inventory{machines: map[Name]*Machine{m.Name: &m}},
		"unexported field": struct{ s Secret }{NewSecret(hush)},
		"slice and map":    []any{[]Secret{NewSecret(hush)}, map[string]Secret{"k": NewSecret(hush)}},
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, text := range prints(t, v) {
				require.NotContains(t, text, hush, how)
				require.NotContains(t, text, fmt.Sprintf("%x", hush), how)
			}
		})
	}
}

// prints is a value in every way that Go prints one.
func prints(t *testing.T, v any) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		texts[verb] = fmt.Sprintf(verb, v)
	}
	texts["print"] = fmt.Sprint(v)
	data, err := json.Marshal(v)
	if err == nil {
		texts["json"] = string(data)
	}
	for how, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).With("with", v).InfoContext(t.Context(), "print", "value", v)
		require.NotEmpty(t, b.String())
		texts[how] = b.String()
	}
	return texts
}

func TestSecretPrintsAFixedWord(t *testing.T) {
	t.Parallel()
	s := NewSecret(hush)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, redacted, fmt.Sprintf(verb, s), verb)
	}
	require.Equal(t, redacted, s.String())
	require.Equal(t, redacted, s.GoString())
	data, err := json.Marshal(map[string]Secret{"a": s})
	require.NoError(t, err)
	require.JSONEq(t, `{"a":"[secret]"}`, string(data))
	require.False(t, s.IsZero())
	require.True(t, NewSecret("").IsZero())
	require.Empty(t, Secret{}.Reveal())
	var read Secret
	require.NoError(t, read.UnmarshalText([]byte(hush)))
	require.Equal(t, hush, read.Reveal())
}
