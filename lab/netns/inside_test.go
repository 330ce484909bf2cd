//go:build lab && linux

package netns

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// open is how the child says that Temporal, the API and a worker run; it serves
// until its input ends, and then writes what it has been told into its orders.
const open = "open at "

// inside is the whole of roller in the lab's network, with its command line as
// the door.
type inside struct {
	*terminal
	child  *exec.Cmd
	in     io.WriteCloser
	said   *bufio.Reader
	orders string
	api    string
}

// newInside starts it with some more of a worker's environment; arrange may change
// the inventory before.
func newInside(t *testing.T, l *Lab, env map[string]string, arrange ...func(env map[string]string)) *inside {
	t.Helper()
	o, dir := newOrder(t, l)
	maps.Copy(o.Env, env)
	for _, change := range arrange {
		change(o.Env)
	}
	return newInsideOf(t, l, l.space("lab"), o, dir)
}

// newInsideOf is newInside in a namespace.
func newInsideOf(t *testing.T, l *Lab, space string, o order, dir string) *inside {
	t.Helper()
	o.Serve = true
	s := &inside{terminal: &terminal{t: t, l: l, program: o.Roller, space: space}, orders: writeOrder(t, dir, o)}
	s.child = insideCommand(t, space, s.orders)
	var err error
	s.in, err = s.child.StdinPipe()
	require.NoError(t, err)
	out, err := s.child.StdoutPipe()
	require.NoError(t, err)
	s.said = bufio.NewReader(out)
	require.NoError(t, s.child.Start())
	var said strings.Builder
	for {
		line, err := s.said.ReadString('\n')
		said.WriteString(line)
		require.NoError(t, err, "%s", &said)
		if address, ok := strings.CutPrefix(strings.TrimSpace(line), open); ok {
			at := strings.Fields(address)
			s.env, s.api = append(os.Environ(), "TEMPORAL_ADDRESS="+at[0]), at[1]
			return s
		}
	}
}

// start asks for a task as an operator does.
func (s *inside) start(task string, ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		_, status := s.say(nil, "start", task, id, "mdc1")
		require.Zero(s.t, status)
	}
}

// shown waits until `roller show` says something of a machine's job.
func (s *inside) shown(id string, says ...string) (out string) {
	s.t.Helper()
	eventually(s.t, s.l, strings.Join(says, ", "), func() bool {
		out, _ = s.say(nil, "show", "machine/mdc1/"+id)
		for _, text := range says {
			if !strings.Contains(out, text) {
				return false
			}
		}
		return true
	})
	return out
}

// ended waits for the end of a machine's job and returns its record.
func (s *inside) ended(id string) starter.View {
	s.t.Helper()
	var j api.JobDetail
	eventually(s.t, s.l, "the job of "+id+" ends", func() bool {
		out, status := s.say(nil, "show", "-o", "json", "machine/mdc1/"+id)
		require.Zero(s.t, status)
		j = api.JobDetail{}
		require.NoError(s.t, json.Unmarshal([]byte(out), &j))
		return j.State != "running"
	})
	require.NotEmpty(s.t, j.Outcome)
	return starter.View{Result: &workflows.Result{
		Task: j.TaskName, WorkerID: j.WorkerID, WorkerGroup: j.WorkerGroup, Outcome: j.Outcome, Why: j.Why,
		Attempts: j.Attempts, Bug: j.Bug, Text: j.Text,
	}}
}

// close ends the child and returns the bugs that were filed.
func (s *inside) close() []lab.BugzillaBug {
	s.t.Helper()
	require.NoError(s.t, s.in.Close())
	rest, err := io.ReadAll(s.said)
	require.NoError(s.t, err)
	require.NoError(s.t, s.child.Wait(), "%s", rest)
	return readOrder(s.t, s.orders).Bugs
}

// newOrder builds roller and writes its inventory.
func newOrder(t *testing.T, l *Lab) (o order, dir string) {
	t.Helper()
	dir = t.TempDir()
	temporal, err := filepath.Abs(os.Getenv("ROLLER_TEST_TEMPORAL"))
	require.NoError(t, err)
	require.FileExists(t, temporal, "run `make test-lab`, which builds Temporal's CLI and names it")
	o = order{Roller: filepath.Join(dir, "roller"), Temporal: temporal, Env: l.WriteFiles(dir)}
	out, err := rig.Run("go", "build", "-race", "-o", o.Roller, "github.com/mozilla-platform-ops/roller/cmd/roller")
	require.NoError(t, err, "%s", out)
	return o, dir
}

func writeOrder(t *testing.T, dir string, o order) (path string) {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	path = filepath.Join(dir, "orders.json")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

func readOrder(t *testing.T, path string) order {
	t.Helper()
	var o order
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &o))
	return o
}

// insideCommand is this test again, as the child.
func insideCommand(t *testing.T, space, path string) *exec.Cmd {
	t.Helper()
	child := rig.Command(t.Context(), space, os.Args[0], "-test.run=^TestInside$", "-test.v")
	child.Env = append(os.Environ(), orders+"="+path)
	return child
}
