package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// temporary are the sheriff's, with a name of their own or without.
func temporary(t *testing.T, name string, life time.Duration, scopes ...string) tcclient.Credentials {
	t.Helper()
	c, err := sheriff.CreateNamedTemporaryCredentials(name, life, scopes...)
	require.NoError(t, err)
	return *c
}

// What Taskcluster's auth service is known to do with Hawk, and what roller makes
// of it. (How it refuses is in TestRefused, what it answers in TestReadVerdict, that
// it is down in TestHawkErrors; that the stand-in does the same, in package lab.)
func TestHawkFacts(t *testing.T) {
	t.Parallel()
	const ping = "project:releng:roller:ping"
	for fact, test := range map[string]func(t *testing.T, h *harness){
		"a clock may be 14 minutes off, both ways": func(t *testing.T, h *harness) {
			for _, off := range []time.Duration{14 * time.Minute, -14 * time.Minute} {
				h.auth.Now = func() time.Time { return time.Now().Add(off) }
				require.Equal(t, http.StatusCreated, h.do(h.request(pingPath, sheriff)).status)
			}
		},
		"temporary credentials are a login with their own scopes": func(t *testing.T, h *harness) {
			a := h.do(h.request(pingPath, temporary(t, "", time.Hour, ping)))
			require.Equal(t, http.StatusCreated, a.status, a.body)
			a = h.do(h.request(resetPath, temporary(t, "", time.Hour, ping)))
			require.Equal(t, http.StatusForbidden, a.status, a.body)
		},
		"temporary credentials may have a name of their own, which is who asked": func(t *testing.T, h *harness) {
			name := sheriff.ClientID + "/laptop"
			a := h.do(h.request(pingPath, temporary(t, name, time.Hour, ping)))
			require.Equal(t, http.StatusCreated, a.status, a.body)
			require.Equal(t, name, h.starter.requests()[0].ClientID)
			require.Equal(t, name, h.line()["client_id"])
		},
		"a certificate that expired 4 minutes ago passes, and 6 minutes ago does not": func(t *testing.T, h *harness) {
			who := temporary(t, "", time.Minute, ping)
			h.auth.Now = func() time.Time { return time.Now().Add(5 * time.Minute) }
			require.Equal(t, http.StatusCreated, h.do(h.request(pingPath, who)).status)
			h.auth.Now = func() time.Time { return time.Now().Add(7 * time.Minute) }
			a := h.do(h.request(pingPath, who))
			require.Equal(t, http.StatusUnauthorized, a.status)
			requireMessage(t, "the temporary credentials have expired: sign in again", a)
		},
		"a spoiled certificate is no login": func(t *testing.T, h *harness) {
			who := temporary(t, "", time.Hour, ping)
			who.Certificate = strings.Replace(who.Certificate, ping, "*", 1)
			a := h.do(h.request(pingPath, who))
			require.Equal(t, http.StatusUnauthorized, a.status)
			requireMessage(t, "the temporary credentials are not valid", a)
		},
		"no nonces are kept: a replay is a login, known to the starter by its key": func(t *testing.T, h *harness) {
			r := h.request(pingPath, sheriff)
			for range 2 {
				require.Equal(t, http.StatusCreated, h.do(r).status)
			}
			asked := h.starter.requests()
			require.Equal(t, asked[0].Repeats, asked[1].Repeats)
			require.NotEmpty(t, asked[0].Repeats)
			h.do(h.request(pingPath, sheriff))
			require.NotEqual(t, asked[0].Repeats, h.starter.requests()[2].Repeats)
		},
		"path and query are signed as they were sent": func(t *testing.T, h *harness) {
			for _, path := range []string{
				"/api/v1/workers/%6ds1-10/group/mdc1/jobs?task_name=ping",
				"/api/v1/workers/ms1-10/group/mdc1/jobs?worker_type=b&task_name=%70ing&provisioner_id=a",
			} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, public+path, nil)
				require.NoError(t, err)
				require.NoError(t, sheriff.SignRequest(r))
				a := h.do(r)
				require.Equal(t, http.StatusCreated, a.status, a.body)
			}
		},
		"what is signed for an allowed Host is not signed for roller": func(t *testing.T, h *harness) {
			r := h.request(pingPath, sheriff)
			signed, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost"+pingPath, nil)
			require.NoError(t, err)
			require.NoError(t, sheriff.SignRequest(signed))
			r.Header.Set("Authorization", signed.Header.Get("Authorization"))
			r.Host = "localhost"
			require.Equal(t, http.StatusUnauthorized, h.do(r).status)
		},
		"the service does not see the body: there must be none": func(t *testing.T, h *harness) {
			r := h.request(pingPath, sheriff)
			setBody(r, "{}", 2)
			require.Equal(t, http.StatusBadRequest, h.do(r).status)
			require.Empty(t, h.starter.requests())
		},
		"a hash of a body is nobody's to compare, where there is none": func(t *testing.T, h *harness) {
			r := h.request(pingPath, sheriff)
			hash := "Yi9LfIIFRtBEPt74PVmbTF/xVAwPn7ub15ePICfgnuY="
			text := []string{"hawk.1.header", strconv.FormatInt(time.Now().Unix(), 10), "nonce", http.MethodPost, pingPath, "roller.test", "80", hash, "", ""}
			mac := hmac.New(sha256.New, []byte(accessToken))
			mac.Write([]byte(strings.Join(text, "\n")))
			header := func(hash string) string {
				return fmt.Sprintf(`Hawk id="%s", ts="%s", nonce="nonce", hash="%s", mac="%s"`, sheriff.ClientID, text[1], hash, base64.StdEncoding.EncodeToString(mac.Sum(nil)))
			}
			r.Header.Set("Authorization", header(hash))
			require.Equal(t, http.StatusCreated, h.do(r).status)
			r.Header.Set("Authorization", header("AA=="))
			require.Equal(t, http.StatusUnauthorized, h.do(r).status, "but it is signed")
		},
		"a time that is no number never grows old there: it is no login here": func(t *testing.T, h *harness) {
			h.auth.Now = func() time.Time { return time.Now().AddDate(3, 0, 0) }
			r := h.request(pingPath, sheriff)
			r.Header.Set("Authorization", signedAt("tomorrow"))
			require.Equal(t, http.StatusUnauthorized, h.do(r).status)
			require.Zero(t, h.auth.Asked())
			v, err := NewHawk(config.Taskcluster{RootURL: h.root, Timeout: config.Duration(10 * time.Second)}).Authenticate(t.Context(), Question{
				Method: "post", Resource: pingPath, Host: "roller.test", Port: 80, Authorization: config.NewSecret(signedAt("tomorrow")),
			})
			require.NoError(t, err)
			require.Equal(t, sheriff.ClientID, v.ClientID, "as the service has it")
		},
		"a header of more than 4096 characters is none": func(t *testing.T, h *harness) {
			a := h.do(h.request(pingPath, temporary(t, "", time.Hour, strings.Repeat("project:releng:roller:ping*", 150))))
			require.Equal(t, http.StatusUnauthorized, a.status)
			requireMessage(t, "the Authorization header is longer than the 4096 characters that Taskcluster takes", a)
		},
		"a bewit in the query is no login": func(t *testing.T, h *harness) {
			r := h.request(pingPath+"&bewit=AAAA", sheriff)
			r.Header.Del("Authorization")
			require.Equal(t, http.StatusUnauthorized, h.do(r).status)
			require.Zero(t, h.auth.Asked(), "and no question")
		},
		"a service that is down is 503, with a time to ask again": func(t *testing.T, h *harness) {
			h.auth.SetFault(lab.AuthGarbage)
			a := h.do(h.request(pingPath, sheriff))
			require.Equal(t, http.StatusServiceUnavailable, a.status)
			require.Equal(t, retryAfter, a.header.Get("Retry-After"))
		},
	} {
		t.Run(fact, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, withConfig(func(c *config.Config) { c.Taskcluster.Timeout = config.Duration(5 * time.Second) }))
			test(t, h)
		})
	}
}

// Whoever leaves while the service is asked makes no failure of it.
func TestAuthenticationOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withServer(func(s *server) {
		inner := s.Authenticator
		s.Authenticator = authFunc(func(ctx context.Context, q Question) (Verdict, error) {
			require.Nil(t, ctx.Done(), "it has no end but the service's own")
			return inner.Authenticate(ctx, q)
		})
	}))
	require.Equal(t, http.StatusCreated, h.do(h.request(pingPath, sheriff)).status)
}
