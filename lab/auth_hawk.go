package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hawkSkew is how far a client's clock may be off: Taskcluster's own setting,
// 15 minutes in the place of Hawk's one (its auth service, signaturevalidator).
const hawkSkew = 15 * time.Minute

// anonymousScope is what every caller of a Taskcluster deployment has.
const anonymousScope = "assume:anonymous"

// longestHeader is the longest Authorization header that Hawk reads (hawk, utils.js).
const longestHeader = 4096

var (
	hawkHeader    = regexp.MustCompile(`^(\w+)(?:\s+(.*))?$`)
	hawkAttribute = regexp.MustCompile(`(\w+)="([^"\\]*)"\s*(?:,\s*|$)`)
	hawkValue     = regexp.MustCompile("^[ \\w!#$%&'()*+,\\-./:;<=>?@\\[\\]^`{|}~]+$")
	hawkNames     = []string{"id", "ts", "nonce", "hash", "ext", "mac", "app", "dlg"}
)

// refusal is why a login failed, in the service's own words.
type refusal string

// Error implements error.
func (r refusal) Error() string { return string(r) }

// verdict answers a well-formed question.
func (a *Auth) verdict(q question) map[string]any {
	if q.Authorization == "" {
		return map[string]any{
			"status": "no-auth", "scheme": "none", "scopes": []string{anonymousScope},
			"expires": a.Now().Add(hawkSkew).UTC().Format(time.RFC3339),
		}
	}
	fields, who, err := a.authenticate(q)
	if err != nil {
		return map[string]any{"status": "auth-failed", "message": err.Error()}
	}
	answer := map[string]any{
		"status": "auth-success", "scheme": "hawk", "clientId": fields["id"], "scopes": withAnonymous(who.scopes),
		"expires": who.expires.UTC().Format(time.RFC3339),
	}
	if fields["hash"] != "" {
		answer["hash"] = fields["hash"]
	}
	return answer
}

// login is who signed a request, and the scopes they have.
func (a *Auth) login(q question) (fields map[string]string, scopes []string, err error) {
	fields, who, err := a.authenticate(q)
	return fields, withAnonymous(who.scopes), err
}

// withAnonymous are scopes with those that everybody has, none of them twice.
func withAnonymous(scopes []string) []string {
	if holds(scopes, anonymousScope) {
		return scopes
	}
	return append([]string{anonymousScope}, scopes...)
}

// authenticate checks in the order of Hawk's reference implementation: the client,
// the MAC, then the time, so that only a true signature learns that it is stale.
func (a *Auth) authenticate(q question) (fields map[string]string, who grant, err error) {
	fields, err = parseHawk(q.Authorization)
	if err != nil {
		return nil, grant{}, err
	}
	who, err = a.key(fields["id"], fields["ext"])
	if err != nil {
		return nil, grant{}, err
	}
	if !hmac.Equal([]byte(hawkMAC(who.key, q, fields)), []byte(fields["mac"])) {
		return nil, grant{}, refusal("Unauthorized: Bad mac")
	}
	if stale(fields["ts"], a.Now()) {
		return nil, grant{}, refusal("Unauthorized: Stale timestamp")
	}
	return fields, who, nil
}

// parseHawk reads the attributes of an Authorization header as Hawk's reference
// implementation does.
func parseHawk(header string) (map[string]string, error) {
	if len(header) > longestHeader {
		return nil, refusal("Bad Request: Header length too long")
	}
	parts := hawkHeader.FindStringSubmatch(header)
	switch {
	case parts == nil:
		return nil, refusal("Bad Request: Invalid header syntax")
	case !strings.EqualFold(parts[1], "hawk"):
		return nil, refusal("Unauthorized: Unauthorized")
	case parts[2] == "":
		return nil, refusal("Bad Request: Invalid header syntax")
	}
	fields, problem := map[string]string{}, "Bad header format"
	rest := hawkAttribute.ReplaceAllStringFunc(parts[2], func(text string) string {
		m := hawkAttribute.FindStringSubmatch(text)
		_, twice := fields[m[1]]
		switch {
		case !slices.Contains(hawkNames, m[1]):
			problem = "Unknown attribute: " + m[1]
		case !hawkValue.MatchString(m[2]):
			problem = "Bad attribute value: " + m[1]
		case twice:
			problem = "Duplicate attribute: " + m[1]
		default:
			fields[m[1]] = m[2]
			return ""
		}
		return text
	})
	if rest != "" {
		return nil, refusal("Bad Request: " + problem)
	}
	for _, name := range []string{"id", "ts", "nonce", "mac"} {
		if fields[name] == "" {
			return nil, refusal("Bad Request: Missing attributes")
		}
	}
	return fields, nil
}

