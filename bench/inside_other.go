//go:build !linux

package main

import "context"

// insideEnv is set for the copy of this program that runs in a network of its own.
const insideEnv = "ROLLER_BENCH_NETWORK"

// inside is Linux's: it alone has networks of one's own.
func inside(string, func(context.Context, *bench) (Row, error)) func(context.Context, *bench) (Row, error) {
	return func(context.Context, *bench) (Row, error) { return Row{Missing: []string{"it needs Linux"}}, nil }
}

var inFlight, detection func(context.Context, *bench) (Row, error)
