package starter

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/mozilla-platform-ops/roller/config"
)

// Starter starts, finds, lists and cancels jobs.
type Starter struct {
	client    client.Client
	namespace string
	inventory func() *config.Inventory // nil where no inventory was given
	timeout   time.Duration
	identity  string // how Temporal shows who started a run
}

// New wraps a Temporal client. The inventory may be nil: names are then only
// lower-cased here, and the worker finds the machine's one name. The timeout
// bounds each operation.
func New(c client.Client, namespace string, inventory func() *config.Inventory, timeout time.Duration) *Starter {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &Starter{
		client: c, namespace: namespace, inventory: inventory, timeout: timeout,
		identity: fmt.Sprintf("%d@%s@", os.Getpid(), host), // the SDK's own form
	}
}

// Dial returns a client by Temporal's own environment variables and profiles
// (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, ...) and by
// TEMPORAL_API_KEY_FILE, and the namespace it speaks of. It connects at its first
// use, so that a process starts while Temporal is down. The handler, which may be
// nil, gets the SDK's metrics and the workflows'.
func Dial(logger *slog.Logger, metrics client.MetricsHandler, interceptors ...interceptor.ClientInterceptor) (client.Client, string, error) {
	options, err := clientOptions()
	if err != nil {
		return nil, "", fmt.Errorf("temporal's client configuration (TEMPORAL_...): %w", err)
	}
	if options.Namespace == "" {
		options.Namespace = client.DefaultNamespace
	}
	options.Logger, options.MetricsHandler, options.Interceptors = log.NewStructuredLogger(logger), metrics, interceptors
	// What is said to Temporal has a few hundred bytes: to compress them takes both sides
	// more than to send them.
	options.ConnectionOptions.GrpcCompression = &client.GrpcCompressionNone{}
	options.ConnectionOptions.DialOptions = append(options.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(endIfRefused))
	c, err := client.NewLazyClient(options)
	if err != nil {
		return nil, "", fmt.Errorf("temporal's client: %w", err)
	}
	return c, options.Namespace, nil
}

// awaited marks the calls of an operation that somebody waits for.
type awaited struct{}

// bounded is the context of one operation: it lasts for the timeout, and ends at
// once where nobody listens at Temporal's address.
func (s *Starter) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(ctx, awaited{}, true), s.timeout)
}

// endIfRefused keeps the SDK from repeating such a call where no connection can be
// made: it would go on for half of the operation's time. All other errors it repeats.
func endIfRefused(ctx context.Context, method string, question, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := call(ctx, method, question, answer, conn, options...)
	if status.Code(err) == codes.Unavailable && conn.GetState() == connectivity.TransientFailure && ctx.Value(awaited{}) != nil {
		return status.Error(codes.DeadlineExceeded, status.Convert(err).Message()) // a code that is not repeated
	}
	return err
}

// Health reports whether Temporal's frontend answers and knows the namespace.
func (s *Starter) Health(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.client.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: s.namespace})
	if err != nil {
		return unavailable(err)
	}
	if state := answer.GetNamespaceInfo().GetState(); state != enumspb.NAMESPACE_STATE_REGISTERED {
		return fmt.Errorf("namespace %s is %s: %w", s.namespace, state, ErrUnavailable)
	}
	return nil
}
