package lab

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ask asks a machine's iLO or chassis manager, whose certificate is checked.
func ask(t *testing.T, m *Machine, method, path, body string) (int, string) {
	t.Helper()
	cert, err := x509.ParseCertificate(m.Certificate())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+hostPort(m.Addr(), WebPort)+path, strings.NewReader(body))
	require.NoError(t, err)
	r.SetBasicAuth(BMCUser, BMCPassword)
	resp, err := c.Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

func TestWebActsOnTheMachine(t *testing.T) {
	t.Parallel()
	const off, on = `{"ResetType":"ForceOff"}`, `{"ResetType":"On"}`
	cold := `{"Action":"Reset","ResetType":"ColdReset"}`
	for name, c := range map[string]struct {
		path, body string
		faults     Faults
		status     int
		executed   bool
		power      bool
	}{
		"off":               {redfishReset, off, Faults{}, 200, true, false},
		"on, and is on":     {redfishReset, on, Faults{}, 400, false, true},
		"busy":              {redfishReset, off, Faults{Web: WebFaults{Busy: true}}, 409, false, true},
		"already":           {redfishReset, off, Faults{Web: WebFaults{Already: true}}, 400, false, true},
		"cold reset":        {"/rest/v1/Systems/c1n1", cold, Faults{}, 200, true, true},
		"cold reset, busy":  {"/rest/v1/Systems/c1n1", cold, Faults{Web: WebFaults{Busy: true}}, 409, false, true},
		"status to be told": {"/rest/v1/Systems/c1n1", cold, Faults{Web: WebFaults{Status: 503}}, 503, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, Spec{NoBMC: true, ILO: true, Moonshot: true, Faults: c.faults})
			m := l.Machines()[0]
			status, text := ask(t, m, http.MethodPost, c.path, c.body)
			require.Equal(t, c.status, status, text)
			require.Equal(t, c.power, m.State().Power)
			entries := l.Entries("", func(e Entry) bool { return e.Control })
			require.Len(t, entries, 1)
			require.Equal(t, c.executed, entries[0].Executed)
		})
	}
}

func TestWebRefuses(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{NoBMC: true, ILO: true, Moonshot: true})
	m := l.Machines()[0]
	for path, body := range map[string]string{redfishReset: `{"ResetType":"Bogus"}`, "/rest/v1/Systems/c1n1": `{"Action":"Reset"}`} {
		status, _ := ask(t, m, http.MethodPost, path, body)
		require.Equal(t, http.StatusBadRequest, status)
	}
	status, _ := ask(t, m, http.MethodPost, "/rest/v1/Systems/c2n1", "{}")
	require.Equal(t, http.StatusNotFound, status)
	require.Empty(t, l.Controls(""))
	require.NotEmpty(t, m.View().Web)
}
