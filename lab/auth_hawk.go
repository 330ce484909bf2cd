package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
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

var (
	hawkHeader    = regexp.MustCompile(`^(?i:hawk)\s+(.+)$`)
	hawkAttribute = regexp.MustCompile(`(\w+)="([^"\\]*)"\s*(?:,\s*|$)`)
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
		"status": "auth-success", "scheme": "hawk", "clientId": fields["id"], "scopes": append(who.scopes, anonymousScope),
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
	return fields, append(who.scopes, anonymousScope), err
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
	seconds, err := strconv.ParseInt(fields["ts"], 10, 64)
	if err != nil || a.Now().Sub(time.Unix(seconds, 0)).Abs() > hawkSkew {
		return nil, grant{}, refusal("Unauthorized: Stale timestamp")
	}
	return fields, who, nil
}

// parseHawk reads the attributes of an Authorization header.
func parseHawk(header string) (map[string]string, error) {
	parts := hawkHeader.FindStringSubmatch(header)
	if parts == nil {
		return nil, refusal("Unauthorized")
	}
	fields := map[string]string{}
	for _, m := range hawkAttribute.FindAllStringSubmatch(parts[1], -1) {
		if !slices.Contains(hawkNames, m[1]) {
			return nil, refusal("Bad Request: Unknown attribute: " + m[1])
		}
		if _, twice := fields[m[1]]; twice {
			return nil, refusal("Bad Request: Duplicate attribute: " + m[1])
		}
		fields[m[1]] = m[2]
	}
	if hawkAttribute.ReplaceAllString(parts[1], "") != "" {
		return nil, refusal("Bad Request: Bad header format")
	}
	for _, name := range []string{"id", "ts", "nonce", "mac"} {
		if fields[name] == "" {
			return nil, refusal("Bad Request: Missing attributes")
		}
	}
	return fields, nil
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
		Certificate      *certificate `json:"certificate"`
		AuthorizedScopes *[]string    `json:"authorizedScopes"`
	}
	if ext != "" {
		text, err := base64.StdEncoding.DecodeString(ext)
		if err != nil || json.Unmarshal(text, &limits) != nil {
			return grant{}, refusal("Failed to parse ext")
		}
	}
	issuer := name
	if c := limits.Certificate; c != nil && c.Issuer != "" {
		if issuer = c.Issuer; issuer == name {
			return grant{}, refusal("ext.certificate.issuer must differ from the supplied clientId")
		}
	}
	client, known := a.clients[issuer]
	if !known {
		return grant{}, refusal("Client with clientId '" + issuer + "' not found")
	}
	who := grant{key: client.AccessToken, scopes: slices.Clone(client.Scopes), expires: a.Now().Add(credentialsLife)}
	if limits.Certificate != nil {
		var err error
		if who, err = limits.Certificate.certified(name, client, who, a.Now()); err != nil {
			return grant{}, err
		}
	}
	if limits.AuthorizedScopes != nil {
		held := append(slices.Clone(who.scopes), anonymousScope)
		if slices.ContainsFunc(*limits.AuthorizedScopes, func(s string) bool { return !holds(held, s) }) {
			return grant{}, refusal("Supplied credentials do not satisfy authorizedScopes")
		}
		who.scopes = *limits.AuthorizedScopes
	}
	return who, nil
}

func holds(held []string, scope string) bool {
	return slices.ContainsFunc(held, func(h string) bool {
		prefix, pattern := strings.CutSuffix(h, "*")
		return h == scope || pattern && strings.HasPrefix(scope, prefix)
	})
}
