package api

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// What net/http answers before any handler has a say, in plain text and without
// CORS headers: an error of the request line or of a header, which it writes in
// one piece with these headers, and the refusal of an Expect header that it does
// not know (server.go of Go 1.26: conn.serve, sendExpectationFailed).
var (
	plainStart   = []byte("HTTP/1.1 ")
	plainHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
	plainExpect  = []byte("HTTP/1.1 417 ")
)

// jsonListener makes those answers errors like all others. There is no hook for
// them, so that it looks at what is written to the connection; no handler here
// answers in plain text or with 417.
type jsonListener struct {
	net.Listener
	server *server
}

// Accept implements net.Listener.
func (l jsonListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &jsonConn{c, l.server}, nil
}

type jsonConn struct {
	net.Conn
	server *server
}

// Write implements io.Writer.
func (c *jsonConn) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, plainStart) || !bytes.Contains(b, plainHeaders) && !bytes.HasPrefix(b, plainExpect) {
		return c.Conn.Write(b)
	}
	// Nobody reads an answer to a handshake that failed, and it was no request.
	if t, ok := c.Conn.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete {
		return 0, net.ErrClosed
	}
	f := refuse(inputInvalid, "this is no request that HTTP/1.1 allows")
	if bytes.HasPrefix(b[len(plainStart):], []byte("431 ")) {
		f = refuse(inputTooLarge, "the headers are larger than %d KiB", maxHeader>>10)
	}
	c.server.metrics.plain(f)
	answer, err := c.server.plainAnswer(f)
	if err != nil {
		return 0, err
	}
	c.server.Logger.Info("request", "decision", string(f.code), "status", statuses[f.code],
		"peer", written(peer(c.RemoteAddr().String())), "reason", f.message)
	if _, err := c.Conn.Write(answer); err != nil {
		return 0, err
	}
	return len(b), nil
}

// plainAnswer is a whole HTTP/1.1 response, of a request of which nothing is known.
func (s *server) plainAnswer(f *failure) ([]byte, error) {
	body, err := json.Marshal(s.errorBody(f, "", map[string]string{}))
	if err != nil {
		return nil, fmt.Errorf("encode an error: %w", err)
	}
	var b strings.Builder
	status := statuses[f.code]
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	for name, value := range s.cors() {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	fmt.Fprintf(&b, "X-Request-Id: %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		s.newID(), len(body), body)
	return []byte(b.String()), nil
}
