package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mozilla-platform-ops/roller/lab"
)

// striker strikes in mid-command: the device that has the command waits for it.
type striker struct {
	armed atomic.Int32 // how many aims there are, so that most commands cost nothing

	mu   sync.Mutex
	aims []*aim
}

// aim is a strike that waits for its moment.
type aim struct {
	moment lab.Moment
	hit    func(lab.Entry) bool // false: not this one, wait on
	done   chan struct{}        // closed when it has hit
}

// during is what the lab calls at each moment of each command.
func (s *striker) during(moment lab.Moment, e lab.Entry) {
	if !e.Control || s.armed.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aims = slices.DeleteFunc(s.aims, func(a *aim) bool {
		if a.moment != moment || !a.hit(e) {
			return false
		}
		close(a.done)
		s.armed.Add(-1)
		return true
	})
}

// aim waits for a control command to come to this moment.
func (s *striker) aim(moment lab.Moment, hit func(lab.Entry) bool) *aim {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &aim{moment, hit, make(chan struct{})}
	s.aims = append(s.aims, a)
	s.armed.Add(1)
	return a
}

// drop gives an aim up; it reports false when that has hit meanwhile.
func (s *striker) drop(a *aim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.aims)
	s.aims = slices.DeleteFunc(s.aims, func(other *aim) bool { return other == a })
	dropped := len(s.aims) < before
	if dropped {
		s.armed.Add(-1)
	}
	return dropped
}

// sender reports whether a process has the socket that a command came from
// (proc(5), /proc/net/udp and tcp: the local address is the second field, the
// inode the tenth).
func sender(pid int, from string) bool {
	_, port, err := net.SplitHostPort(from)
	number, err2 := strconv.Atoi(port)
	if err != nil || err2 != nil || pid == 0 {
		return false
	}
	suffix := fmt.Sprintf(":%04X", number)
	sockets := map[string]bool{}
	for _, table := range []string{"udp", "udp6", "tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/net/" + table) //nolint:gosec // one of the four
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], suffix) {
				sockets["socket:["+f[9]+"]"] = true
			}
		}
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(files, func(file string) bool {
		target, err := os.Readlink(file)
		return err == nil && sockets[target]
	})
}
