package activities

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/mozilla-platform-ops/roller/config"
)

// identity is what one key file has to offer a server: its certificate first,
// if it has one, then the key itself, as ssh(1) does. It is read anew for every
// connection.
type identity struct {
	signers []ssh.Signer
	note    string   // why a server may refuse it, for the error text
	agent   net.Conn // that signs; nil for a key that is in the file
}

func (id *identity) close() {
	if id.agent != nil {
		_ = id.agent.Close()
	}
}

// sshIdentity reads a key file. A key with a passphrase, or a public key, is
// looked for in the agent.
func (a *Activities) sshIdentity(ctx context.Context, file string) (*identity, error) {
	signer, public, err := readKey(file)
	if err != nil {
		return nil, err
	}
	id := &identity{}
	held := []ssh.Signer{signer}
	if signer == nil {
		if held, err = a.askAgent(ctx, id, file, public); err != nil {
			id.close()
			return nil, err
		}
	}
	if err := id.offer(file, held); err != nil {
		id.close()
		return nil, err
	}
	return id, nil
}

// readKey returns a file's key, or only its public half where the key itself
// must be with the agent.
func readKey(file string) (ssh.Signer, ssh.PublicKey, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the operator's own inventory names the file
	if err != nil {
		return nil, nil, refused("ssh: read the private key: %w", err)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		return nil, public, nil
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err == nil {
		return signer, signer.PublicKey(), nil
	}
	locked, ok := errors.AsType[*ssh.PassphraseMissingError](err)
	if !ok {
		// The parser's own text may quote the file.
		return nil, nil, refused("ssh: %s is not a private key", file)
	}
	if locked.PublicKey != nil {
		return nil, locked.PublicKey, nil
	}
	// PEM, unlike OpenSSH's form, encrypts the public half too.
	if data, err = os.ReadFile(file + ".pub"); err == nil { //nolint:gosec // beside the file that the inventory names
		if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
			return nil, public, nil
		}
	}
	return nil, nil, refused("ssh: %s has a passphrase, and no public key beside it (%s.pub) by which the agent could be asked", file, file)
}

// askAgent returns what the agent holds of one key: the key, and certificates
// for it.
func (a *Activities) askAgent(ctx context.Context, id *identity, file string, public ssh.PublicKey) ([]ssh.Signer, error) {
	socket, timeout := a.Config.Devices.SSHAgent, a.Config.Devices.SSHTimeout.D()
	if socket == "" {
		return nil, refused("ssh: %s cannot be used without an agent (SSH_AUTH_SOCK is not set)", file)
	}
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, notSent("ssh: agent: %w", err)
	}
	id.agent = conn
	// It is asked again to sign, after one more dial.
	_ = conn.SetDeadline(time.Now().Add(2 * timeout))
	all, err := agent.NewClient(conn).Signers()
	if err != nil {
		return nil, notSent("ssh: agent: %w", err)
	}
	var held []ssh.Signer
	for _, s := range all {
		key, err := ssh.ParsePublicKey(s.PublicKey().Marshal())
		if cert, ok := key.(*ssh.Certificate); ok {
			key = cert.Key
		}
		if err == nil && bytes.Equal(key.Marshal(), public.Marshal()) {
			held = append(held, s)
		}
	}
	if len(held) == 0 {
		return nil, refused("ssh: the agent does not hold the key of %s (%s)", file, ssh.FingerprintSHA256(public))
	}
	return held, nil
}

// offer puts the signers in order.
func (id *identity) offer(file string, held []ssh.Signer) error {
	cert, err := readCertificate(file)
	if err != nil {
		return err
	}
	for _, s := range held {
		s, err := sha2Only(s)
		if err != nil {
			return refused("ssh: %s: %w", file, err)
		}
		if cert != nil && bytes.Equal(cert.Key.Marshal(), s.PublicKey().Marshal()) {
			certified, err := ssh.NewCertSigner(cert, s)
			if err != nil {
				return refused("ssh: %s: %w", config.CertificateFile(file), err)
			}
			id.signers = append([]ssh.Signer{certified}, id.signers...)
			id.note = validity(cert, config.CertificateFile(file), time.Now())
			cert = nil
		}
		id.signers = append(id.signers, s)
	}
	if cert != nil {
		return refused("ssh: %s is a certificate for another key", config.CertificateFile(file))
	}
	return nil
}

// readCertificate returns the certificate beside a key file, nil if there is none.
func readCertificate(file string) (*ssh.Certificate, error) {
	path := config.CertificateFile(file)
	data, err := os.ReadFile(path) //nolint:gosec // beside the file that the inventory names
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // most keys have none
	}
	if err != nil {
		return nil, refused("ssh: read the certificate: %w", err)
	}
	cert, err := config.ParseCertificate(data)
	if err != nil {
		return nil, refused("ssh: %s %w", path, err)
	}
	return cert, nil
}

// validity says why a server will not take a certificate now; "" if its time is
// right. The server decides, by its own clock.
func validity(cert *ssh.Certificate, path string, now time.Time) string {
	unix := uint64(max(now.Unix(), 0))
	switch {
	case cert.ValidBefore != ssh.CertTimeInfinity && unix >= cert.ValidBefore:
		return "; the certificate " + path + " has expired"
	case unix < cert.ValidAfter:
		return "; the certificate " + path + " is not valid yet"
	}
	return ""
}

// sha2Only keeps an RSA key from signing with SHA-1 (RFC 8332), which the
// package would fall back to with a server that does not say what it takes.
func sha2Only(s ssh.Signer) (ssh.Signer, error) {
	if t := s.PublicKey().Type(); t != ssh.KeyAlgoRSA && t != ssh.CertAlgoRSAv01 {
		return s, nil
	}
	as, ok := s.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("this RSA key cannot sign with SHA-2")
	}
	return ssh.NewSignerWithAlgorithms(as, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
}
