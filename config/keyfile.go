package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

// CertificateFile is where the certificate of a key is looked for, as ssh(1)
// does: beside the private key with -cert.pub behind its name.
func CertificateFile(keyFile string) string {
	return strings.TrimSuffix(keyFile, ".pub") + "-cert.pub"
}

// key checks a key file once, at the first place that names it. What the file
// holds stays out of the message.
func (r *reading) key(at place, path string) {
	if r.namesOnly || r.keys[path] {
		return
	}
	r.keys[path] = true
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		r.at(at, "key_file %q cannot be read: %s", path, cause(err))
		return
	}
	public := r.keyForm(at, path, data)
	r.certificate(at, path, public)
}

// keyForm checks what a key file holds, and returns the public key where that
// can be had.
func (r *reading) keyForm(at place, path string, data []byte) ssh.PublicKey {
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		if !r.agent {
			r.at(at, "key_file %q is a public key, which is of use only with an agent that holds the private one (SSH_AUTH_SOCK)", path)
		}
		return public
	}
	r.warnOfMode(path, "private key", secretMode)
	signer, err := ssh.ParsePrivateKey(data)
	if err == nil {
		return signer.PublicKey()
	}
	locked, ok := errors.AsType[*ssh.PassphraseMissingError](err)
	switch {
	case !ok:
		r.at(at, "key_file %q is not a private key (PEM or OpenSSH's own form)", path)
	case !r.agent:
		r.at(at, "key_file %q has a passphrase, which nobody is there to type; an agent may hold the key (SSH_AUTH_SOCK)", path)
	default:
		r.warnings = append(r.warnings, path+": this private key has a passphrase: it is of use only while the agent (SSH_AUTH_SOCK) holds it")
		return locked.PublicKey
	}
	return nil
}

// certificate checks the certificate beside a key, if there is one. One that is
// over is no mistake: another may be put there at any time.
func (r *reading) certificate(at place, keyFile string, public ssh.PublicKey) {
	path := CertificateFile(keyFile)
	data, err := os.ReadFile(path) //nolint:gosec // beside the file that the operator names
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		r.at(at, "certificate %q cannot be read: %s", path, cause(err))
		return
	}
	cert, err := ParseCertificate(data)
	if err != nil {
		r.at(at, "%q %s", path, err)
	} else if public != nil && !bytes.Equal(cert.Key.Marshal(), public.Marshal()) {
		r.at(at, "%q is a certificate for another key than %q", path, keyFile)
	}
}

// ParseCertificate reads a user certificate as ssh-keygen(1) writes it.
func ParseCertificate(data []byte) (*ssh.Certificate, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	cert, ok := key.(*ssh.Certificate)
	if err != nil || !ok || cert.CertType != ssh.UserCert {
		return nil, errors.New("is not an OpenSSH user certificate")
	}
	return cert, nil
}
