package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// What net/http refuses by itself is refused in the API's own form, too.
func TestPlainAnswersAreJSON(t *testing.T) {
	t.Parallel()
	cfg := testConfig("http://127.0.0.1:1")
	cfg.API.AllowedHosts = []string{"127.0.0.1"}
	a, err := New(cfg, Deps{Starter: &fakeStarter{}})
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, cfg, a, listener) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	for name, tc := range map[string]struct {
		request string
		status  int
		code    code
	}{
		"headers too large":  {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("a", 80<<10) + "\r\n\r\n", 431, inputTooLarge},
		"no HTTP":            {"HELO roller\r\n\r\n", 400, inputInvalid},
		"no Host":            {"GET / HTTP/1.1\r\n\r\n", 400, inputInvalid},
		"two Hosts":          {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, inputInvalid},
		"wrong header":       {"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", 400, inputInvalid},
		"wrong version":      {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400, inputInvalid},
		"unknown encoding":   {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, inputInvalid},
		"two lengths":        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, inputInvalid},
		"strange Expect":     {"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: miracles\r\n\r\n", 400, inputInvalid},
		"OPTIONS of nothing": {"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, notFound},
		"a path of its own":  {"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, notFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, tc.request) }() // the server may stop reading
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, tc.status, response.StatusCode, "%s", body)
			for header, value := range a.server.cors() {
				require.Equal(t, value, response.Header.Get(header))
			}
			require.NotEmpty(t, response.Header.Get("X-Request-Id"))
			require.Contains(t, string(body), `"code":"`+string(tc.code)+`"`)
			doc, err := contract()
			require.NoError(t, err)
			var value any
			require.NoError(t, json.Unmarshal(body, &value))
			require.NoError(t, doc.Components.Schemas["Error"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()))
		})
	}
}
