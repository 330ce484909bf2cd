// Command chaos runs roller's real processes on a simulated fleet for some
// minutes while everything fails: machines, devices, Bugzilla, and roller's and
// Temporal's own processes, which are killed in mid-command. Then it lets all
// jobs end and holds what was recorded against roller's promises. One seed
// always makes the same fleet, clicks, faults and kills; how they fall together
// in time is up to the machine it runs on.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/mozilla-platform-ops/roller/lab/chaos/check"
)

type options struct {
	bin, dir, facts string
	machines        int
	duration        time.Duration
	seed            uint64
}

// errBroken says that a promise was not kept; the report has said which.
var errBroken = errors.New("promises were not kept")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", ".bin", "where roller and temporal are")
	flags.StringVar(&o.dir, "dir", ".chaos", "where files, logs and the database go; emptied first")
	flags.StringVar(&o.facts, "facts", "", "judge the recorded facts of an earlier run (facts.json), and run nothing")
	flags.IntVar(&o.machines, "machines", 300, "how many machines")
	flags.DurationVar(&o.duration, "duration", 8*time.Minute, "how long faults, clicks and kills go on; until all jobs have ended some minutes more")
	flags.Uint64Var(&o.seed, "seed", 0, "of the fleet, the clicks, the faults and the kills; 0 takes the time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.machines < 1 || o.duration <= 0 {
		flags.Usage()
		return fmt.Errorf("wrong arguments %q", args)
	}
	if o.facts != "" {
		return judgeAgain(o.facts)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	f, err := run(ctx, &o)
	if err != nil {
		return fmt.Errorf("seed %d: %w", o.seed, err)
	}
	return report(os.Stdout, f, o)
}

// run makes the chaos and returns what was recorded of it.
func run(ctx context.Context, o *options) (f *check.Facts, err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(o.dir), os.MkdirAll(o.dir, 0o700)); err != nil {
		return nil, err
	}
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%7s  %s\n", time.Since(began).Round(time.Second), fmt.Sprintf(format, args...))
	}
	say("seed %d: %d machines, %s of faults; logs and facts are in %s", o.seed, o.machines, o.duration, o.dir)
	s, err := start(ctx, *o, fleet(random(o.seed, "fleet"), o.machines))
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return nil, err
	}
	r := rampage{site: s, options: *o, say: say, began: began}
	return r.run(ctx)
}

// random is the source of one part of the chaos: what one part draws does not
// change what another one will.
func random(seed uint64, part string) *rand.Rand {
	var n uint64
	for _, b := range []byte(part) {
		n = n*31 + uint64(b)
	}
	return rand.New(rand.NewPCG(seed, n)) //nolint:gosec // reproducible on purpose
}

// judgeAgain holds recorded facts against the promises.
func judgeAgain(path string) error {
	text, err := os.ReadFile(path) //nolint:gosec // the file that was asked for
	if err != nil {
		return err
	}
	var f check.Facts
	if err := json.Unmarshal(text, &f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return report(os.Stdout, &f, options{seed: f.Seed, machines: len(f.Machines), duration: f.Duration, dir: filepath.Dir(path)})
}

func again(o options) string {
	return "make chaos MACHINES=" + strconv.Itoa(o.machines) + " DURATION=" + o.duration.String() + " SEED=" + strconv.FormatUint(o.seed, 10)
}
