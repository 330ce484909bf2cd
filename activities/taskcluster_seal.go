package activities

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"

	"github.com/mozilla-platform-ops/roller/config"
)

// Sealed is a run's credentials as Temporal's history may keep them: a secretbox
// (XSalsa20 and Poly1305) in base64, with its nonce before it.
type Sealed string

// sealedFor is what is in the box. It names the run, so that one run's box is
// worth nothing in the place of another's.
type sealedFor struct {
	Run         string                  `json:"run"`
	Credentials tcqueue.TaskCredentials `json:"credentials"`
}

// nonceBytes is the length of a secretbox's nonce, long enough to be random.
const nonceBytes = 24

func seal(cfg config.Taskcluster, run string, c tcqueue.TaskCredentials) (Sealed, error) {
	keys, err := cfg.SealKeys()
	if err != nil {
		return "", fmt.Errorf("ROLLER_SEAL_KEY: %w", err)
	}
	text, err := json.Marshal(sealedFor{run, c})
	if err != nil {
		return "", errors.New("encode the credentials")
	}
	var nonce [nonceBytes]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand)
	return Sealed(base64.StdEncoding.EncodeToString(secretbox.Seal(nonce[:], text, &nonce, keys[0]))), nil
}

// unseal returns a run's credentials. It fails with Refused: the same box will
// never open.
func unseal(cfg config.Taskcluster, run string, box Sealed) (*tcclient.Credentials, error) {
	keys, err := cfg.SealKeys()
	if err != nil {
		return nil, refused("ROLLER_SEAL_KEY: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(string(box))
	if err != nil || len(raw) < nonceBytes {
		return nil, refused("the credentials of %s are not a sealed box", run)
	}
	var text []byte
	ok := false
	for _, key := range keys {
		if text, ok = secretbox.Open(nil, raw[nonceBytes:], (*[nonceBytes]byte)(raw), key); ok {
			break
		}
	}
	var held sealedFor
	if !ok || json.Unmarshal(text, &held) != nil || held.Run != run {
		return nil, refused("the credentials of %s were not sealed for it with this ROLLER_SEAL_KEY", run)
	}
	c := held.Credentials
	return &tcclient.Credentials{ClientID: c.ClientID, AccessToken: c.AccessToken, Certificate: c.Certificate}, nil
}
