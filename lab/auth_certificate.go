package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What Taskcluster's auth service allows of certificates (signaturevalidator.js).
const (
	certificateLife  = 31 * 24 * time.Hour
	certificateSeed  = 44 // characters
	createClientRule = "auth:create-client:"
)

// certificate makes a client's credentials temporary ones: its holder has a key
// that is derived from the client's.
type certificate struct {
	Version   int      `json:"version"`
	Scopes    []string `json:"scopes"`
	Start     int64    `json:"start"`  // milliseconds
	Expiry    int64    `json:"expiry"` // milliseconds
	Seed      string   `json:"seed"`
	Signature string   `json:"signature"`
	Issuer    string   `json:"issuer"` // of credentials with a name of their own
	ClientID  *string  `json:"clientId"`
}

// scopeForm is that of a scope (taskcluster-lib-scopes).
var scopeForm = regexp.MustCompile(`^[ -~]*$`)

// readScopes reads an array of scopes.
func readScopes(name string, text json.RawMessage) ([]string, error) {
	var entries []any
	if json.Unmarshal(text, &entries) != nil || entries == nil {
		return nil, refusal(name + " must be an array")
	}
	scopes := []string{}
	for _, e := range entries {
		s, ok := e.(string)
		if !ok || !scopeForm.MatchString(s) {
			return nil, refusal(name + " must be an array of valid scopes")
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}

// readCertificate checks the form in the order in which the service does.
func readCertificate(text json.RawMessage) (certificate, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return certificate{}, refusal("ext.certificate must be a JSON object")
	}
	var c certificate
	for _, field := range []struct {
		name, form string
		into       any
		right      func() bool
	}{
		{"version", "1", &c.Version, func() bool { return c.Version == 1 }},
		{"seed", "a string", &c.Seed, nil},
		{"start", "a number", &c.Start, nil},
		{"expiry", "a number", &c.Expiry, nil},
	} {
		if json.Unmarshal(fields[field.name], field.into) != nil || field.right != nil && !field.right() {
			return c, refusal("ext.certificate." + field.name + " must be " + field.form)
		}
		if field.name == "seed" && len(c.Seed) != certificateSeed {
			return c, refusal(fmt.Sprintf("ext.certificate.seed must be %d characters", certificateSeed))
		}
	}
	var err error
	if c.Scopes, err = readScopes("ext.certificate.scopes", fields["scopes"]); err != nil {
		return c, err
	}
	if json.Unmarshal(text, &c) != nil {
		return c, refusal("ext.certificate.signature is not valid")
	}
	return c, nil
}

// grant is what a header's key may do.
type grant struct {
	key     string
	scopes  []string
	expires time.Time
}

// certified narrows the issuer's grant to what the certificate says, in the order
// in which the service checks it.
func (c certificate) certified(name string, issuer Client, by grant, now time.Time) (grant, error) {
	if problem := c.problem(now); problem != "" {
		return grant{}, refusal(problem)
	}
	if name != issuer.ID && !holds(by.scopes, createClientRule+name) {
		return grant{}, refusal(fmt.Sprintf("ext.certificate issuer `%s` doesn't have `%s%s` for supplied clientId.", issuer.ID, createClientRule, name))
	}
	if name == issuer.ID && c.ClientID != nil {
		return grant{}, refusal("ext.certificate.clientId must only be used with ext.certificate.issuer")
	}
	if slices.ContainsFunc(c.Scopes, func(s string) bool { return !holds(by.scopes, s) }) {
		return grant{}, refusal(fmt.Sprintf("ext.certificate issuer `%s` doesn't satisfy all certificate scopes %s.  The temporary credentials were not generated correctly.", issuer.ID, strings.Join(c.Scopes, ", ")))
	}
	if !hmac.Equal([]byte(digest(issuer.AccessToken, c.text(name), base64.StdEncoding)), []byte(c.Signature)) {
		if c.Issuer != "" {
			return grant{}, refusal("ext.certificate.signature is not valid, or wrong clientId provided")
		}
		return grant{}, refusal("ext.certificate.signature is not valid")
	}
	out := grant{key: digest(issuer.AccessToken, c.Seed, base64.RawURLEncoding), scopes: c.Scopes, expires: by.expires}
	if at := time.UnixMilli(c.Expiry); at.Before(out.expires) {
		out.expires = at
	}
	return out, nil
}

func (c certificate) problem(now time.Time) string {
	switch start, expiry := time.UnixMilli(c.Start), time.UnixMilli(c.Expiry); {
	case start.After(now.Add(certificateSkew)):
		return "ext.certificate.start > now"
	case expiry.Before(now.Add(-certificateSkew)):
		return "ext.certificate.expiry < now"
	case expiry.Sub(start) > certificateLife:
		return "ext.certificate cannot last longer than 31 days!"
	}
	return ""
}

// text is what the issuer signed.
func (c certificate) text(name string) string {
	lines := []string{"version:1"}
	if c.Issuer != "" {
		lines = append(lines, "clientId:"+name, "issuer:"+c.Issuer)
	}
	lines = append(lines, "seed:"+c.Seed, fmt.Sprintf("start:%d", c.Start), fmt.Sprintf("expiry:%d", c.Expiry), "scopes:")
	return strings.Join(append(lines, c.Scopes...), "\n")
}

// digest is over text with a key (HMAC-SHA256).
func digest(key, text string, as *base64.Encoding) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return as.EncodeToString(mac.Sum(nil))
}
