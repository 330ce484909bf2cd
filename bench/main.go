// Command bench measures roller's real processes beside baselines: what the same
// work costs without roller. A baseline and its subject alternate within each round
// on one machine, and only the ratio of the two is held against a limit, so that a
// machine that is busy, slow or of another make does not decide. It speaks to
// loopback only and stops by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are those of the command line.
type options struct {
	bin      string // where roller, lab and temporal are
	dir      string // logs and files
	out      string // the results
	doc      string // the document that shows them; "" for none
	temporal string // host:port of a Temporal that runs already; "": the dev server, in memory
	rounds   int
	waiting  string // how many machines wait in the row in-flight, with commas
	small    bool   // seconds instead of minutes: shows that a row works, and nothing of its numbers
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", ".bin", "where roller, lab and temporal are")
	flags.StringVar(&o.dir, "dir", ".bench", "where logs and files go; emptied first")
	flags.StringVar(&o.out, "out", "bench/results.json", "where the results are kept; rows that are not measured keep theirs")
	flags.StringVar(&o.doc, "doc", "docs/performance.md", "the document whose table is drawn anew; empty for none")
	flags.StringVar(&o.temporal, "temporal", "", "host:port of a Temporal that runs already, in place of the dev server in memory")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each baseline and its subject are measured")
	flags.StringVar(&o.waiting, "waiting", "1000,3000,10000", "how many machines wait in the row in-flight, with commas between them")
	flags.BoolVar(&o.small, "small", false, "only show that the rows work: seconds each, and no numbers to rely on")
	draw := flags.Bool("draw", false, "measure nothing: draw the document's table from the kept results again")
	chosen := flags.String("rows", "", "rows to measure, with commas between them; all if empty: "+strings.Join(rowNames(), ","))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.rounds < 1 {
		flags.Usage()
		return fmt.Errorf("wrong arguments %q", args)
	}
	if *draw {
		all, err := readResults(o.out)
		if err != nil {
			return err
		}
		return all.write(o)
	}
	rows, err := choose(*chosen)
	if err != nil {
		return err
	}
	began := time.Now()
	return run(ctx, o, rows, func(format string, args ...any) {
		fmt.Printf("%7s  %s\n", time.Since(began).Round(time.Second), fmt.Sprintf(format, args...))
	})
}

// run measures the rows, prints their table and keeps it.
func run(ctx context.Context, o options, rows []row, say func(string, ...any)) error {
	if err := errors.Join(os.RemoveAll(o.dir), os.MkdirAll(o.dir, 0o700)); err != nil {
		return err
	}
	all, err := readResults(o.out)
	if err != nil {
		return err
	}
	all.on(describe(ctx))
	b := &bench{options: o, say: say}
	for _, r := range rows {
		measured, err := b.measure(ctx, r)
		if err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
		all.keep(measured)
		if b.server != "" {
			all.Machine.Versions["Temporal"] = b.server
		}
		if err := all.write(o); err != nil { // what was measured is kept whatever comes
			return err
		}
	}
	fmt.Printf("\n%s", all.Markdown())
	return nil
}
