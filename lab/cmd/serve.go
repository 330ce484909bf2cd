package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/lab"
)

type options struct{ dir, machines, listen string }

const (
	headerTimeout = 10 * time.Second // of a client that connects and says nothing
	stopTimeout   = 5 * time.Second  // for replies under way when the lab ends
)

// demoMachines are what there is without --machines.
var demoMachines = []lab.Spec{
	{WorkerID: "ms1-10", WorkerGroup: "mdc1", SSHBootID: true},
	{WorkerID: "ms1-11", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}},
	{WorkerID: "ms1-12", WorkerGroup: "mdc1", Faults: lab.Faults{Hung: true}},
}

// serve runs the lab until the context ends.
func serve(ctx context.Context, o options, stdout io.Writer, log *slog.Logger) (err error) {
	specs, err := readMachines(o.machines)
	if err != nil {
		return err
	}
	l, err := lab.Start(lab.Options{Machines: specs, Log: log}) //nolint:contextcheck // Close ends it, in order
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	env, err := l.WriteFiles(o.dir)
	if err != nil {
		return err
	}
	standIns, stopServices, err := Services(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopServices()) }()
	maps.Copy(env, standIns)

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	env["LAB_URL"] = "http://" + listener.Addr().String()
	if err := writeEnv(filepath.Join(o.dir, "env"), env); err != nil {
		return errors.Join(err, listener.Close())
	}
	return serveControl(ctx, l, listener, stdout)
}

func readMachines(path string) ([]lab.Spec, error) {
	if path == "" {
		return demoMachines, nil
	}
	file, err := os.Open(path) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	var specs []lab.Spec
	if err := decoder.Decode(&specs); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return specs, nil
}

// serveControl says "ready" and serves until the context ends.
func serveControl(ctx context.Context, l *lab.Lab, listener net.Listener, stdout io.Writer) error {
	server := &http.Server{Handler: l.Handler(), ReadHeaderTimeout: headerTimeout}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if _, err := fmt.Fprintln(stdout, "ready"); err != nil {
		return errors.Join(err, server.Close())
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return server.Shutdown(stopping)
}

// writeEnv writes the variables in the form that shells and systemd read. Only
// the owner may read them: some are secrets, if only the lab's.
func writeEnv(path string, env map[string]string) error {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		lines.WriteString(name + "=" + env[name] + "\n")
	}
	return os.WriteFile(path, []byte(lines.String()), 0o600)
}
