package activities

import (
	"testing"

	"go.uber.org/goleak"
)

// No dialogue may leave anything running behind: a worker lives for months.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
