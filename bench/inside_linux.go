package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// insideEnv is set for the copy of this program that runs in a network of its own.
const insideEnv = "ROLLER_BENCH_NETWORK"

// inside runs a row in a network of its own, whose kernel answers for the machines, by
// this program again: pings must be real ones, and silence must be silence.
func inside(name string, row func(context.Context, *bench) (Row, error)) func(context.Context, *bench) (Row, error) {
	return func(ctx context.Context, b *bench) (Row, error) {
		switch {
		case os.Getenv(insideEnv) != "":
			return row(ctx, b)
		case b.temporal != "":
			return Row{Missing: []string{"it needs Temporal's dev server in a network of its own"}}, nil
		}
		return b.again(ctx, name)
	}
}

// again runs this program for one row.
func (b *bench) again(ctx context.Context, name string) (Row, error) {
	self, err := os.Executable()
	if err != nil {
		return Row{}, err
	}
	dir, err := filepath.Abs(filepath.Join(b.dir, "inside-"+name))
	if err != nil {
		return Row{}, err
	}
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return Row{}, err
	}
	out := dir + ".json"
	cmd := exec.CommandContext(ctx, self, //nolint:gosec // this program
		"--rows", name, "--bin", bin, "--dir", dir, "--out", out, "--doc", "",
		"--waiting", b.waiting, "--rounds", strconv.Itoa(b.rounds), "--small="+strconv.FormatBool(b.small))
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	inOwnNetwork(cmd)
	pipe := &lines{say: b.say}
	cmd.Stdout, cmd.Stderr = pipe, pipe
	err = keepThread(cmd.Run)
	if cmd.Process == nil {
		return Row{Missing: []string{fmt.Sprintf("this system lets nobody make a user and network namespace (%v)", err)}}, nil
	}
	if err != nil {
		return Row{}, err
	}
	results, err := readResults(out)
	if err != nil {
		return Row{}, err
	}
	if len(results.Rows) != 1 {
		return Row{}, errors.New("it left no results")
	}
	b.server = results.Machine.Versions["Temporal"]
	return results.Rows[0], nil
}

// keepThread calls run on a thread that lasts as long as it: Pdeathsig fires when the
// thread that started the child ends.
func keepThread(run func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run()
}

// lines says what another program prints.
type lines struct {
	say  func(string, ...any)
	rest []byte
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for i := 0; i < len(l.rest); {
		if l.rest[i] != '\n' {
			i++
			continue
		}
		l.say("  | %s", l.rest[:i])
		l.rest, i = l.rest[i+1:], 0
	}
	return len(p), nil
}
