package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how often Live looks whether a file has changed.
	lookEvery = time.Second
	// settled is the age from which a file's time tells one content from the
	// next; file systems count time in steps of up to 2 s (FAT).
	settled = 2 * time.Second
)

// Live is an inventory that follows its files. It may be used by any number of
// goroutines.
type Live struct {
	files   Files
	now     func() time.Time
	report  func(error)
	current atomic.Pointer[Inventory]

	mu     sync.Mutex // held by whoever looks at the files; the others do not wait
	looked time.Time
	seen   []os.FileInfo // by sources; nil for a missing file
	good   []os.FileInfo // seen before the current inventory was read
	young  bool          // a file was written so shortly before it was read that it may have been written again
	told   string        // the mistakes that were reported last
}

// NewLive reads the inventory for the first time; mistakes are fatal then.
// Later ones go to slog's default logger, once for each change of a file.
func NewLive(files Files) (*Live, error) {
	l := &Live{files: files, now: time.Now, report: func(err error) {
		slog.Error("inventory not reloaded, the last good one stays in use", "err", err)
	}}
	l.looked, l.seen = l.now(), stat(files)
	l.young = young(l.seen, l.looked)
	first, err := LoadInventory(files)
	if err != nil {
		return nil, err
	}
	l.current.Store(first)
	l.good = l.seen
	return l, nil
}

// Inventory returns the newest inventory that was read without mistakes. It
// reads the files again when one has changed, looking at most once a second.
func (l *Live) Inventory() *Inventory {
	if l.mu.TryLock() {
		defer l.mu.Unlock()
		if now := l.now(); now.Sub(l.looked) >= lookEvery {
			l.looked = now
			l.look()
		}
	}
	return l.current.Load()
}

// look reads the files if they changed. What was seen is remembered also when it
// has mistakes, so that they are reported once.
func (l *Live) look() {
	seen := stat(l.files) // before reading: a change in between shows the next time
	changed := !same(seen, l.seen)
	if !changed && !l.young {
		return
	}
	l.seen, l.young = seen, young(seen, l.looked)
	fresh, err := LoadInventory(l.files)
	if err = errors.Join(l.gone(seen), err); err != nil {
		if err.Error() != l.told {
			l.report(err)
		}
		l.told = err.Error()
		return
	}
	l.current.Store(fresh)
	l.good, l.told = seen, ""
	if changed {
		slog.Info("inventory reloaded", "machines", len(fresh.machines))
	}
}

// young reports whether a file is too new for its time to tell the next change.
func young(infos []os.FileInfo, now time.Time) bool {
	return slices.ContainsFunc(infos, func(info os.FileInfo) bool {
		return info != nil && now.Sub(info.ModTime()) < settled
	})
}

// gone says which files were there and are not any more. At the start a missing
// file of a default name is an empty one; under a running worker it is far more
// likely a file that somebody is about to put back.
func (l *Live) gone(seen []os.FileInfo) error {
	var mistakes []error
	for i, kind := range sources(l.files) {
		if path, optional := kind.at(l.files); optional && l.good[i] != nil && seen[i] == nil {
			mistakes = append(mistakes, fmt.Errorf("%s: is gone; its machines stay until it is back or the process starts anew", path))
		}
	}
	return errors.Join(mistakes...)
}

func stat(files Files) []os.FileInfo {
	infos := make([]os.FileInfo, len(sources(files)))
	for i, kind := range sources(files) {
		path, _ := kind.at(files)
		if info, err := os.Stat(path); err == nil { // else LoadInventory says what is wrong
			infos[i] = info
		}
	}
	return infos
}

// same compares by inode too: a file that is moved into place may have the size
// and the time of the one before.
func same(a, b []os.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && (!os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime())) {
			return false
		}
	}
	return true
}
