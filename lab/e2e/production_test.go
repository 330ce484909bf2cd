package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// needsProduction leaves a test to make test-postgres, where it runs.
func needsProduction(t *testing.T) {
	t.Helper()
	if production == nil {
		t.Skip("needs Temporal's server and PostgreSQL: make test-postgres")
	}
}

// onPostgres starts a PostgreSQL of the test's own.
func onPostgres(t *testing.T) *stack.Production {
	t.Helper()
	needsProduction(t)
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	own, err := stack.NewProduction(ctx, "../..")
	require.NoError(t, err)
	t.Cleanup(own.Postgres.Close)
	return own
}

// Promise 4 with the database gone: killed while a machine is off, alone and
// together with Temporal's server, it comes back and the power is switched on.
func TestDatabaseIsKilled(t *testing.T) {
	t.Parallel()
	for what, strike := range map[string]func(*testing.T, *site, *stack.Postgres){
		"alone": func(t *testing.T, _ *site, db *stack.Postgres) {
			db.Process.Kill()
			require.NoError(t, db.Start(t.Context()))
		},
		"with the server": func(t *testing.T, s *site, db *stack.Postgres) {
			db.Process.Kill()
			s.Server.Kill()
			require.NoError(t, db.Start(t.Context()))
			require.NoError(t, s.StartServer(t.Context()))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			own := onPostgres(t)
			s := newSiteOn(t, stack.Options{
				Production: own, Env: map[string]string{"REBOOT_METHODS": "snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "8s"},
			}, nil, lab.Spec{WorkerID: "dark", WorkerGroup: "mdc1"})
			m := s.lab.Machine("dark")
			job := s.job(t, "reboot", m)
			s.saw(t, "the outlet is off", func() bool { return !m.State().Power })
			strike(t, s, own.Postgres)
			s.saw(t, "the outlet is on again", func() bool { return m.State().Power && m.State().Up })
			r, v := s.end(t, job)
			require.Equal(t, workflows.Back, r.Outcome)
			require.False(t, r.Off)
			require.Empty(t, v.Off)
			require.Equal(t, []string{"pdu set AA1 off", "pdu set AA1 on"}, s.executed(m))
		})
	}
}

// Who has no certificate of the clients' CA does not reach Temporal's frontend;
// roller with one does its work.
func TestFrontendAsksForCertificates(t *testing.T) {
	t.Parallel()
	needsProduction(t)
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	ca.issue(t, dir, "server")
	ca.issue(t, dir, "client")
	strangers := newAuthority(t, dir, "other-ca")
	strangers.issue(t, dir, "stranger")
	file := func(name string) string { return filepath.Join(dir, name) }
	as := func(name string) *tls.Config {
		c := &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
		if name != "" {
			pair, err := tls.LoadX509KeyPair(file(name+".pem"), file(name+".key"))
			require.NoError(t, err)
			c.Certificates = []tls.Certificate{pair}
		}
		return c
	}
	s := newSiteOn(t, stack.Options{
		Production: production, TLS: as("client"),
		ServerEnv: map[string]string{
			"TEMPORAL_FRONTEND_BIND": "0.0.0.0", "TEMPORAL_FRONTEND_TLS_CERT": file("server.pem"),
			"TEMPORAL_FRONTEND_TLS_KEY": file("server.key"), "TEMPORAL_FRONTEND_CLIENT_CA": file("ca.pem"),
		},
		Env: map[string]string{
			"TEMPORAL_TLS": "true", "TEMPORAL_TLS_SERVER_CA_CERT_PATH": file("ca.pem"),
			"TEMPORAL_TLS_CLIENT_CERT_PATH": file("client.pem"), "TEMPORAL_TLS_CLIENT_KEY_PATH": file("client.key"),
		},
	}, nil, lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	r, _ := s.end(t, s.job(t, "reboot", s.lab.Machine("ms1-10")))
	require.Equal(t, workflows.Back, r.Outcome)

	for who, c := range map[string]*tls.Config{"in clear": nil, "without a certificate": as(""), "with a stranger's": as("stranger")} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		other, err := client.DialContext(ctx, client.Options{HostPort: s.Address, ConnectionOptions: client.ConnectionOptions{TLS: c}})
		cancel()
		if err == nil {
			other.Close()
		}
		require.Error(t, err, who)
	}
}

// A frontend that anyone could reach is not started.
func TestFrontendIsNotLeftOpen(t *testing.T) {
	t.Parallel()
	own := onPostgres(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := stack.New(ctx, stack.Options{
		Dir: t.TempDir(), Production: own, ServerEnv: map[string]string{"TEMPORAL_FRONTEND_BIND": "0.0.0.0"},
	})
	require.ErrorContains(t, err, "the frontend would be open to everyone")
}

// The API says within seconds that its Temporal's database is gone, and starts
// what is asked for when it is back.
func TestDatabaseIsAway(t *testing.T) {
	t.Parallel()
	own := onPostgres(t)
	s := newSiteOn(t, stack.Options{Production: own}, nil, lab.Spec{WorkerID: "ms1-10", WorkerGroup: "mdc1"})
	own.Postgres.Process.Kill()
	began := time.Now()
	a := s.post(t, "reboot", "ms1-10", "mdc1")
	require.Equal(t, 503, a.Status, "%s", a.Raw)
	require.Less(t, time.Since(began), 40*time.Second, "START_TIMEOUT is 10s; the rest is this machine's")
	require.NoError(t, own.Postgres.Start(t.Context()))
	var job starter.Job
	require.Eventually(t, func() bool {
		a := s.post(t, "reboot", "ms1-10", "mdc1")
		if a.Status != 201 {
			return false
		}
		id, _ := a.Body["task_id"].(string)
		job = starter.Job{WorkflowID: workflows.MachineID(name(s.lab.Machine("ms1-10"))), TaskID: id}
		return true
	}, enough, time.Second)
	r, _ := s.end(t, job)
	require.Equal(t, workflows.Back, r.Outcome)
	require.Len(t, s.executed(s.lab.Machine("ms1-10")), 1)
}

// authority is a CA of the tests'.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	writePEM(t, filepath.Join(dir, name+".pem"), "CERTIFICATE", der)
	return &authority{cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue writes NAME.pem and NAME.key, for servers and clients on 127.0.0.1.
func (a *authority) issue(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	writePEM(t, filepath.Join(dir, name+".pem"), "CERTIFICATE", der)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	writePEM(t, filepath.Join(dir, name+".key"), "EC PRIVATE KEY", private)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
