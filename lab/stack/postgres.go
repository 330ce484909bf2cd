package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Postgres is a PostgreSQL server of its own data directory, on loopback. It
// runs as Debian's user `postgres`, as it refuses to run as root.
type Postgres struct {
	Address  string // host:port
	Password string // of the role `temporal`
	Process  *Process

	dir, bin string
	owner    *syscall.Credential
}

// postgresUser owns PostgreSQL's processes and files (Debian's package makes it).
const postgresUser = "postgres"

// NewPostgres makes a database cluster in a temporary directory and starts its
// server; bin is where initdb and postgres are (/usr/lib/postgresql/15/bin).
// Close ends it and removes the directory.
func NewPostgres(ctx context.Context, bin string) (*Postgres, error) {
	owner, err := credential(postgresUser)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "roller-postgres-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{Password: "a-password-of-the-tests", dir: dir, bin: bin, owner: owner}
	port, err := Port(0)
	if err != nil {
		return nil, err
	}
	p.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := errors.Join(p.create(ctx), p.Start(ctx)); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("postgresql's user: %w (Debian's package postgresql makes it)", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// create runs initdb, with a password and the authentication of production.
func (p *Postgres) create(ctx context.Context) error {
	secret := filepath.Join(p.dir, "password")
	if err := os.WriteFile(secret, []byte(p.Password), 0o600); err != nil {
		return err
	}
	for _, path := range []string{p.dir, secret} {
		if err := os.Chown(path, int(p.owner.Uid), int(p.owner.Gid)); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), //nolint:gosec // the database under test
		"--pgdata", p.data(), "--username", "temporal", "--pwfile", secret, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C")
	cmd.Dir, cmd.Env = p.dir, []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// Start starts the server on the files of the one before it.
func (p *Postgres) Start(ctx context.Context) error {
	host, port, err := net.SplitHostPort(p.Address)
	if err != nil {
		return err
	}
	for range startTries {
		p.Process, err = run(process{
			name: "postgres", log: p.dir, owner: p.owner, path: filepath.Join(p.bin, "postgres"),
			env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"},
			args: []string{
				"-D", p.data(), "-p", port, "-k", p.dir, "-c", "listen_addresses=" + host, "-c", "max_connections=500",
			},
		})
		if err != nil {
			return err
		}
		// The children of one that was killed hold its memory for a moment.
		if err = p.Process.Ready(ctx, p.answers); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (p *Postgres) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	host, port, _ := strings.Cut(p.Address, ":")
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "pg_isready"), "--quiet", "--host", host, "--port", port) //nolint:gosec // the database under test
	return cmd.Run()
}

// Close stops the server and removes its files.
func (p *Postgres) Close() {
	p.Process.Stop()
	_ = os.RemoveAll(p.dir)
}
