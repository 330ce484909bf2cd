package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
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
	if slices.ContainsFunc(c.Scopes, func(s string) bool { return !holds(by.scopes, s) }) {
		return grant{}, refusal(fmt.Sprintf("ext.certificate issuer `%s` doesn't satisfy all certificate scopes %s.  The temporary credentials were not generated correctly.", issuer.ID, strings.Join(c.Scopes, ", ")))
	}
	if !hmac.Equal([]byte(digest(issuer.AccessToken, c.text(name), base64.StdEncoding)), []byte(c.Signature)) {
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
	case c.Version != 1:
		return "ext.certificate.version must be 1"
	case len(c.Seed) != certificateSeed:
		return "ext.certificate.seed must be 44 characters"
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
