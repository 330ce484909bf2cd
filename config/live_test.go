package config

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	oneVM  = `{"a.test.releng.mdc1.mozilla.com": {"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"}}`
	twoVMs = `{"a.test.releng.mdc1.mozilla.com": {"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f10"},
		"b.test.releng.mdc1.mozilla.com": {"xen_uuid": "2b0cb1c2-6a3d-4c3e-9a52-0e4a5b1d7f11"}}`
)

// clocked is a Live with a clock of the test's and what it reported.
type clocked struct {
	*Live
	time    time.Time
	reports []string
}

func live(t *testing.T, files Files) *clocked {
	t.Helper()
	l, err := NewLive(files)
	require.NoError(t, err)
	c := &clocked{Live: l, time: l.looked}
	l.now = func() time.Time { return c.time }
	l.report = func(err error) { c.reports = append(c.reports, err.Error()) }
	return c
}

// later returns how many machines there are a second later.
func (c *clocked) later() int {
	c.time = c.time.Add(lookEvery)
	return len(c.Inventory().Machines())
}

// settle lets the files' age pass below which they are read once more.
func (c *clocked) settle() {
	for range settled/lookEvery + 1 {
		c.later()
	}
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func TestLiveFollowsItsFiles(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"xen.json": oneVM})
	l := live(t, w.files)
	require.Equal(t, 1, l.later())
	first := l.Inventory()

	overwrite(t, w.files.Xen, twoVMs)
	require.Same(t, first, l.Inventory(), "looked at most once a second")
	require.Equal(t, 2, l.later())
	require.Len(t, first.Machines(), 1, "an inventory in use does not change")
	require.Empty(t, l.reports)
}

func TestLiveReadsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	l := live(t, write(t, map[string]string{"xen.json": oneVM}).files)
	l.settle()
	first := l.Inventory()
	l.later()
	require.Same(t, first, l.Inventory())
}

// TestLiveSeesASecondChangeOfTheSameMoment has size, time and inode of the first
// one, which came between a look at the file and its reading.
func TestLiveSeesASecondChangeOfTheSameMoment(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"xen.json": oneVM})
	l := live(t, w.files)
	info, err := os.Stat(w.files.Xen)
	require.NoError(t, err)
	overwrite(t, w.files.Xen, strings.Replace(oneVM, "a.test", "b.test", 1))
	require.NoError(t, os.Chtimes(w.files.Xen, info.ModTime(), info.ModTime()))
	require.Equal(t, 1, l.later())
	require.Equal(t, "b", l.Inventory().Machines()[0].WorkerID)
}

func TestLiveKeepsTheLastGoodInventory(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"xen.json": oneVM})
	l := live(t, w.files)
	overwrite(t, w.files.Xen, `{"hunter2`)
	require.Equal(t, 1, l.later())
	require.Equal(t, 1, l.later())
	require.Equal(t, []string{w.files.Xen + ":1: is not JSON from here on (column 9)"}, l.reports, "reported once")

	overwrite(t, w.files.Xen, "{}\n}")
	require.Equal(t, 1, l.later())
	require.Len(t, l.reports, 2, "another mistake is reported again")

	require.NoError(t, os.Remove(w.files.Xen))
	require.Equal(t, 1, l.later())
	require.Len(t, l.reports, 3, "a named file that is gone is a mistake")

	overwrite(t, w.files.Xen, twoVMs)
	require.Equal(t, 2, l.later())
	require.Len(t, l.reports, 3)
}

// TestLiveSeesAFileMovedIntoPlace has the size and the time of the one before.
func TestLiveSeesAFileMovedIntoPlace(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"xen.json": oneVM})
	l := live(t, w.files)
	info, err := os.Stat(w.files.Xen)
	require.NoError(t, err)
	other := filepath.Join(w.dir, "other")
	l.settle()
	overwrite(t, other, strings.Replace(oneVM, "a.test", "b.test", 1))
	require.NoError(t, os.Chtimes(other, info.ModTime(), info.ModTime()))
	require.NoError(t, os.Rename(other, w.files.Xen))
	require.Equal(t, 1, l.later())
	require.Equal(t, "b", l.Inventory().Machines()[0].WorkerID)
}

// TestLiveKeepsAVanishedDefaultFile also when another file changes meanwhile.
func TestLiveKeepsAVanishedDefaultFile(t *testing.T) { //nolint:paralleltest // changes the working directory
	t.Chdir(t.TempDir())
	overwrite(t, "xen.json", oneVM)
	l := live(t, Files{})
	require.NoError(t, os.Remove("xen.json"))
	require.Equal(t, 1, l.later())
	overwrite(t, "pdus.json", `{"c.test.releng.mdc1.mozilla.com": {"pdu": "pdu1:AA1"}}`)
	require.Equal(t, 1, l.later())
	gone := "xen.json: is gone; its machines stay until it is back or the process starts anew"
	require.Equal(t, []string{gone}, l.reports)
	overwrite(t, "xen.json", twoVMs)
	require.Equal(t, 3, l.later())
}

func TestLiveNeedsAGoodStart(t *testing.T) {
	t.Parallel()
	l, err := NewLive(write(t, map[string]string{"xen.json": "["}).files)
	require.ErrorContains(t, err, "xen.json:1: is not JSON from here on (column 1)")
	require.Nil(t, l)
}

// TestLiveIsSafe is for the race detector.
func TestLiveIsSafe(t *testing.T) {
	t.Parallel()
	w := write(t, map[string]string{"xen.json": oneVM})
	l, err := NewLive(w.files)
	require.NoError(t, err)
	var clock sync.Mutex
	at := l.looked
	l.now = func() time.Time { // every look reads the files' state
		clock.Lock()
		defer clock.Unlock()
		at = at.Add(lookEvery)
		return at
	}
	l.report = func(error) {} // a file that is half written
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if i == 0 {
					overwrite(t, w.files.Xen, []string{oneVM, twoVMs}[j%2])
				}
				n := len(l.Inventory().Machines())
				if n != 1 && n != 2 {
					t.Errorf("%d machines", n)
				}
			}
		})
	}
	wg.Wait()
	overwrite(t, w.files.Xen, "{}") // a size that was not there before
	require.Empty(t, l.Inventory().Machines(), "the last content wins")
}
