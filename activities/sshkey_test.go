package activities

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/mozilla-platform-ops/roller/config"
)

// rsaKey is one for all tests: it takes a second to make.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// newKey makes a private key of a kind.
func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case ssh.KeyAlgoRSA:
		return rsaKey()
	case ssh.KeyAlgoECDSA256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ssh.KeyAlgoECDSA521:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	require.NoError(t, err)
	return key
}

const passphrase = "s3cret words"

// keyFile writes a private key in OpenSSH's form, with a passphrase if there is one.
func keyFile(t *testing.T, key crypto.Signer, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}

func signerOf(t testing.TB, key crypto.Signer) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromSigner(key)
	require.NoError(t, err)
	return s
}

// certify writes a user certificate for a key beside its file.
func certify(t *testing.T, ca ssh.Signer, key ssh.PublicKey, file string, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: "roller", ValidPrincipals: []string{"roller"},
		ValidBefore: ssh.CertTimeInfinity,
	}
	if change != nil {
		change(cert)
	}
	require.NoError(t, cert.SignCert(rand.Reader, ca))
	require.NoError(t, os.WriteFile(config.CertificateFile(file), ssh.MarshalAuthorizedKey(cert), 0o600))
	return cert
}

// takesKey is a server that takes one key, or certificates of one authority,
// and notes with which algorithm it was convinced.
func takesKey(key, authority ssh.PublicKey) *ssh.ServerConfig {
	checker := &ssh.CertChecker{
		IsUserAuthority: func(k ssh.PublicKey) bool {
			return authority != nil && string(k.Marshal()) == string(authority.Marshal())
		},
		UserKeyFallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if key == nil || string(k.Marshal()) != string(key.Marshal()) {
				return nil, errors.New("not this key")
			}
			return nil, nil
		},
	}
	return &ssh.ServerConfig{PublicKeyCallback: checker.Authenticate}
}

// Keys of every kind, from the file and from the agent.
func TestSSHKeys(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA} {
		for name, arrange := range map[string]func(t *testing.T, r *rig, key crypto.Signer) string{
			"file": func(t *testing.T, _ *rig, key crypto.Signer) string { return keyFile(t, key, "") },
			"agent, by the locked key": func(t *testing.T, r *rig, key crypto.Signer) string {
				serveAgent(t, r, agentWith(t, key))
				return keyFile(t, key, passphrase)
			},
			"agent, by the public key": func(t *testing.T, r *rig, key crypto.Signer) string {
				serveAgent(t, r, agentWith(t, key))
				file := filepath.Join(t.TempDir(), "key.pub")
				require.NoError(t, os.WriteFile(file, ssh.MarshalAuthorizedKey(signerOf(t, key).PublicKey()), 0o600))
				return file
			},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				r, key := newSSHRig(t), newKey(t, kind)
				cfg := takesKey(signerOf(t, key).PublicKey(), nil)
				cfg.PublicKeyAuthAlgorithms = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
				p := newSSHPeer(t, r, shape{cfg: cfg})
				r.knows(t, p.known())
				p.SSH.KeyFile = arrange(t, r, key)
				_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
				require.NoError(t, err)
			})
		}
	}
}

// A server that knows only SHA-1 does not get a signature of it.
func TestSSHNeverSignsWithSHA1(t *testing.T) {
	t.Parallel()
	r, key := newSSHRig(t), newKey(t, ssh.KeyAlgoRSA)
	cfg := takesKey(signerOf(t, key).PublicKey(), nil)
	cfg.PublicKeyAuthAlgorithms = []string{ssh.KeyAlgoRSA}
	p := newSSHPeer(t, r, shape{cfg: cfg})
	r.knows(t, p.known())
	p.SSH.KeyFile = keyFile(t, key, "")
	_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
	require.Equal(t, Refused, MeaningOf(err), "%v", err)
	require.ErrorContains(t, err, "no SHA-2")
	require.Empty(t, p.commands())
}

func TestSSHCertificates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change    func(*ssh.Certificate)
		alsoPlain bool // the server takes the bare key too
		says      string
	}{
		"good":                         {},
		"another principal":            {change: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root"} }, says: "refuses user roller"},
		"expired":                      {change: func(c *ssh.Certificate) { c.ValidBefore = 1000 }, says: "has expired"},
		"not yet":                      {change: func(c *ssh.Certificate) { c.ValidAfter = uint64(time.Now().Add(time.Hour).Unix()) }, says: "not valid yet"},
		"expired, and the key is good": {change: func(c *ssh.Certificate) { c.ValidBefore = 1000 }, alsoPlain: true},
		"of a host":                    {change: func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, alsoPlain: true, says: "is not an OpenSSH user certificate"},
	} {
		for _, kind := range []string{ssh.KeyAlgoED25519, ssh.KeyAlgoRSA} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				r, key, ca := newSSHRig(t), newKey(t, kind), signerOf(t, newKey(t, ssh.KeyAlgoECDSA256))
				public := signerOf(t, key).PublicKey()
				var plain ssh.PublicKey
				if c.alsoPlain {
					plain = public
				}
				p := newSSHPeer(t, r, shape{cfg: takesKey(plain, ca.PublicKey())})
				r.knows(t, p.known())
				p.SSH.User, p.SSH.KeyFile = "roller", keyFile(t, key, "")
				certify(t, ca, public, p.SSH.KeyFile, c.change)
				_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
				if c.says == "" {
					require.NoError(t, err)
					return
				}
				require.Equal(t, Refused, MeaningOf(err), "%v", err)
				require.ErrorContains(t, err, c.says)
			})
		}
	}
}

