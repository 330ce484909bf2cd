package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/starter"
)

const (
	// headerLives is how long after an answer the same Hawk header can still come:
	// the signer's clock may be 15 minutes ahead, and the header is taken until it
	// is 15 minutes old (Taskcluster's auth service), and a minute for what lies between.
	headerLives = 31 * time.Minute
	// keyLives is how long an Idempotency-Key is remembered at least.
	keyLives = 24 * time.Hour
)

// keyHeader is the header by which clients that sign each try anew say that it
// is the same request (draft-ietf-httpapi-idempotency-key-header).
const keyHeader = "Idempotency-Key"

var (
	// keyForm is a bounded form of that header's values; the draft has them quoted.
	keyForm = regexp.MustCompile(`\A(?:"([!#-\[\]-~]{1,255})"|([!#-\[\]-~]{1,255}))\z`)
	// hawkAttribute is how Hawk's reference implementation takes a header apart.
	hawkAttribute = regexp.MustCompile(`(\w+)="([^"\\]*)"\s*(?:,\s*|$)`)
)

// repeats are the hashes by which a repeat of a request is known: of what a
// client calls it, and of the signature itself, so that whoever sends the same
// header without that name (which is not signed) starts nothing, either.
func repeats(h *http.Request, clientID string) []starter.Repeat {
	// The MAC covers the path and the query.
	signature := starter.Repeat{Key: signatureHash(h.Header.Get("Authorization")), For: headerLives, Bound: true}
	m := keyForm.FindStringSubmatch(h.Header.Get(keyHeader))
	if m == nil {
		return []starter.Repeat{signature}
	}
	return []starter.Repeat{{Key: hash("key", clientID, m[1]+m[2]), For: keyLives}, signature}
}

// signatureHash is the same for each way to write the header of one signature,
// and another for each other signature: the MAC covers all but the four.
func signatureHash(authorization string) string {
	of := map[string]string{}
	for _, m := range hawkAttribute.FindAllStringSubmatch(authorization, -1) {
		of[m[1]] = m[2]
	}
	return hash("hawk", of["id"], of["ts"], of["nonce"], of["mac"])
}

// hash is over parts that hold no newline, as no header does.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:])
}

// keyProblem says what is wrong with a request's Idempotency-Key, or "".
func keyProblem(h *http.Request) string {
	switch values := h.Header.Values(keyHeader); {
	case len(values) > 1:
		return "must stand there once"
	case len(values) == 1 && !keyForm.MatchString(values[0]):
		return "must be 1 to 255 visible ASCII characters without \" and \\"
	}
	return ""
}
