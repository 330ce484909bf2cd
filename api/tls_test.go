package api

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// pair is a certificate of its own and its key, as PEM.
type pair struct{ cert, key []byte }

func newPair(t *testing.T, serial int64) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"roller.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
}

// files are where a pair is kept.
type files struct{ cert, key string }

func newFiles(t *testing.T) files {
	t.Helper()
	return files{filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")}
}

func (f files) write(t *testing.T, p pair) {
	t.Helper()
	require.NoError(t, os.WriteFile(f.cert, p.cert, 0o600))
	require.NoError(t, os.WriteFile(f.key, p.key, 0o600))
}

func (f files) config() config.API { return config.API{TLSCertFile: f.cert, TLSKeyFile: f.key} }

// serial is the number of the certificate that c has now.
func serial(t *testing.T, c *certificate) int64 {
	t.Helper()
	now, err := c.current(nil)
	require.NoError(t, err)
	return now.Leaf.SerialNumber.Int64()
}

func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	f, logs := newFiles(t), &logBuffer{}
	f.write(t, newPair(t, 1))
	clock := &clock{now: time.Now()}
	c := &certificate{certFile: f.cert, keyFile: f.key, logger: slog.New(slog.NewJSONHandler(logs, nil)), now: clock.read}
	require.NoError(t, c.load())

	second := newPair(t, 1000) // of another size, whatever the clock of the file system is
	f.write(t, second)
	require.EqualValues(t, 1, serial(t, c), "the files are not looked at for each handshake")
	clock.move(certEvery)
	require.EqualValues(t, 1000, serial(t, c))
	require.Contains(t, logs.String(), "certificate read again")

	for name, spoil := range map[string]func() error{
		"no PEM":       func() error { return os.WriteFile(f.cert, []byte("x"), 0o600) },
		"another key":  func() error { return os.WriteFile(f.cert, append(newPair(t, 7).cert, '\n', '\n'), 0o600) },
		"no such file": func() error { return os.Remove(f.cert) },
	} {
		require.NoError(t, spoil(), name)
		for range 3 {
			clock.move(certEvery)
			require.EqualValues(t, 1000, serial(t, c), name)
		}
	}
	require.Equal(t, 3, strings.Count(logs.String(), "the old one stays"), "said once for each: %s", logs.String())
	require.NotContains(t, logs.String(), "PRIVATE KEY")

	f.write(t, newPair(t, 1_000_000))
	clock.move(certEvery)
	require.EqualValues(t, 1_000_000, serial(t, c))
}

func TestCertificateMustBeThere(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	_, err := newTLS(f.config(), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "TLS_CERT_FILE, TLS_KEY_FILE: stat")
	f.write(t, pair{newPair(t, 1).cert, newPair(t, 2).key})
	_, err = newTLS(f.config(), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "private key does not match public key")
}

// The same server, the same answers, encrypted.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	f, p := newFiles(t), newPair(t, 1)
	f.write(t, p)
	cfg := testConfig("http://127.0.0.1:1")
	cfg.API.AllowedHosts = []string{"127.0.0.1"}
	cfg.API.TLSCertFile, cfg.API.TLSKeyFile = f.cert, f.key
	logs := &logBuffer{}
	a, err := New(cfg, Deps{Starter: &fakeStarter{}, Logger: slog.New(slog.NewJSONHandler(logs, nil))})
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, cfg, a, listener) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })

	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(p.cert))
	ask := func(request string, most uint16) (int, string, error) {
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "roller.test", MinVersion: tls.VersionTLS10, MaxVersion: most, NextProtos: []string{"h2", "http/1.1"}}}
		conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			return 0, "", err
		}
		defer conn.Close()
		go func() { _, _ = io.WriteString(conn, request) }()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(body), nil
	}
	const get = "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		status, body, err := ask(fmt.Sprintf(get, lbHeartbeatPath, ""), version)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, body)
	}
	_, _, err = ask("", tls.VersionTLS11)
	require.ErrorContains(t, err, "protocol version")

	status, body, err := ask(fmt.Sprintf(get, "/", "X: "+strings.Repeat("a", 80<<10)+"\r\n"), 0)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
	require.Contains(t, body, `"code":"InputTooLarge"`)

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, get, lbHeartbeatPath, "")
	require.NoError(t, err)
	answer, _ := io.ReadAll(conn)
	require.NotContains(t, string(answer), "status", "nothing is said in clear")
	require.Contains(t, logs.String(), string(inputTooLarge))
	require.NotContains(t, logs.String(), string(inputInvalid), "a failed handshake was no request")
}
