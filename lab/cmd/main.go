// Command lab runs simulated machines and devices on loopback addresses, with
// stand-ins for Bugzilla and for Taskcluster's authentication: what roller needs
// to be tried without hardware.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: lab serve --dir DIR [--machines FILE] [--listen ADDRESS]

  --dir DIR        where the inventory files, the key, known_hosts and "env" are written
  --machines FILE  a JSON array of machines; without it three: one healthy, one that
                   ignores SSH, one that is hung
  --listen ADDRESS of the control API: GET /machines, GET /log, GET /edges,
                   POST /machines/{id}/faults (default 127.0.0.1:0; "env" names it as LAB_URL)
`

// errUsage says that the usage has been printed and tells what was wrong.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 2 for a mistake in the command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := command(ctx, args, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	_, _ = fmt.Fprintln(stderr, "lab:", err)
	return 1
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "serve" {
		_, _ = fmt.Fprint(stderr, usage)
		return errUsage
	}
	flags := flag.NewFlagSet("lab serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { _, _ = fmt.Fprint(stderr, usage) }
	var o options
	flags.StringVar(&o.dir, "dir", "", "")
	flags.StringVar(&o.machines, "machines", "", "")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "")
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if o.dir == "" || flags.NArg() > 0 {
		flags.Usage()
		return errUsage
	}
	return serve(ctx, o, stdout, slog.New(slog.NewJSONHandler(stderr, nil)))
}
