package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// publicURL is the address that clients sign for. It comes from the
// configuration alone: if Host or X-Forwarded-* of any client were believed, a
// header signed for another site with the same path could be relayed to roller.
type publicURL struct {
	host   string // lower case, without port
	port   int
	prefix string // what a proxy takes off the path, without a last slash
}

// parsePublicURL reads PUBLIC_URL.
func parsePublicURL(text string) (publicURL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return publicURL{}, fmt.Errorf("%q: must be an http or https URL with a host", text)
	}
	host := strings.ToLower(u.Hostname())
	if strings.ContainsAny(host, "_:") {
		return publicURL{}, fmt.Errorf("%q: the authentication service checks no signature for a host with _ or an IPv6 address", text)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme] // RFC 9110, 4.2.1 and 4.2.2
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return publicURL{}, fmt.Errorf("%q: the port must be at most 65535", text)
	}
	return publicURL{host: host, port: int(number), prefix: strings.TrimRight(u.EscapedPath(), "/")}, nil
}

// seconds is the form of a signature's time.
var seconds = regexp.MustCompile(`\A[0-9]{1,12}\z`)

// timed reports whether a signature's time, if it has one, is a number. One that is
// none never grows old to the authentication service, which compares it as JavaScript
// does; and a repeat is known for half an hour only.
func timed(header string) bool {
	for _, m := range hawkAttribute.FindAllStringSubmatch(header, -1) {
		if m[1] == "ts" && !seconds.MatchString(m[2]) {
			return false
		}
	}
	return true
}

// login finds out who signed a request.
func (s *server) login(r *http.Request) (Verdict, error) {
	header := r.Header.Get("Authorization")
	switch scheme, _, _ := strings.Cut(header, " "); {
	case header == "":
		return Verdict{}, refuse(authFailed, "the Authorization header is missing: sign the request with Hawk")
	case strings.EqualFold(scheme, "bearer"):
		// It holds the user's access token itself, and must travel no further.
		return Verdict{}, refuse(authFailed, "Bearer is not accepted, for it gives the access token away: sign the request with Hawk")
	case !strings.EqualFold(scheme, "hawk"):
		return Verdict{}, refuse(authFailed, "only Hawk signatures are accepted")
	case !timed(header):
		return Verdict{}, refuse(authFailed, "ts must be a number of seconds")
	}
	began := time.Now()
	// Who leaves meanwhile makes no failure of it: the question ends in time by itself.
	v, err := s.Authenticator.Authenticate(context.WithoutCancel(r.Context()), Question{
		Method: strings.ToLower(r.Method), Resource: s.public.prefix + r.RequestURI,
		Host: s.public.host, Port: s.public.port,
		Authorization: config.NewSecret(header), SourceIP: written(asker(r, s.cfg.TrustedProxies)),
	})
	s.metrics.asked(v, err, time.Since(began))
	switch {
	case errors.Is(err, ErrAuthUnavailable):
		return Verdict{}, &failure{code: unavailable, message: "the authentication service does not answer: ask again", cause: err}
	case err != nil:
		return Verdict{}, fmt.Errorf("authenticate: %w", err)
	case v.Refused != "":
		return Verdict{}, refuse(authFailed, "%s", v.Refused)
	}
	return v, nil
}
