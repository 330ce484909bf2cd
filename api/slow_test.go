package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What asks Temporal more than once has one limit for all of it, so that an answer
// comes within 10 s where each question takes just not too long.
func TestQuestionsShareOneLimit(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withInventory())
	h.starter.view = climbing()
	began := time.Now()
	require.Equal(t, http.StatusOK, h.get("/api/v1/workers", monitor).status)
	require.Equal(t, http.StatusAccepted, h.do(h.signed(http.MethodDelete, jobPath, sheriff)).status)
	limits := h.starter.deadlines
	require.WithinRange(t, limits["page"], began, time.Now().Add(10*time.Second))
	require.Equal(t, limits["find"], limits["cancel"])
	require.WithinRange(t, limits["cancel"], began, time.Now().Add(testConfig("").API.StartTimeout.D()))
}
