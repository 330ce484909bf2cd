package lab

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// hostKeys are a machine's sshd's: the one in known_hosts, which every boot
// keeps until the machine is installed anew, and the one of Faults.WrongHostKey.
type hostKeys struct{ right, wrong ssh.Signer }

func newHostKeys() (keys hostKeys, err error) {
	if keys.right, err = newSigner(); err != nil {
		return hostKeys{}, err
	}
	keys.wrong, err = newSigner()
	return keys, err
}

func newSigner() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	return ssh.NewSignerFromKey(key)
}

// newAccountKey makes the key pair of the account that may reboot.
func newAccountKey() (ed25519.PrivateKey, ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("account key: %w", err)
	}
	account, err := ssh.NewPublicKey(public)
	return private, account, err
}