// A certificate beside a key that the agent holds, and one in the agent itself.
func TestSSHCertificatesWithAnAgent(t *testing.T) {
	t.Parallel()
	for _, inAgent := range []bool{false, true} {
		r, key, ca := newSSHRig(t), newKey(t, ssh.KeyAlgoED25519), signerOf(t, newKey(t, ssh.KeyAlgoED25519))
		p := newSSHPeer(t, r, shape{cfg: takesKey(nil, ca.PublicKey())})
		r.knows(t, p.known())
		p.SSH.User, p.SSH.KeyFile = "roller", keyFile(t, key, passphrase)
		cert := certify(t, ca, signerOf(t, key).PublicKey(), p.SSH.KeyFile, nil)
		ring := agentWith(t, key)
		if inAgent {
			require.NoError(t, os.Remove(config.CertificateFile(p.SSH.KeyFile)))
			require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: key, Certificate: cert}))
		}
		serveAgent(t, r, ring)
		_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
		require.NoError(t, err)
	}
}

func TestSSHKeyRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arrange func(t *testing.T, r *rig, key crypto.Signer, file string)
		meaning Meaning
		says    string
	}{
		"no agent": {func(*testing.T, *rig, crypto.Signer, string) {}, Refused, "SSH_AUTH_SOCK is not set"},
		"agent without the key": {func(t *testing.T, r *rig, _ crypto.Signer, _ string) {
			serveAgent(t, r, agentWith(t, newKey(t, ssh.KeyAlgoED25519)))
		}, Refused, "does not hold the key"},
		"agent is gone": {func(t *testing.T, r *rig, _ crypto.Signer, _ string) {
			r.Config.Devices.SSHAgent = filepath.Join(t.TempDir(), "none")
		}, NotSent, "agent"},
		"agent is silent": {func(t *testing.T, r *rig, _ crypto.Signer, _ string) {
			r.Config.Devices.SSHTimeout = config.Duration(200 * time.Millisecond)
			listenAgent(t, r, func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<10)); _, _ = c.Read(make([]byte, 1)) })
		}, NotSent, "agent"},
		"agent talks nonsense": {func(t *testing.T, r *rig, _ crypto.Signer, _ string) {
			listenAgent(t, r, func(c net.Conn) { _, _ = c.Write([]byte("\x00\x00\x00\x02\xff\xff")); _, _ = c.Read(make([]byte, 1)) })
		}, NotSent, "agent"},
		"agent does not sign": {func(t *testing.T, r *rig, key crypto.Signer, _ string) {
			serveAgent(t, r, mute{agentWith(t, key)})
		}, Refused, "does not sign"},
		"certificate is cut off": {func(t *testing.T, r *rig, key crypto.Signer, file string) {
			serveAgent(t, r, agentWith(t, key))
			require.NoError(t, os.WriteFile(config.CertificateFile(file), []byte("ssh-ed25519-cert-v01@openssh.com AAAA"), 0o600))
		}, Refused, "is not an OpenSSH user certificate"},
		"certificate for another key": {func(t *testing.T, r *rig, key crypto.Signer, file string) {
			serveAgent(t, r, agentWith(t, key))
			certify(t, signerOf(t, key), signerOf(t, newKey(t, ssh.KeyAlgoED25519)).PublicKey(), file, nil)
		}, Refused, "for another key"},
		"certificate cannot be read": {func(t *testing.T, r *rig, key crypto.Signer, file string) {
			serveAgent(t, r, agentWith(t, key))
			require.NoError(t, os.Mkdir(config.CertificateFile(file), 0o700))
		}, Refused, "read the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, key := newSSHRig(t), newKey(t, ssh.KeyAlgoED25519)
			p := newSSHPeer(t, r, shape{cfg: takesKey(signerOf(t, key).PublicKey(), nil)})
			r.knows(t, p.known())
			p.SSH.KeyFile = keyFile(t, key, passphrase)
			c.arrange(t, r, key, p.SSH.KeyFile)
			_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), passphrase)
			require.Empty(t, p.commands())
		})
	}
}

// mute is an agent that holds keys and does not sign, as one that asks a person
// who is not there.
type mute struct{ agent.Agent }

func (mute) Sign(ssh.PublicKey, []byte) (*ssh.Signature, error) {
	return nil, errors.New("nobody confirmed")
}

func (mute) SignWithFlags(ssh.PublicKey, []byte, agent.SignatureFlags) (*ssh.Signature, error) {
	return nil, errors.New("nobody confirmed")
}

// Extension implements agent.ExtendedAgent.
func (mute) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }

// Signers implements agent.ExtendedAgent.
func (m mute) Signers() ([]ssh.Signer, error) { return m.Agent.Signers() }

// agentWith is an agent that holds one key among others.
func agentWith(t *testing.T, key crypto.Signer) agent.Agent {
	t.Helper()
	ring := agent.NewKeyring()
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: newKey(t, ssh.KeyAlgoED25519)}))
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	return ring
}

func serveAgent(t *testing.T, r *rig, a agent.Agent) {
	t.Helper()
	listenAgent(t, r, func(c net.Conn) { _ = agent.ServeAgent(a, c) })
}

func listenAgent(t *testing.T, r *rig, serve func(net.Conn)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // a socket's path may have 107 bytes (unix(7))
	require.NoError(t, err)
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); running.Wait(); _ = os.RemoveAll(dir) })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { defer func() { _ = c.Close() }(); serve(c) })
		}
	})
	r.Config.Devices.SSHAgent = socket
}
