// Command demo shows roller's main job on four simulated machines: it runs
// Temporal, roller's own processes and the lab, sends signed requests as
// Taskcluster's dashboard does, and prints the ladders as they are climbed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: demo [--once] [--bin DIR] [--dir DIR]      run the demo\n"+
			"       demo [--dir DIR] sign METHOD URL              print a Hawk Authorization header for a running demo")
		flags.PrintDefaults()
	}
	bin := flags.String("bin", ".bin", "where roller, lab and temporal are")
	dir := flags.String("dir", ".demo", "where files, logs and the database go")
	once := flags.Bool("once", false, "end after the four jobs, with the result as exit status")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.Arg(0) == "sign" && flags.NArg() == 3 {
		return sign(ctx, *dir, flags.Arg(1), flags.Arg(2))
	}
	if flags.NArg() > 0 {
		flags.Usage()
		return fmt.Errorf("unknown arguments %q", flags.Args())
	}
	d, err := start(ctx, *bin, *dir)
	if err != nil {
		return err
	}
	defer d.close()
	if err := d.run(ctx); err != nil {
		return err
	}
	if *once {
		return nil
	}
	d.hints()
	<-ctx.Done()
	fmt.Println("\nstopping: worker, API, lab, Temporal")
	return nil
}

// sign prints the header by which the demo's sheriff may send one request. The
// credentials come from the demo's own file, so that none stands in a command
// line.
func sign(ctx context.Context, dir, method, url string) error {
	env, err := readEnv(filepath.Join(dir, "fleet", "env"))
	if err != nil {
		return fmt.Errorf("%w (is the demo running?)", err)
	}
	request, err := signed(ctx, env, method, url)
	if err != nil {
		return err
	}
	fmt.Println(request.Header.Get("Authorization"))
	return nil
}

func signed(ctx context.Context, env map[string]string, method, url string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	who := tcclient.Credentials{ClientID: env["LAB_SHERIFF_CLIENT_ID"], AccessToken: env["LAB_SHERIFF_ACCESS_TOKEN"]}
	return request, who.SignRequest(request)
}

// readEnv reads lines of NAME=value.
func readEnv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the demo's own file
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[name] = value
		}
	}
	return env, nil
}
