//go:build lab && linux

package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SpaceDir is where iproute2 keeps the names of namespaces (ip-netns(8)).
const SpaceDir = "/run/netns"

// pollInterval is how often what only /proc can tell is looked at.
const pollInterval = 2 * time.Millisecond

// killLimit is how long processes may take to die of SIGKILL.
const killLimit = 10 * time.Second

// Command is a program to be run inside a namespace; its pid is the program's own.
func Command(ctx context.Context, space, name string, args ...string) *exec.Cmd {
	argv := append([]string{"--net=" + filepath.Join(SpaceDir, space), name}, args...)
	return exec.CommandContext(ctx, "nsenter", argv...) //nolint:gosec // the lab's own programs and those of its tests
}

// Run runs a program and returns its output; an error holds what it said.
func Run(name string, args ...string) (string, error) {
	return output(exec.CommandContext(context.Background(), name, args...)) //nolint:gosec // the lab's own calls of ip and go
}

// RunIn is Run inside a namespace.
func RunIn(space, name string, args ...string) (string, error) {
	return output(Command(context.Background(), space, name, args...))
}

func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// Pids returns the processes inside any of the namespaces.
func Pids(spaces ...string) ([]int, error) {
	inside := map[string]bool{}
	for _, space := range spaces {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(SpaceDir, space), &st); err != nil {
			if errors.Is(err, syscall.ENOENT) {
				continue
			}
			return nil, fmt.Errorf("stat namespace %s: %w", space, err)
		}
		inside[fmt.Sprintf("net:[%d]", st.Ino)] = true
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, link := range links {
		if where, err := os.Readlink(link); err != nil || !inside[where] {
			continue // ended meanwhile, or elsewhere
		}
		if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Kill ends every process inside the namespaces. It looks until it has seen none
// twice: a child forked while the first look was under way escapes that one.
func Kill(spaces ...string) error {
	deadline := time.Now().Add(killLimit)
	for empty := 0; empty < 2; {
		pids, err := Pids(spaces...)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			empty++
			continue
		}
		empty = 0
		if time.Now().After(deadline) {
			return fmt.Errorf("kill: %v of %v do not die", pids, spaces)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
		<-time.After(pollInterval)
	}
	return nil
}
