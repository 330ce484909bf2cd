package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v3"
	"github.com/taskcluster/httpbackoff/v3"
	tcurls "github.com/taskcluster/taskcluster-lib-urls"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcauth"

	"github.com/mozilla-platform-ops/roller/config"
)

// ErrAuthUnavailable is wrapped by every error that says that the
// authentication service gave no usable answer. The request may be sent again.
var ErrAuthUnavailable = errors.New("the authentication service is unavailable")

// Question describes a signed request to the authentication service.
type Question struct {
	Method        string // lower case
	Resource      string // path and query as the client sent them
	Host          string // without port
	Port          int
	Authorization config.Secret // the header's value
	SourceIP      string        // may be empty
}

// Verdict is who signed a request, and what they may do.
type Verdict struct {
	ClientID string
	Scopes   []string // roles are expanded
	Refused  string   // why it is no login, in roller's own words; empty for a login
}

// Hawk asks Taskcluster's auth service.
type Hawk struct {
	rootURL string
	timeout time.Duration
	http    bounded
	retry   httpbackoff.Client
}

// NewHawk returns an Authenticator for a Taskcluster deployment. It asks
// without credentials of its own, as Taskcluster's services do: the call needs
// no scope, and what is not used cannot be wrong.
func NewHawk(cfg config.Taskcluster) *Hawk {
	timeout := cfg.Timeout.D()
	settings := backoff.NewExponentialBackOff()
	// Without these the client tries for 15 minutes. The first wait is short
	// enough for a few tries, and the last try may still begin at 3/5 of the time.
	settings.InitialInterval = timeout / 20
	settings.MaxInterval = timeout / 5
	settings.MaxElapsedTime = timeout * 3 / 5
	return &Hawk{
		rootURL: cfg.RootURL, timeout: timeout,
		http:  newBounded(timeout / 2), // so that one lost connection leaves time for another
		retry: httpbackoff.Client{BackOffSettings: settings},
	}
}

// Authenticate implements Authenticator. Neither its errors nor the client
// library's log lines hold the Authorization value, which the service's own
// errors repeat.
func (h *Hawk) Authenticate(ctx context.Context, q Question) (Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	auth := tcauth.New(nil, h.rootURL)
	auth.HTTPClient, auth.HTTPBackoffClient, auth.Context = h.http, &h.retry, ctx
	answer, err := auth.AuthenticateHawk(&tcauth.HawkSignatureAuthenticationRequest{
		Method: q.Method, Resource: q.Resource, Host: q.Host, Port: int64(q.Port),
		Authorization: q.Authorization.Reveal(), SourceIP: q.SourceIP,
	})
	if err != nil {
		return Verdict{}, authError(err)
	}
	return readVerdict(*answer)
}

// Ping implements Authenticator: it asks once, for nothing but an answer.
func (h *Hawk) Ping(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, tcurls.API(h.rootURL, "auth", "v1", "ping"), nil)
	if err != nil {
		return fmt.Errorf("the authentication service (TASKCLUSTER_ROOT_URL): %w", err)
	}
	answer, err := h.http.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthUnavailable, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: it answered %d", ErrAuthUnavailable, answer.StatusCode)
	}
	return nil
}

// authError keeps of the client's error, which quotes the answer, only what is
// known to be harmless.
func authError(err error) error {
	if bad, ok := errors.AsType[httpbackoff.BadHttpResponseCode](cause(err)); ok {
		switch status := bad.HttpResponseCode; {
		case status == 408 || status == 429 || status >= 500:
			return fmt.Errorf("%w: it answered %d", ErrAuthUnavailable, status)
		case status >= 400:
			return fmt.Errorf("the authentication service did not take the question: it answered %d; check TASKCLUSTER_ROOT_URL and PUBLIC_URL", status)
		}
	}
	if lost, ok := errors.AsType[*lostAnswer](cause(err)); ok {
		return fmt.Errorf("%w: %w", ErrAuthUnavailable, lost)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: no answer in time", ErrAuthUnavailable)
	}
	return fmt.Errorf("%w: it answered with something else than JSON", ErrAuthUnavailable)
}

// cause takes the client's exception apart, which does not unwrap by itself.
func cause(err error) error {
	if e, ok := errors.AsType[*tcclient.APICallException](err); ok {
		return e.RootCause
	}
	return err
}

// readVerdict reads the service's answer. Only auth-success with a client is a
// login; no-auth comes with scopes, too.
func readVerdict(raw tcauth.HawkSignatureAuthenticationResponse) (Verdict, error) {
	var answer struct {
		Status   string   `json:"status"`
		Message  string   `json:"message"`
		ClientID string   `json:"clientId"`
		Scopes   []string `json:"scopes"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return Verdict{}, fmt.Errorf("%w: its answer has another form", ErrAuthUnavailable)
	}
	switch {
	case answer.Status == "auth-success" && answer.ClientID != "":
		return Verdict{ClientID: answer.ClientID, Scopes: answer.Scopes}, nil
	case answer.Status == "auth-failed" || answer.Status == "no-auth":
		return Verdict{Refused: reason(answer.Message)}, nil
	}
	return Verdict{}, fmt.Errorf("%w: its answer has another form", ErrAuthUnavailable)
}

// reasons translates the service's messages, which may quote what was sent,
// into what a person can do about them. The first match counts.
var reasons = []struct{ has, say string }{
	{"' not found", "no such Taskcluster client"},
	{"' is disabled", "the Taskcluster client is disabled"},
	{"has expired", "the Taskcluster client has expired"},
	{"certificate.expiry", "the temporary credentials have expired: sign in again"},
	{"certificate", "the temporary credentials are not valid: sign in again"},
	{"authorizedScopes", "the credentials do not have the scopes they are limited to"},
	{"Bad mac", "the signature does not match: it is of another access token, or for another method, address, path or query"},
	{"Header length too long", "the Authorization header is longer than the 4096 characters that Taskcluster takes: the credentials list too many scopes"},
	{"Stale timestamp", "the signature is more than 15 minutes off: check the clock of the machine that signed"},
}

func reason(message string) string {
	for _, r := range reasons {
		if strings.Contains(message, r.has) {
			return r.say
		}
	}
	return "the Authorization header is not a complete Hawk signature"
}
