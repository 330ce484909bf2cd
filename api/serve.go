package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// What a connection may take. Clients send a few headers and no body, so that
// a slow one is broken or hostile.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// writeTimeout comes on top of what an answer waits for: the authentication
	// service, and then the start of a job.
	writeTimeout = 10 * time.Second
	idleTimeout  = 2 * time.Minute
	// maxHeader is in bytes: a Hawk header can carry a certificate that lists
	// every scope of its temporary credentials.
	maxHeader = 64 << 10
)

// Serve answers on the listener, or on LISTEN_HOST and PORT when it is nil,
// until ctx ends; running requests are then finished. It fails when it cannot
// listen, and when requests had to be cut off.
func Serve(ctx context.Context, cfg *config.Config, a *API, listener net.Listener) error {
	if listener == nil {
		var err error
		address := net.JoinHostPort(cfg.API.Host, strconv.Itoa(cfg.API.Port))
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address); err != nil {
			return fmt.Errorf("api: %w", err)
		}
	}
	encrypted, err := newTLS(cfg.API, a.server.Logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if encrypted != nil {
		listener = tls.NewListener(listener, encrypted)
	}
	server := &http.Server{
		Handler: a,
		// What is no path, as in "OPTIONS *", is a 404 like any other.
		DisableGeneralOptionsHandler: true,
		// Requests outlive the order to stop, and those that wait for a job hear of it.
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx)
		},
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      longestAnswer(cfg),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- shutdown(ctx, server, longestAnswer(cfg)) })
	defer stop()
	if err := server.Serve(jsonListener{listener, a.server}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("api: %w", err)
	}
	return <-stopped
}

type stoppingKey struct{}

// stopping returns a context that ends when this process is told to stop, while
// its requests go on.
func stopping(request context.Context) context.Context {
	if ctx, ok := request.Value(stoppingKey{}).(context.Context); ok {
		return ctx
	}
	return context.Background()
}

// longestAnswer is how long an accepted request may take that waits for no job, and so
// how long a stop waits for it.
func longestAnswer(cfg *config.Config) time.Duration {
	return cfg.Taskcluster.Timeout.D() + cfg.API.StartTimeout.D() + writeTimeout
}

func shutdown(ctx context.Context, server *http.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("api: stop: %w", err), server.Close())
	}
	return nil
}
