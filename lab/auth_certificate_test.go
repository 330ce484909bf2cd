package lab

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
)

var issuer = tcclient.Credentials{ClientID: "sheriff/one", AccessToken: token}

// askAbout asks about a request that credentials sign, at a time of the service's own.
func askAbout(t *testing.T, c tcclient.Credentials, clock time.Duration) map[string]any {
	t.Helper()
	a := NewAuth(Client{ID: issuer.ClientID, AccessToken: token, Scopes: []string{"hooks:*", "auth:create-client:sheriff/one/*"}})
	a.Now = func() time.Time { return time.Now().Add(clock) }
	root, err := a.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	_, body := post(t, root+authPath, map[string]any{
		"method": "post", "resource": "/", "host": "roller.example", "port": 443,
		"authorization": signed(t, c, http.MethodPost, "https://roller.example/"),
	})
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	return answer
}

// changed are temporary credentials whose certificate says something else than the
// issuer signed, or was signed anew.
func changed(t *testing.T, life time.Duration, sign bool, change func(*tcclient.Certificate)) tcclient.Credentials {
	t.Helper()
	c, err := issuer.CreateTemporaryCredentials(life, "hooks:x")
	require.NoError(t, err)
	cert, err := c.Cert()
	require.NoError(t, err)
	change(cert)
	if sign {
		require.NoError(t, cert.Sign(token, ""))
	}
	text, err := json.Marshal(cert)
	require.NoError(t, err)
	c.Certificate = string(text)
	return *c
}

func TestAuthAcceptsTemporaryCredentials(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		client, is string
		authorized []string
		clock      time.Duration
		scopes     []any
	}{
		"unnamed":                {"", issuer.ClientID, nil, 0, []any{anonymousScope, "hooks:x", "hooks:y:*"}},
		"named":                  {"sheriff/one/laptop", "sheriff/one/laptop", nil, 0, []any{anonymousScope, "hooks:x", "hooks:y:*"}},
		"limited":                {"", issuer.ClientID, []string{"hooks:y:z"}, 0, []any{anonymousScope, "hooks:y:z"}},
		"expired 4 minutes ago":  {"", issuer.ClientID, nil, 14 * time.Minute, []any{anonymousScope, "hooks:x", "hooks:y:*"}},
		"begins in four minutes": {"", issuer.ClientID, nil, -4 * time.Minute, []any{anonymousScope, "hooks:x", "hooks:y:*"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := issuer.CreateNamedTemporaryCredentials(tc.client, 10*time.Minute, "hooks:x", "hooks:y:*")
			require.NoError(t, err)
			c.AuthorizedScopes = tc.authorized
			answer := askAbout(t, *c, tc.clock)
			require.Equal(t, "auth-success", answer["status"], answer)
			require.Equal(t, tc.is, answer["clientId"])
			require.Equal(t, tc.scopes, answer["scopes"])
			expires, err := time.Parse(time.RFC3339, answer["expires"].(string))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(10*time.Minute), expires, 2*time.Minute)
			require.Equal(t, tc.clock > 10*time.Minute, expires.Before(time.Now().Add(tc.clock)), "it may be in the past")
		})
	}
}

func TestAuthRefusesCertificates(t *testing.T) {
	t.Parallel()
	named := func(name string, scopes ...string) tcclient.Credentials {
		c, err := issuer.CreateNamedTemporaryCredentials(name, time.Hour, scopes...)
		require.NoError(t, err)
		return *c
	}
	renamed := named("sheriff/one/laptop", "hooks:x")
	renamed.ClientID = "sheriff/one/desktop"
	for name, tc := range map[string]struct {
		with    tcclient.Credentials
		clock   time.Duration
		message string
	}{
		"expired":                {named("", "hooks:x"), 66 * time.Minute, "ext.certificate.expiry < now"},
		"not yet":                {named("", "hooks:x"), -6 * time.Minute, "ext.certificate.start > now"},
		"more than its issuer's": {named("", "secrets:x"), 0, "doesn't satisfy all certificate scopes secrets:x"},
		"a name not its own":     {named("somebody/else", "hooks:x"), 0, "doesn't have `auth:create-client:somebody/else`"},
		"another's name":         {renamed, 0, "ext.certificate.signature is not valid"},
		"more scopes":            {changed(t, time.Hour, false, func(c *tcclient.Certificate) { c.Scopes = append(c.Scopes, "hooks:y") }), 0, "ext.certificate.signature is not valid"},
		"made longer":            {changed(t, time.Hour, false, func(c *tcclient.Certificate) { c.Expiry += 1000 }), 0, "ext.certificate.signature is not valid"},
		"another seed":           {changed(t, time.Hour, true, func(c *tcclient.Certificate) { c.Seed = c.Seed[1:] + "A" }), 0, "Unauthorized: Bad mac"},
		"a short seed":           {changed(t, time.Hour, true, func(c *tcclient.Certificate) { c.Seed = "x" }), 0, "ext.certificate.seed must be 44 characters"},
		"version 2":              {changed(t, time.Hour, true, func(c *tcclient.Certificate) { c.Version = 2 }), 0, "ext.certificate.version must be 1"},
		"for more than a month":  {changed(t, time.Hour, true, func(c *tcclient.Certificate) { c.Start -= certificateLife.Milliseconds() }), 0, "ext.certificate cannot last longer than 31 days!"},
		"its own issuer":         {changed(t, time.Hour, true, func(c *tcclient.Certificate) { c.Issuer = issuer.ClientID }), 0, "ext.certificate.issuer must differ"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := askAbout(t, tc.with, tc.clock)
			require.Equal(t, "auth-failed", answer["status"])
			require.Contains(t, answer["message"], tc.message)
		})
	}
}
