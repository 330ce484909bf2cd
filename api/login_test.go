package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

func TestNewRefusesPublicURL(t *testing.T) {
	t.Parallel()
	for text, message := range map[string]string{
		"":                    `PUBLIC_URL "": must be an http or https URL with a host`,
		"roller.test":         `PUBLIC_URL "roller.test": must be an http or https URL with a host`,
		"ftp://roller.test":   `PUBLIC_URL "ftp://roller.test": must be an http or https URL with a host`,
		"http://a_b.test":     `PUBLIC_URL "http://a_b.test": the authentication service checks no signature for a host with _ or an IPv6 address`,
		"http://[::1]:8000":   `PUBLIC_URL "http://[::1]:8000": the authentication service checks no signature for a host with _ or an IPv6 address`,
		"http://a.test:65536": `PUBLIC_URL "http://a.test:65536": the port must be at most 65535`,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig("http://127.0.0.1:1")
			cfg.API.PublicURL = text
			_, err := New(cfg, Deps{Starter: &fakeStarter{}})
			require.EqualError(t, err, message)
		})
	}
}

func TestNewNeedsAStarter(t *testing.T) {
	t.Parallel()
	_, err := New(testConfig("http://127.0.0.1:1"), Deps{})
	require.EqualError(t, err, "api: no starter")
}

func TestPublicURLDecidesWhatIsSigned(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Question{
		"https://Roller.example":           {Host: "roller.example", Port: 443, Resource: pingPath},
		"http://roller.example":            {Host: "roller.example", Port: 80, Resource: pingPath},
		"https://roller.example:8443/":     {Host: "roller.example", Port: 8443, Resource: pingPath},
		"https://roller.example/a%20proxy": {Host: "roller.example", Port: 443, Resource: "/a%20proxy" + pingPath},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			var got Question
			cfg := testConfig("http://127.0.0.1:1")
			cfg.API.PublicURL = text
			handler, err := New(cfg, Deps{Starter: &fakeStarter{}, Authenticator: authFunc(func(_ context.Context, q Question) (Verdict, error) {
				got = q
				return Verdict{Refused: "no"}, nil
			})})
			require.NoError(t, err)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pingPath, nil)
			r.Host, r.RemoteAddr = "localhost:8000", "[::ffff:192.0.2.7]:5555"
			r.Header.Set("Authorization", "Hawk x")
			handler.ServeHTTP(httptest.NewRecorder(), r)
			want.Method, want.SourceIP, want.Authorization = "post", "192.0.2.7", config.NewSecret("Hawk x")
			require.Equal(t, want, got)
		})
	}
}

type authFunc func(context.Context, Question) (Verdict, error)

func (f authFunc) Authenticate(ctx context.Context, q Question) (Verdict, error) { return f(ctx, q) }

func (authFunc) Ping(context.Context) error { return nil }