// stale reports whether a signature's time is too far off. Hawk compares as
// JavaScript does: nothing is too far from what is no number, and a blank is 0.
func stale(ts string, now time.Time) bool {
	text := strings.TrimSpace(ts)
	if text == "" {
		text = "0"
	}
	seconds, err := strconv.ParseFloat(text, 64)
	return err == nil && math.Abs(seconds*1000-float64(now.UnixMilli())) > float64(hawkSkew.Milliseconds())
}

// hawkMAC computes the signature over Hawk's normalised request string (the
// reference implementation's README, "Protocol Example"): every value as it was
// sent, one a line.
func hawkMAC(key string, q question, fields map[string]string) string {
	lines := []string{
		"hawk.1.header", fields["ts"], fields["nonce"], strings.ToUpper(*q.Method), *q.Resource,
		strings.ToLower(*q.Host), strconv.Itoa(*q.Port), fields["hash"], fields["ext"],
	}
	if fields["app"] != "" {
		lines = append(lines, fields["app"], fields["dlg"])
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(strings.Join(lines, "\n") + "\n"))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// key is what the name's signature must be made with, and may do. The header's ext
// attribute, base64 of JSON, may hold a certificate and authorizedScopes, which must
// be held, and are then all there is.
func (a *Auth) key(name, ext string) (grant, error) {
	var limits struct {
		Certificate      json.RawMessage `json:"certificate"`
		AuthorizedScopes json.RawMessage `json:"authorizedScopes"`
	}
	if ext != "" {
		text, err := base64.StdEncoding.DecodeString(ext)
		if err != nil || json.Unmarshal(text, &limits) != nil {
			return grant{}, refusal("Failed to parse ext")
		}
	}
	issuer := name
	var from struct{ Issuer string }
	_ = json.Unmarshal(limits.Certificate, &from) // a certificate of another form is refused later
	if from.Issuer != "" {
		if issuer = from.Issuer; issuer == name {
			return grant{}, refusal("ext.certificate.issuer must differ from the supplied clientId")
		}
	}
	client, known := a.clients[issuer]
	if !known {
		return grant{}, refusal("Client with clientId '" + issuer + "' not found")
	}
	who := grant{key: client.AccessToken, scopes: slices.Clone(client.Scopes), expires: a.Now().Add(credentialsLife)}
	if limits.Certificate != nil {
		c, err := readCertificate(limits.Certificate)
		if err != nil {
			return grant{}, err
		}
		if who, err = c.certified(name, client, who, a.Now()); err != nil {
			return grant{}, err
		}
	}
	if limits.AuthorizedScopes != nil {
		asked, err := readScopes("ext.authorizedScopes", limits.AuthorizedScopes)
		if err != nil {
			return grant{}, err
		}
		held := withAnonymous(who.scopes)
		if slices.ContainsFunc(asked, func(s string) bool { return !holds(held, s) }) {
			return grant{}, refusal("Supplied credentials do not satisfy authorizedScopes; credentials have scopes:\n\n```\n" +
				strings.Join(held, "\n") + "\n```\n\nauthorizedScopes are:\n\n```\n" + strings.Join(asked, "\n") + "\n```")
		}
		who.scopes = asked
	}
	return who, nil
}

func holds(held []string, scope string) bool {
	return slices.ContainsFunc(held, func(h string) bool {
		prefix, pattern := strings.CutSuffix(h, "*")
		return h == scope || pattern && strings.HasPrefix(scope, prefix)
	})
}
