package starter

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// A click goes first also where it joins a line in which a bulk job was first, and
// nobody waits for what is not announced.
func clickJoinsElsewhere(t *testing.T, w *world) {
	a, b := w.process(t, nil), w.process(t, nil)
	bulk, click := at("joined"), at("joined")
	bulk.Rank = workflows.BulkRank
	held := take(t, a, bulk)
	run := a.lastTurn(t, bulk)
	require.Equal(t, workflows.BulkRank, a.announced(t.Context(), bulk, run))
	got := inLine(t, held, []workflows.TurnAsk{bulk, bulk, click}, []*Turns{a, b, b})
	require.Equal(t, 2, got[0])
	require.Equal(t, workflows.ClickRank, a.announced(t.Context(), bulk, run))
	require.Equal(t, workflows.DarkRank, a.announced(t.Context(), bulk, uuid.NewString()), "what cannot be found out may be anything")
}

// An announcement never takes a device: where no turn is open it starts none, and where
// the server has forgotten all of them, what it starts ends by itself.
func announcesToNobody(t *testing.T, w *world) {
	p, ask := w.process(t, nil), at("nobody's")
	l := &line{waiting: []*waiter{{ask: ask}}}
	l.meet("a run that is over")
	p.announce(t.Context(), l)
	begun := time.Now()
	take(t, p, ask).Release()
	require.Less(t, time.Since(begun), ask.Lease)
	_ = p.client.GetWorkflow(t.Context(), workflows.DeviceID(ask.Device), "").Get(t.Context(), nil)
	before := p.lastTurn(t, ask)
	l.meet("another that is over")
	p.announce(t.Context(), l)
	require.Equal(t, before, p.lastTurn(t, ask))
}

// A run is told again where it may not have heard, and of who is best, not of who was
// first when it was met.
func TestAnnouncing(t *testing.T) {
	t.Parallel()
	click, dark := at("x"), at("x")
	dark.Rank = workflows.DarkRank
	bulk := at("x")
	bulk.Rank = workflows.BulkRank
	l := &line{}
	l.join(&waiter{ask: bulk})
	told := func() (workflows.Rank, bool) {
		ask, _, tell := l.toAnnounce()
		return ask.Rank, tell
	}
	l.join(&waiter{ask: click})
	_, tell := told()
	require.False(t, tell, "there is no run to tell")
	l.meet("run")
	rank, tell := told()
	require.True(t, tell)
	require.Equal(t, workflows.ClickRank, rank)
	_, tell = told()
	require.False(t, tell, "it is told once")
	l.notAnnounced("another run")
	_, tell = told()
	require.False(t, tell)
	l.notAnnounced("run")
	_, tell = told()
	require.True(t, tell, "it may not have heard")
	l.join(&waiter{ask: dark})
	rank, tell = told()
	require.True(t, tell)
	require.Equal(t, workflows.DarkRank, rank)
	l.meet("the next run")
	_, tell = told()
	require.True(t, tell)
}

// lastTurn is the run that has the device, or had it last.
func (t *Turns) lastTurn(tt *testing.T, ask workflows.TurnAsk) string {
	tt.Helper()
	turn, err := t.client.DescribeWorkflowExecution(tt.Context(), workflows.DeviceID(ask.Device), "")
	require.NoError(tt, err)
	return turn.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}
