package stack

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Frontend stands between roller's processes and Temporal, as a managed Temporal's
// frontend does, or a network that is slow or gone. It passes every call on as it
// is unless told otherwise.
type Frontend struct {
	TLS     *tls.Config                                    // of its listener; nil: in clear
	Refuses func(method string, headers metadata.MD) error // which calls; nil: none
	// Answered is called when Temporal has answered a call, before the caller hears of
	// it; nil: nothing is.
	Answered func(method string, question []byte)

	port     int
	upstream *grpc.ClientConn

	mu     sync.Mutex
	server *grpc.Server // nil while it is cut
	silent net.Listener // what takes connections and says nothing in its place
	delay  time.Duration
}

// Address is where it listens.
func (f *Frontend) Address() string { return "127.0.0.1:" + strconv.Itoa(f.port) }

// start listens, in front of the frontend at an address.
func (f *Frontend) start(upstream string) error {
	var err error
	if f.upstream, err = grpc.NewClient(upstream, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}))); err != nil {
		return fmt.Errorf("frontend: %w", err)
	}
	if f.port, err = Port(0); err != nil {
		return err
	}
	return f.Mend()
}

// Slow makes every answer late by a time from now on; zero ends it.
func (f *Frontend) Slow(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = by
}

// Cut ends all connections and refuses new ones.
func (f *Frontend) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		f.server.Stop()
		f.server = nil
	}
	if f.silent != nil {
		_ = f.silent.Close()
		f.silent = nil
	}
}

// Silence ends all connections; the kernel accepts new ones, and nobody speaks there.
func (f *Frontend) Silence() error {
	f.Cut()
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	f.silent, err = net.Listen("tcp", f.Address()) //nolint:noctx // it is closed by Cut
	return err
}

// Mend ends Cut and Silence.
func (f *Frontend) Mend() error {
	f.Cut()
	f.mu.Lock()
	defer f.mu.Unlock()
	listener, err := net.Listen("tcp", f.Address()) //nolint:noctx // it is closed by Cut
	if err != nil {
		return fmt.Errorf("frontend: %w", err)
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(f.pass),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}), // Temporal's own
	}
	if f.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(f.TLS)))
	}
	f.server = grpc.NewServer(options...)
	go func(s *grpc.Server) { _ = s.Serve(listener) }(f.server)
	return nil
}

// close ends it for good.
func (f *Frontend) close() {
	f.Cut()
	if f.upstream != nil {
		_ = f.upstream.Close()
	}
}

// pass hands one call on, and its answer back.
func (f *Frontend) pass(_ any, call grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(call)
	headers, _ := metadata.FromIncomingContext(call.Context())
	if f.Refuses != nil {
		if err := f.Refuses(method, headers); err != nil {
			return err
		}
	}
	var question, answer []byte
	if err := call.RecvMsg(&question); err != nil {
		return err
	}
	err := f.upstream.Invoke(metadata.NewOutgoingContext(call.Context(), headers), method, &question, &answer)
	if f.Answered != nil {
		f.Answered(method, question)
	}
	f.mu.Lock()
	late := f.delay
	f.mu.Unlock()
	if late > 0 {
		select {
		case <-time.After(late):
		case <-call.Context().Done():
			return status.FromContextError(call.Context().Err()).Err()
		}
	}
	if err != nil {
		return err
	}
	return call.SendMsg(&answer)
}

// raw leaves messages as the bytes they are.
type raw struct{}

// Marshal implements encoding.Codec.
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal implements encoding.Codec.
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }

// Name implements encoding.Codec: what both sides call their messages.
func (raw) Name() string { return "proto" }

// Unauthenticated is what a frontend says to who has not the right key.
func Unauthenticated(what string) error { return status.Error(codes.Unauthenticated, what) }

// Forbidden is what a managed Temporal says to what nobody may do through it.
func Forbidden(what string) error { return status.Error(codes.PermissionDenied, what) }
