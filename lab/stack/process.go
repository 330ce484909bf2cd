// Package stack runs roller's real processes and a Temporal dev server on
// loopback, for the demo and the end-to-end tests. It uses them as an operator
// does: by their command lines, environments and signals.
package stack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a process may take to stop before it is killed: a
// worker lets its commands end.
const stopGrace = 20 * time.Second

// Process is a child process whose output goes to a file.
type Process struct {
	Name string
	Log  string // path of its output
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Run starts a program in its own process group, so that a Ctrl-C reaches only
// the parent, which ends its children in order. It dies with the parent.
func Run(name, dir string, env []string, path string, args ...string) (*Process, error) {
	return run(process{name: name, log: dir, env: env, path: path, args: args})
}

// process says what to run, and whose it is: this process's owner's where nobody is named.
type process struct {
	name, log string // log is the directory of its output
	env       []string
	path      string
	args      []string
	owner     *syscall.Credential
}

func run(o process) (*Process, error) {
	p := &Process{Name: o.name, Log: filepath.Join(o.log, o.name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(o.path, o.args...) //nolint:gosec,noctx // the programs under test; they end by Stop
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = o.env, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: o.owner}
	started := make(chan error, 1)
	go func() {
		// Pdeathsig fires when the thread that started the child ends: keep it.
		runtime.LockOSThread()
		defer close(p.done)
		defer out.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", o.name, err)
	}
	return p, nil
}

// Stop asks the process to end, kills it when it does not, and returns when it
// has ended. A nil process is stopped already.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		p.Kill()
	}
}

// Kill ends the process without a word, as a crash would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Freeze stops the process where it is, as a machine that is out of memory or a
// paused virtual machine would, and returns when all its threads stand still; Thaw
// lets it go on. One that has ended does neither.
func (p *Process) Freeze() {
	if p.cmd.Process.Signal(syscall.SIGSTOP) != nil {
		return
	}
	// The kernel tells the parent when the last thread has stopped; its end is left to
	// whoever waits for that (waitid(2), WNOWAIT).
	for unix.Waitid(unix.P_PID, p.PID(), nil, unix.WSTOPPED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Tail returns the end of the process's output, for error messages.
func (p *Process) Tail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	const most = 3000
	return string(b[max(0, len(b)-most):])
}

// Ready polls a condition until it holds, the process ends or ctx does.
func (p *Process) Ready(ctx context.Context, check func(context.Context) error) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready; its output:\n%s", p.Name, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready in time: %w; its output:\n%s", p.Name, errors.Join(err, ctx.Err()), p.Tail())
		case <-ticker.C:
		}
	}
}

// Ports that the kernel hands to nobody who does not ask for them by number:
// below Linux's ephemeral range (ip(7), ip_local_port_range: from 32768). An
// ephemeral one that was found free could be any connection's a moment later.
const (
	firstPort = 20000
	portCount = 12000
)

// dealt are the ports that this process has chosen, by number.
var dealt sync.Map

// Port returns the wanted port of 127.0.0.1 if it is free, else another that is
// and that was not returned before; 0 wants none in particular.
func Port(wanted int) (int, error) {
	const tries = 200
	for range tries {
		port := wanted
		if wanted = 0; port == 0 {
			port = firstPort + rand.IntN(portCount) //nolint:gosec // no secret
		}
		if _, twice := dealt.LoadOrStore(port, true); twice {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // binds and closes
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port on 127.0.0.1")
}
