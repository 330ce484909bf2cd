package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
)

// who checks a request's Hawk header, by the client's own key or by that of
// temporary credentials which this deployment signed.
func (t *Taskcluster) who(r *http.Request) (client string, scopes []string, err error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", []string{anonymousScope}, nil
	}
	at, err := netip.ParseAddrPort(r.Host)
	if err != nil {
		return "", nil, refuse(http.StatusBadRequest, "InvalidRequest", "host %s", r.Host)
	}
	resource, host, port := r.RequestURI, at.Addr().String(), int(at.Port())
	q := question{Method: &r.Method, Resource: &resource, Host: &host, Port: &port, Authorization: header}
	fields, err := parseHawk(header)
	if err != nil {
		return "", nil, refuse(http.StatusUnauthorized, "AuthenticationFailed", "%s", err)
	}
	if certificate := certificateOf(fields["ext"]); certificate != nil {
		scopes, err = t.temporary(q, fields, *certificate)
	} else {
		fields, scopes, err = t.login(q)
	}
	if err != nil {
		return "", nil, refuse(http.StatusUnauthorized, "AuthenticationFailed", "%s", err)
	}
	return fields["id"], scopes, nil
}

func certificateOf(ext string) *tcclient.Certificate {
	var limits struct {
		Certificate *tcclient.Certificate `json:"certificate"`
	}
	text, err := base64.StdEncoding.DecodeString(ext)
	if err != nil || json.Unmarshal(text, &limits) != nil {
		return nil
	}
	return limits.Certificate
}

// temporary checks temporary credentials as the auth service does (services/auth,
// signaturevalidator.js): the certificate's signature, its times, and the MAC by
// the key that its seed gives.
func (t *Taskcluster) temporary(q question, fields map[string]string, c tcclient.Certificate) ([]string, error) {
	signed := c
	if err := signed.Sign(t.issuer.AccessToken, fields["id"]); err != nil || signed.Signature != c.Signature || c.Issuer != t.issuer.ClientID {
		return nil, refusal("ext.certificate.signature is not valid")
	}
	now := t.Now()
	if now.Before(time.UnixMilli(c.Start).Add(-certificateSkew)) || now.After(time.UnixMilli(c.Expiry).Add(t.skew())) {
		return nil, refusal("ext.certificate.expiry < now")
	}
	key := hmacURL(t.issuer.AccessToken, c.Seed)
	if hawkMAC(key, q, fields) != fields["mac"] {
		return nil, refusal("Unauthorized: Bad mac")
	}
	seconds, err := strconv.ParseInt(fields["ts"], 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > hawkSkew {
		return nil, refusal("Unauthorized: Stale timestamp")
	}
	return append(c.Scopes, anonymousScope), nil
}

// certificateSkew is how far the times of a certificate may be off (services/auth,
// signaturevalidator.js: 5 minutes).
const certificateSkew = 5 * time.Minute

// skew is none where claims are made short, so that a test sees credentials expire.
func (t *Taskcluster) skew() time.Duration {
	if t.ClaimLife < claimLife {
		return 0
	}
	return certificateSkew
}

// issue gives a run of a task its credentials (services/queue, task-creds.js).
func (t *Taskcluster) issue(task *queueTask, run *queueRun) (map[string]any, error) {
	id := task.id + "/" + strconv.Itoa(run.number)
	scopes := []string{"queue:reclaim-task:" + id, "queue:resolve-task:" + id, "queue:create-artifact:" + id}
	client := "task-client/" + id + "/on/" + run.workerGroup + "/" + run.workerID + "/until/" + strconv.FormatInt(run.takenUntil.Unix(), 10)
	made, err := t.issuer.CreateNamedTemporaryCredentials(client, time.Until(run.takenUntil), append(scopes, task.strings("scopes")...)...)
	if err != nil {
		return nil, err
	}
	t.tokens = append(t.tokens, made.AccessToken)
	return map[string]any{"clientId": made.ClientID, "accessToken": made.AccessToken, "certificate": made.Certificate}, nil
}

// granted evaluates a scope expression of the reference: "" if it is satisfied,
// else a scope that is missing.
func granted(expression any, held []string, values map[string]string, lists map[string][]string) (missing string) {
	e, ok := expression.(map[string]any)
	if !ok {
		template, _ := expression.(string)
		if scope := filled(template, values); !holds(held, scope) {
			return scope
		}
		return ""
	}
	for _, part := range parts(e["AllOf"], lists) {
		if missing := granted(part, held, values, lists); missing != "" {
			return missing
		}
	}
	for _, part := range parts(e["AnyOf"], lists) {
		if missing = granted(part, held, values, lists); missing == "" {
			return ""
		}
	}
	return missing
}

// parts are those of an AllOf or an AnyOf, with each "for ... in" made many.
func parts(list any, lists map[string][]string) []any {
	var out []any
	all, _ := list.([]any)
	for _, part := range all {
		e, _ := part.(map[string]any)
		each, loop := e["each"].(string)
		if !loop {
			out = append(out, part)
			continue
		}
		name, _ := e["for"].(string)
		in, _ := e["in"].(string)
		for _, value := range lists[in] {
			out = append(out, strings.ReplaceAll(each, "<"+name+">", value))
		}
	}
	return out
}

// hmacURL is the key of temporary credentials (clients/client-go, creds.go).
func hmacURL(key, seed string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(seed))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func filled(template string, values map[string]string) string {
	for name, value := range values {
		template = strings.ReplaceAll(template, "<"+name+">", value)
	}
	return template
}
