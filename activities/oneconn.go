package activities

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
)

// connectTLS connects to the host of a URL and shakes hands. Where that fails, or
// the worker is lost meanwhile, nothing was sent.
func connectTLS(ctx context.Context, u *url.URL, check *tls.Config) (net.Conn, error) {
	dialer := tls.Dialer{Config: check}
	return dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
}

// onlyConn is a transport for one request on a connection that stands. It cannot
// make another one, on which net/http might send again.
func onlyConn(conn net.Conn) *http.Transport {
	one := make(chan net.Conn, 1)
	one <- conn
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	return &http.Transport{
		DisableKeepAlives: true, Protocols: only1,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case conn := <-one:
				return conn, nil
			default:
				return nil, errors.New("a command has one connection")
			}
		},
	}
}
