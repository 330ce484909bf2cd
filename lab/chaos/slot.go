package main

import (
	"context"
	"sync"
	"time"

	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
	"github.com/mozilla-platform-ops/roller/lab/stack"
)

// slot is the place of one process, which is started anew after each kill.
type slot struct {
	kind, name, url string
	start           func(context.Context) (*stack.Process, error)

	mu      sync.Mutex // held while the process is started or struck
	process *stack.Process
	frozen  bool
}

// up starts the process if it is not there.
func (s *slot) up(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return nil
	}
	p, err := s.start(ctx)
	if err == nil {
		s.process = p
	}
	return err
}

// strike kills or freezes the process now. It reports false when there is none
// to strike, and never waits for one.
func (s *slot) strike(freeze bool) (check.Strike, bool) {
	if !s.mu.TryLock() {
		return check.Strike{}, false
	}
	defer s.mu.Unlock()
	if s.process == nil || s.frozen {
		return check.Strike{}, false
	}
	hit := check.Strike{Kind: s.kind, Process: s.name, PID: s.process.PID(), Freeze: freeze, From: time.Now()}
	if freeze {
		s.process.Freeze()
		s.frozen = true
		return hit, true
	}
	s.process.Kill()
	s.process = nil
	hit.Until = time.Now()
	return hit, true
}

// thaw lets a frozen process go on.
func (s *slot) thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen {
		s.process.Thaw()
		s.frozen = false
	}
}

// stop ends the process in order.
func (s *slot) stop() {
	s.thaw()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.Stop()
	s.process = nil
}

// pid is the process's number, 0 while there is none.
func (s *slot) pid() int {
	if !s.mu.TryLock() {
		return 0
	}
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.PID()
}

// ended reports whether the process has ended although nobody killed it.
func (s *slot) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return false
	}
	select {
	case <-s.process.Ended():
		return true
	default:
		return false
	}
}
