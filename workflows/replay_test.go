package workflows

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// storedHistories has a folder for each release, made once by `make history`: a
// worker of today may have to go on with any of those runs.
const storedHistories = "testdata/histories"

// sums is the file in each folder by which a change of the others is noticed, in
// the form of sha256sum.
const sums = "SHA256SUMS"

// unreleased are the workflow types that no release has yet. `make history` wants
// the list to be empty.
var unreleased []string

// releases are the headings of the changelog that are no "Unreleased".
func releases(t *testing.T) []string {
	t.Helper()
	changelog, err := os.ReadFile("../CHANGELOG.md")
	require.NoError(t, err)
	require.Contains(t, string(changelog), "\n## [Unreleased]\n")
	var names []string
	for _, heading := range regexp.MustCompile(`(?m)^## \[(\d[^\]]*)\]`).FindAllStringSubmatch(string(changelog), -1) {
		names = append(names, heading[1])
	}
	return names
}

// stored are the histories of a release. Each has at least one of each kind of
// job, so that an empty folder is a mistake.
func stored(t *testing.T, release string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(storedHistories, release, "*.json.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, paths, "release %s has no histories: make history RELEASE=%s", release, release)
	return paths
}

// Promise 12: a release without its histories, or histories without their
// release, would let the test below replay less than it says.
func TestEveryReleaseHasItsHistories(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob(filepath.Join(storedHistories, "*"))
	require.NoError(t, err)
	var found []string
	for _, f := range folders {
		found = append(found, filepath.Base(f))
	}
	require.ElementsMatch(t, releases(t), found, "CHANGELOG.md's releases and the folders in "+storedHistories)
}

// Promise 12: a run that any release began can be gone on with.
func TestStoredHistoriesReplay(t *testing.T) {
	t.Parallel()
	for _, release := range releases(t) {
		for _, path := range stored(t, release) {
			t.Run(release+"/"+filepath.Base(path), func(t *testing.T) {
				t.Parallel()
				require.NoError(t, replay(load(t, path)),
					"workflow code does not do what a released one did: put the new way behind workflow.GetVersion (docs/deploys.md)")
			})
		}
	}
}

// replay runs today's code over a history.
func replay(history *historypb.History) error {
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
		DisableDeadlockDetection: true, // of a second, by the wall clock
	})
	if err != nil {
		return err
	}
	Register(replayer)
	RegisterTaskcluster(replayer)
	// The code asks for its own ID: under another one it would run as a child.
	id := history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowId()
	return replayer.ReplayWorkflowHistoryWithOptions(nil, history, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: id},
	})
}

// Promise 12: a stored history is never made anew. One that is would hold what
// today's code does, which is what it is there to be held against.
func TestStoredHistoriesAreUnchanged(t *testing.T) {
	t.Parallel()
	for _, release := range releases(t) {
		var now strings.Builder
		for _, path := range stored(t, release) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			fmt.Fprintf(&now, "%x  %s\n", sha256.Sum256(b), filepath.Base(path))
		}
		then, err := os.ReadFile(filepath.Join(storedHistories, release, sums))
		require.NoError(t, err)
		require.Equal(t, string(then), now.String(), "release %s: take back the change of what is stored; nothing may be added, either", release)
	}
}

// A change of the code that no history would notice is one that no run of that
// kind is stored for.
func TestEveryWorkflowAndOutcomeHasAHistory(t *testing.T) {
	t.Parallel()
	types, ends := map[string]bool{}, map[string]bool{}
	for _, release := range releases(t) {
		for _, path := range stored(t, release) {
			parts := strings.Split(strings.TrimSuffix(filepath.Base(path), ".json.gz"), "-")
			require.Len(t, parts, 3, "%s: a type, an end and a course", path)
			types[parts[0]], ends[parts[1]] = true, true
		}
	}
	if len(types) == 0 { // before the first release
		require.Empty(t, unreleased, "all are unreleased")
		return
	}
	for _, name := range registered(t) {
		require.NotEqual(t, slices.Contains(unreleased, name), types[name], "workflow type %s: either stored or in `unreleased`", name)
	}
	for _, o := range JobOutcomes {
		require.Contains(t, ends, string(o), "outcome")
	}
}

// registry keeps the names of what is registered.
type registry struct {
	worker.WorkflowReplayer

	names []string
}

// RegisterWorkflowWithOptions implements worker.WorkflowRegistry.
func (r *registry) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	r.names = append(r.names, o.Name)
}

func registered(t *testing.T) []string {
	t.Helper()
	r := &registry{WorkflowReplayer: worker.NewWorkflowReplayer()}
	Register(r)
	RegisterTaskcluster(r)
	require.NotEmpty(t, r.names)
	return slices.Sorted(slices.Values(r.names))
}

func load(t *testing.T, path string) *historypb.History {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	z, err := gzip.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	history, err := client.HistoryFromJSON(z, client.HistoryJSONOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, history.GetEvents(), path)
	return history
}
