package starter

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// A run that was cut off says what it was at.
func TestCutOff(t *testing.T) {
	t.Parallel()
	r := cutOff(&workflows.Result{Outcome: workflows.Running, Now: "powering off", Off: true}, "Terminated")
	require.Equal(t, workflows.Result{Outcome: workflows.Failed, Why: "it was terminated while it was: powering off", Off: true}, *r)
	done := workflows.Result{Outcome: workflows.Back, Why: "x"}
	require.Equal(t, done, *cutOff(&done, "Terminated"), "what had an end keeps it")
	require.Nil(t, cutOff(nil, "Terminated"))
}
