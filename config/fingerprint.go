package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Fingerprint is the SHA-256 of a certificate (DER), "sha256:" and 64 lower-case
// hexadecimal digits; "" where none is pinned.
type Fingerprint string

// fingerprintHash is the one hash that is accepted.
const fingerprintHash = "sha256:"

// ParseFingerprint reads "sha256:" and 64 hexadecimal digits in any letter case,
// with colons between the bytes as `openssl x509 -fingerprint -sha256` prints
// them, or without. It fails on any other form.
func ParseFingerprint(text string) (Fingerprint, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(text), fingerprintHash)
	if strings.Contains(digits, ":") {
		pairs := strings.Split(digits, ":")
		for _, pair := range pairs {
			ok = ok && len(pair) == 2
		}
		digits = strings.Join(pairs, "")
	}
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != sha256.Size {
		return "", fmt.Errorf("%q is not a fingerprint: write %s and %d hexadecimal digits", text, fingerprintHash, 2*sha256.Size)
	}
	return Fingerprint(fingerprintHash + digits), nil
}

// FingerprintOf returns the fingerprint of a certificate in DER.
func FingerprintOf(der []byte) Fingerprint {
	sum := sha256.Sum256(der)
	return Fingerprint(fingerprintHash + hex.EncodeToString(sum[:]))
}
