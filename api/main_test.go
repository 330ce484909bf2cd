package api

import (
	"bytes"
	"flag"
	"log"
	"log/slog"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// standardLog is what the whole test binary wrote to log and to slog's default:
// Taskcluster's client reports its retries there.
var standardLog logBuffer

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewJSONHandler(&standardLog, nil)))
	log.SetOutput(&standardLog)
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}

// logBuffer is written and read at the same time.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
